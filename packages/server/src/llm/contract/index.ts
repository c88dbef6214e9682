/** The door of the contract: what the LLM service takes and gives. */
export type { ModelInput, ModelRequest, ToolSpec } from './request.ts';
export type {
  Answer,
  AttemptFailure,
  AttemptMessage,
  DeltaKind,
  ForTenant,
  ModelPart,
  ModelService,
  NextAdvice,
  NextQuestion,
} from './service.ts';
export { isSameTarget, type ModelPrice, type ModelTarget, type PriceTier } from './target.ts';
