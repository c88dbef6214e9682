/** The door of tools: the registry, the built-in tools, the sandbox and the session's files. */
export { createBuiltinTools } from './builtin/index.ts';
export { createToolRegistry, type ToolFault } from './registry.ts';
export { createSandbox } from './sandbox/sandbox.ts';
export type { Sandbox, SandboxRequest } from './sandbox/types.ts';
export type { Authorize, Tool, ToolContext, ToolExecution, ToolRegistry, ToolResult } from './types.ts';
export { createSessionFolders } from './workspace/session-folders.ts';
export { createWorkspaces, type WorkspaceLimits } from './workspace/workspace.ts';
