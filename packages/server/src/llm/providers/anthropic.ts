import type { Provider } from '#llm/attempt';
import { type AnthropicMessagesOptions, createAnthropicMessages } from '#llm/dialects';
import { createHttpProvider } from '#llm/transport';
import type { CommonProviderOptions } from './options.ts';

export interface AnthropicProviderOptions extends CommonProviderOptions {
  readonly apiKey: string;
  /** Default `https://api.anthropic.com/v1`. */
  readonly baseUrl?: string;
  /** Default true. */
  readonly promptCaching?: boolean;
  readonly thinking?: AnthropicMessagesOptions['thinking'];
}

/** Anthropic, by Messages. */
export function createAnthropicProvider(options: AnthropicProviderOptions): Provider {
  return createHttpProvider({
    name: options.name ?? 'anthropic',
    simulator: false,
    catalogue: 'anthropic',
    baseUrl: options.baseUrl ?? 'https://api.anthropic.com/v1',
    dialect: createAnthropicMessages({
      promptCaching: options.promptCaching ?? true,
      ...(options.thinking === undefined ? {} : { thinking: options.thinking }),
    }),
    headers: { 'x-api-key': options.apiKey.trim(), 'anthropic-version': '2023-06-01', ...options.headers },
    claimPattern: /^claude-/,
    clock: options.clock,
    ...(options.models === undefined ? {} : { modelNames: options.models }),
    ...(options.timeouts === undefined ? {} : { timeouts: options.timeouts }),
    ...(options.proxy === undefined ? {} : { proxy: options.proxy }),
  });
}
