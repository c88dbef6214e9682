/** The door of the contract: what the LLM service takes and gives. */
export type { ModelInput, ModelRequest } from './request.ts';
export type {
  Answer,
  AttemptFailure,
  AttemptMessage,
  DeltaKind,
  ModelPart,
  ModelService,
  NextAdvice,
  NextQuestion,
} from './service.ts';
export type { ModelPrice, ModelTarget, PriceTier } from './target.ts';
