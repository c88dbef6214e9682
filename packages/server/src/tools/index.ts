/** The door of tools: the service that runs them, what callers see of it, and what authors of tools write. */
export { createFixedSource } from '#tools/catalogue';
export {
  type ArtifactOfCall,
  type AuthorizationRequest,
  type AuthorizationVerdict,
  artifactReader,
  type CallFolders,
  checkArguments,
  describeTool,
  type FilesOfCall,
  type McpAdministration,
  type ResumedCall,
  selectTools,
  type Tool,
  type ToolCall,
  type ToolCallEnd,
  type ToolContext,
  type ToolDescriptor,
  type ToolPart,
  type ToolResult,
  type ToolService,
  type ToolSource,
  type WorkerDesk,
  withoutArtifact,
} from '#tools/contract';
export type { FinishedCall, ToolFault } from '#tools/execution';
export { openSessionFiles, type SessionFiles } from '#tools/files';
export {
  createOwnListeners,
  type EgressObserver,
  type OwnListeners,
  type ProxyDefence,
  proxyDefences,
} from '#tools/net';
export {
  checkPackage,
  createPluginTools,
  createSigningKey,
  fromInstalled,
  type InstalledPlugin,
  manifestName,
  openPackage,
  type PackedFiles,
  type PluginPackage,
  packTarball,
  parseManifest,
  sha256OfBytes,
  signatureName,
  signManifest,
  toInstalled,
  tryOutPlugin,
} from '#tools/plugins';
export {
  createJail,
  createSandbox,
  createWasmSandbox,
  type Defence,
  defences,
  type Jail,
  type JailEnd,
  type JailLimits,
  type Sandbox,
  type SandboxRequest,
} from '#tools/sandbox';
export { createWorkspaces, type Workspaces } from '#tools/workspace';
export { createToolService } from './service.ts';
