/** The door of tools: the registry, the built-in tools and the session's files. */
export { createFsTools } from './builtin/fs.ts';
export { createToolRegistry, type ToolFault, type ToolRegistryOptions } from './registry.ts';
export type { Authorize, JsonSchema, Tool, ToolContext, ToolExecution, ToolRegistry, ToolResult } from './types.ts';
export { type PrepareWorkspaceOptions, prepareWorkspace } from './workspace/prepare.ts';
export { createWorkspaces, defaultWorkspaceLimits, type WorkspaceLimits, type Workspaces } from './workspace/workspace.ts';
