import type { Provider } from '#llm/attempt';
import { createOmissions, createOpenAiChat, openAiRefusals } from '#llm/dialects';
import { createHttpProvider } from '#llm/transport';
import type { CommonProviderOptions } from './options.ts';
import { resendWithoutRefused } from './resend.ts';

export interface OpenAiProviderOptions extends CommonProviderOptions {
  readonly apiKey: string;
  /** Default `https://api.openai.com/v1`. */
  readonly baseUrl?: string;
  /** `max_tokens` for a gateway that does not know the newer field. */
  readonly maxTokensField?: 'max_tokens' | 'max_completion_tokens';
  /** Members of every request body beyond the common format. */
  readonly extraBody?: Readonly<Record<string, unknown>>;
}

/** OpenAI, by Chat Completions. */
export function createOpenAiProvider(options: OpenAiProviderOptions): Provider {
  const { name = 'openai', clock, extraBody } = options;
  const omissions = createOmissions(options.omit);
  const provider = createHttpProvider({
    name,
    simulator: false,
    catalogue: 'openai',
    baseUrl: options.baseUrl ?? 'https://api.openai.com/v1',
    dialect: createOpenAiChat({
      provider: name,
      omissions,
      maxTokensField: options.maxTokensField ?? 'max_completion_tokens',
      ...(extraBody === undefined ? {} : { extraBody }),
    }),
    headers: { authorization: `Bearer ${options.apiKey.trim()}`, ...options.headers },
    claimPattern: /^(gpt-|chatgpt-|codex-|o\d)/,
    // Reasoning of the later models is billed and not shown.
    showsAll: (model) => /^(gpt-3\.5|gpt-4|chatgpt-4)/.test(model),
    clock,
    ...(options.models === undefined ? {} : { modelNames: options.models }),
    ...(options.timeouts === undefined ? {} : { timeouts: options.timeouts }),
    ...(options.proxy === undefined ? {} : { proxy: options.proxy }),
  });
  return resendWithoutRefused(provider, { refusals: openAiRefusals, omissions, clock });
}
