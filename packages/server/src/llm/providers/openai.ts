import type { Provider } from '#llm/attempt';
import { createOpenAiChat } from '#llm/dialects';
import { createHttpProvider } from '#llm/transport';
import type { CommonProviderOptions } from './options.ts';

export interface OpenAiProviderOptions extends CommonProviderOptions {
  readonly apiKey: string;
  /** Default `https://api.openai.com/v1`. */
  readonly baseUrl?: string;
  /** `max_tokens` for a gateway that does not know the newer field. */
  readonly maxTokensField?: 'max_tokens' | 'max_completion_tokens';
}

/** OpenAI, by Chat Completions. */
export function createOpenAiProvider(options: OpenAiProviderOptions): Provider {
  return createHttpProvider({
    name: options.name ?? 'openai',
    simulator: false,
    catalogue: 'openai',
    baseUrl: options.baseUrl ?? 'https://api.openai.com/v1',
    dialect: createOpenAiChat({ maxTokensField: options.maxTokensField ?? 'max_completion_tokens' }),
    headers: { authorization: `Bearer ${options.apiKey.trim()}`, ...options.headers },
    claimPattern: /^(gpt-|chatgpt-|codex-|o\d)/,
    clock: options.clock,
    ...(options.models === undefined ? {} : { modelNames: options.models }),
    ...(options.timeouts === undefined ? {} : { timeouts: options.timeouts }),
    ...(options.proxy === undefined ? {} : { proxy: options.proxy }),
  });
}
