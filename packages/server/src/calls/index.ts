/** The door of calls: one governed model or tool call. Decide, reserve, do, settle, over a charge context. */
export { artifactRow, readsArtifacts, refusedArtifact } from './artifacts.ts';
export type { ChargeContext } from './charge.ts';
export { type Actor, decideForAgent, denialMessage, originOf, type RecordedDecision, recordDecision } from './decisions.ts';
export { callToolDirectly } from './direct-tool.ts';
export type { CallEngine, CallSettings } from './engine.ts';
export { lowerInputBound } from './input-count.ts';
export {
  type ModelAttempt,
  type ModelCall,
  modelAmounts,
  modelGrant,
  planModelAttempt,
  timeLeft,
} from './model-attempt.ts';
export {
  type AttemptAnswer,
  type AttemptWish,
  callModel,
  type FailedAttempt,
  type GrantedAttempt,
  type ModelOutcome,
} from './model-call.ts';
export { refusalError, refusalThrown, withWait } from './refusal.ts';
export { decideTool, performTool, reserveTool, toolAmounts } from './tool-call.ts';
