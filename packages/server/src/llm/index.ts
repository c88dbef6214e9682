/** The door of llm: the model service, its contract, and what calls need and cost. */
export type { Provider } from '#llm/attempt';
export {
  type AttemptFailure,
  isSameTarget,
  type ModelPart,
  type ModelPrice,
  type ModelRequest,
  type ModelService,
  type ModelTarget,
} from '#llm/contract';
export { costMicroUsd, reserveMicroUsd } from '#llm/pricing';
export { estimateInputTokens, estimateMessageTokens, estimateTextTokens, InputCounts, measureMessage } from '#llm/tokens';
export type { ModelSettings } from './catalogue.ts';
export { createModelService } from './service.ts';
