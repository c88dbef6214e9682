import type { Provider } from '#llm/attempt';
import { type AnthropicMessagesOptions, anthropicRefusals, createAnthropicMessages, createOmissions } from '#llm/dialects';
import { createHttpProvider } from '#llm/transport';
import { countByAnthropic } from './counters.ts';
import { type CommonProviderOptions, hostedTemplateTokens, isHosted } from './options.ts';
import { resendWithoutRefused } from './resend.ts';

export interface AnthropicProviderOptions extends CommonProviderOptions {
  readonly apiKey: string;
  /** Default `https://api.anthropic.com/v1`. */
  readonly baseUrl?: string;
  /** Default true. */
  readonly promptCaching?: boolean;
  readonly thinking?: AnthropicMessagesOptions['thinking'];
}

const ownUrl = 'https://api.anthropic.com/v1';
const claude = /^claude-/;

/** Anthropic, by Messages. */
export function createAnthropicProvider(options: AnthropicProviderOptions): Provider {
  const { name = 'anthropic', baseUrl = ownUrl, clock, thinking } = options;
  const omissions = createOmissions(options.omit, options.onOmitted);
  const dialect: AnthropicMessagesOptions = {
    provider: name,
    omissions,
    promptCaching: options.promptCaching ?? true,
    ...(thinking === undefined ? {} : { thinking }),
  };
  const provider = createHttpProvider({
    name,
    simulator: false,
    catalogue: 'anthropic',
    baseUrl,
    dialect: createAnthropicMessages(dialect),
    headers: { 'x-api-key': options.apiKey.trim(), 'anthropic-version': '2023-06-01', ...options.headers },
    claimPattern: claude,
    // A token for 750 pixels, of at most 2,576 on the longer side for the latest models, which is 4,784 as published.
    imageTokens: (model) => (isHosted(baseUrl, ownUrl) || claude.test(model) ? 4_800 : undefined),
    counter: countByAnthropic,
    ...(isHosted(baseUrl, ownUrl) ? { templateTokens: hostedTemplateTokens } : {}),
    // Thinking is streamed, also where it is only summed up or encrypted; without it there is none.
    showsAll: (model) => !(options.thinksUnseen?.(model) ?? thinking !== undefined),
    preferredModel: 'claude-sonnet-4-5',
    ...(options.discovers === undefined ? {} : { discovers: options.discovers }),
    clock,
    ...(options.models === undefined ? {} : { modelNames: options.models }),
    secrets: options.secrets,
    ...(options.timeouts === undefined ? {} : { timeouts: options.timeouts }),
    ...(options.maxAnswerChars === undefined ? {} : { maxAnswerChars: options.maxAnswerChars }),
    ...(options.proxy === undefined ? {} : { proxy: options.proxy }),
  });
  return resendWithoutRefused(provider, { refusals: anthropicRefusals(dialect), omissions, clock });
}
