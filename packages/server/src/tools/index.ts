/** The door of tools: the service that runs them, what callers see of it, and what authors of tools write. */
export { createFixedSource } from '#tools/catalogue';
export {
  type AuthorizationRequest,
  type AuthorizationVerdict,
  checkArguments,
  describeTool,
  selectTools,
  type Tool,
  type ToolCall,
  type ToolCallEnd,
  type ToolContext,
  type ToolDescriptor,
  type ToolPart,
  type ToolResult,
  type ToolService,
} from '#tools/contract';
export type { ToolFault } from '#tools/execution';
export { createSandbox, type Sandbox, type SandboxRequest } from '#tools/sandbox';
export { createSessionFolders, createWorkspaces, removeWorkspace } from '#tools/workspace';
export { createToolService } from './service.ts';
