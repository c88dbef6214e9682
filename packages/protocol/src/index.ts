/** The one door of the protocol package: every name that a client or the server may use. */
export {
  BudgetAmounts,
  BudgetLimits,
  BudgetRefusal,
  BudgetScope,
  BudgetScopeKind,
  BudgetUnit,
  BudgetView,
  BudgetWindow,
  budgetUnits,
} from './budget.ts';
export {
  AssistantPart,
  AssumedCount,
  FinishReason,
  GivenBy,
  ImagePart,
  Message,
  noUsage,
  ReasoningPart,
  TextPart,
  ToolCallPart,
  ToolResultPart,
  Usage,
  UserPart,
} from './content.ts';
export { dictionary } from './dictionary.ts';
export { type ErrorEntry, errorTable } from './error-table.ts';
export { ErrorCode, ErrorInfo, Problem } from './errors.ts';
export {
  ApprovalDecision,
  ApprovalKind,
  ClientTool,
  type EffectsClass,
  type EventType,
  type JournalData,
  type JournalEvent,
  type JournalEventType,
  journalEventTypes,
  type LiveData,
  liveEventTypes,
  type NewEvent,
  type RunReading,
  RunTotals,
  SessionReading,
  WaitReason,
  WireEvent,
} from './events.ts';
export {
  type IdKind,
  idPrefixes,
  isTypeId,
  MessageId,
  ReservationId,
  RunId,
  SessionId,
  TenantId,
} from './ids.ts';
export { AdminAction, DecisionRecord, PolicyAction, PolicyObligation, PolicyShortForm, SystemPart } from './policy.ts';
export { Agent, AgentDefinition, type AgentMcpServer } from './resources/agents.ts';
export { Approval, ApprovalAnswer, AskedForm, type FormField } from './resources/approvals.ts';
export { Artifact } from './resources/artifacts.ts';
export { BudgetRow, SetBudgetRequest } from './resources/budgets.ts';
export {
  DefinitionFolderState,
  DefinitionImportRequest,
  DefinitionKind,
  DefinitionOverview,
  DefinitionSet,
  NodeStatus,
} from './resources/definitions.ts';
export { SessionFile } from './resources/files.ts';
export { HttpAuth, HttpBody, HttpTool, HttpToolSource, type HttpToolSourceInput, toolNameNear } from './resources/http-tools.ts';
export { Key, KeyCreateRequest, KeyScope, Role } from './resources/keys.ts';
export {
  DeclaredMcpServer,
  DeclaredMcpServers,
  grantOf as mcpGrantOf,
  McpApproveRequest,
  McpLogin,
  McpLoginState,
  McpServer,
  type McpServerAuth,
  McpServerDefinition,
  McpServerInspection,
  McpServerName,
  type McpServerTool,
} from './resources/mcp-servers.ts';
export { SessionMessage } from './resources/messages.ts';
export { ModelInfo } from './resources/models.ts';
export { ModelRef, Name, reservedName } from './resources/names.ts';
export { type Page, page } from './resources/page.ts';
export { Plugin, type PluginChange, PluginInstallRequest, PluginKey, PluginKeyRequest } from './resources/plugins.ts';
export { RetentionRow } from './resources/retention.ts';
export {
  ChatRequest,
  ClientCall,
  ClientToolResult,
  isTerminal,
  ReplayResult,
  Run,
  RunCancelRequest,
  RunCreateRequest,
  RunForkRequest,
  RunStatus,
  terminalStatuses,
  WhileBusy,
} from './resources/runs.ts';
export { Session, SessionCreateRequest } from './resources/sessions.ts';
export { type StoredToolSource, ToolSourceInfo, toolSource } from './resources/tool-sources.ts';
export {
  ToolPool,
  ToolWorkerInfo,
  WorkerHello,
  WorkerMessage,
  WorkerReceipt,
  WorkerReport,
  WorkerReports,
  WorkerTool,
} from './resources/tool-workers.ts';
export { ToolExecuteRequest, ToolExecuteResult, ToolInfo } from './resources/tools.ts';
export { UsageBy, UsageRow } from './resources/usage.ts';
export { createSseDecoder, type SseDecoder, SseTooLargeError } from './sse.ts';
export { terminalEventTypes } from './terminal-events.ts';
export { TextPieces } from './text-pieces.ts';
