/** The door of llm: the language model service, its contract, and what calls cost. */
export type { ModelSettings } from './catalogue.ts';
export { costMicroUsd, reserveMicroUsd } from './pricing.ts';
export type { Provider } from './provider.ts';
export { createLanguageModels } from './service.ts';
export type { AttemptGrant, LanguageModels, ModelPart, ModelRequest, ModelTarget } from './types.ts';
