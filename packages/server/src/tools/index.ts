/** The door of tools: the registry, the built-in tools, the sandbox and the session's files. */
export { type BuiltinToolsOptions, createBuiltinTools } from './builtin/index.ts';
export { createToolRegistry, type ToolFault, type ToolRegistryOptions } from './registry.ts';
export { createSandbox, defaultSandboxLimits, type SandboxOptions } from './sandbox/pool.ts';
export type { Sandbox, SandboxLimits, SandboxRequest, SandboxResult } from './sandbox/types.ts';
export { createSchemaValidator, type SchemaValidator } from './schema.ts';
export type { Authorize, JsonSchema, Tool, ToolContext, ToolExecution, ToolRegistry, ToolResult } from './types.ts';
export { type PrepareWorkspaceOptions, prepareWorkspace } from './workspace/prepare.ts';
export {
  createWorkspaces,
  defaultWorkspaceLimits,
  type WorkspaceLimits,
  type Workspaces,
  type WorkspacesOptions,
} from './workspace/workspace.ts';
