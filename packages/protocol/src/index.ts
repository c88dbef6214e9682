/** The one door of the protocol package: every name that a client or the server may use. */
export {
  BudgetAmounts, BudgetLimits, BudgetRefusal, BudgetRow, BudgetScope, BudgetScopeKind, BudgetUnit, BudgetView, BudgetWindow,
  budgetUnits, maxBudgetAmount, SetBudgetRequest,
} from './budget.ts';
export {
  AssistantPart, FinishReason, ImagePart, Message, ReasoningPart, TextPart, ToolCallPart, ToolResultPart, Usage, UserPart,
} from './content.ts';
export { ErrorCode, type ErrorEntry, ErrorInfo, errorTable, Problem } from './errors.ts';
export {
  ApprovalDecision, ApprovalKind, type EffectsClass, type EventType, type JournalData, type JournalEvent, type JournalEventType,
  journalEventTypes, journalSchemas, type LiveData, type LiveEventType, liveEventTypes, liveSchemas, type NewEvent, RunTotals,
  terminalEventTypes, WaitReason, WireEvent,
} from './events.ts';
export {
  ApprovalId, CallId, DecisionId, type IdKind, idPrefixes, isTypeId, KeyId, MessageId, ReservationId, RunId, SessionId, TenantId, WorkerId,
} from './ids.ts';
export { DecisionRecord, PolicyAction, PolicyObligation, PolicyShortForm } from './policy.ts';
export {
  Agent, AgentDefinition, Approval, ApprovalAnswer, ChatRequest, Key, KeyCreateRequest, KeyScope, ModelInfo, ModelRef, Name, type Page, page,
  ReplayResult, Run, RunCancelRequest, RunCreateRequest, RunForkRequest, RunStatus, Session, SessionCreateRequest, SessionMessage,
  ToolExecuteRequest, ToolExecuteResult, ToolInfo,
} from './resources.ts';
