/** The door of the model providers; only composition roots and tests come through it. */
export { createAnthropicProvider } from './anthropic.ts';
export { createOpenAiProvider } from './openai.ts';
export { createOpenAiCompatibleProvider } from './openai-compatible.ts';
export { freePrice } from './options.ts';
export { listProviderModels } from './probe.ts';
export { createSimProvider } from './simulator.ts';
