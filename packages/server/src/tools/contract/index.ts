/** The door of the tools' contract: what callers see of tools, and what authors of tools write. */

export { checkArguments, offeredTools, outputFault, selectTools } from './arguments.ts';
export { type ArtifactOfCall, artifactNote, artifactReader, cutNote, type SectionPlace, withoutArtifact } from './artifacts.ts';
export {
  type DeclaredServer,
  type DeclaredServers,
  holdsSecret,
  isAsDeclared,
  isOfDeclaredServer,
  isSecretHeader,
  readDeclaredServers,
  serverMark,
} from './declared-servers.ts';
export { askHuman, describeTool, type ToolDescriptor, type ToolTier } from './descriptor.ts';
export type { CallFiles, CallFolder, CallFolders, FilesOfCall, FolderRequest, KeptFiles, WriteCondition } from './files.ts';
export { fieldFault, readFormAnswer } from './form-answers.ts';
export type { LoginAnswer, LoginOpened, LoginStep, McpAdministration, McpLogins, WhoLogsIn } from './mcp-administration.ts';
export type {
  AuthorizationAnswer,
  AuthorizationRequest,
  AuthorizationVerdict,
  CallWanted,
  ResumedCall,
  Suspension,
  ToolCall,
  ToolCallEnd,
  ToolPart,
  ToolService,
} from './service.ts';
export type { Tool, ToolContext, ToolResult, ToolSource } from './tool.ts';
export { readingFiles, refusedFile } from './touched-files.ts';
export type { WorkerDesk } from './workers.ts';
