/** The door of the model providers; only composition roots and tests come through it. */
export { type AnthropicProviderOptions, createAnthropicProvider } from './anthropic.ts';
export { createOpenAiProvider, type OpenAiProviderOptions } from './openai.ts';
export { createOpenAiCompatibleProvider, type OpenAiCompatibleProviderOptions } from './openai-compatible.ts';
export { createSimProvider, type SimProviderOptions } from './simulator.ts';
