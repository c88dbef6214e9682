import type { Provider } from '#llm/attempt';
import type { ModelPrice } from '#llm/contract';
import { createOmissions, createOpenAiChat, openAiRefusals } from '#llm/dialects';
import { createHttpProvider } from '#llm/transport';
import { createServerCounter } from './counters.ts';
import { type CommonProviderOptions, freePrice, isListPriced } from './options.ts';
import { resendWithoutRefused } from './resend.ts';

export interface OpenAiCompatibleProviderOptions extends CommonProviderOptions {
  readonly name: string;
  /** Up to and with the version, such as `http://127.0.0.1:11434/v1`. */
  readonly baseUrl: string;
  /** Many local servers need none. */
  readonly apiKey?: string;
  readonly maxTokensField?: 'max_tokens' | 'max_completion_tokens';
  /** Members of every request body beyond the common format. */
  readonly extraBody?: Readonly<Record<string, unknown>>;
  /** A price for every model; `free` for a machine of one's own. Absent: from `priceCatalogue`, else unknown. */
  readonly price?: ModelPrice | 'free';
  /** Name of the provider in the price catalogue, such as `groq` or `mistral`. */
  readonly priceCatalogue?: string;
  /** It is vLLM or llama.cpp, or stands before one, and has their `/tokenize`. Absent: no. */
  readonly countsTokens?: boolean;
  readonly contextTokens?: number;
  readonly maxOutputTokens?: number;
}

/** Any server that speaks OpenAI Chat Completions: Ollama, vLLM, llama.cpp, Groq and others. */
export function createOpenAiCompatibleProvider(options: OpenAiCompatibleProviderOptions): Provider {
  const price = options.price === 'free' ? freePrice : (options.price ?? null);
  const { name, clock } = options;
  const omissions = createOmissions(options.omit, options.onOmitted);
  const provider = createHttpProvider({
    name,
    simulator: false,
    catalogue: isListPriced(options.extraBody) ? (options.priceCatalogue ?? null) : null,
    fixedPrice: () => price,
    baseUrl: options.baseUrl,
    dialect: createOpenAiChat({
      provider: name,
      omissions,
      maxTokensField: options.maxTokensField ?? 'max_tokens',
      ...(options.extraBody === undefined ? {} : { extraBody: options.extraBody }),
    }),
    headers: { ...(options.apiKey === undefined ? {} : { authorization: `Bearer ${options.apiKey.trim()}` }), ...options.headers },
    // A gateway may serve models that reason unseen; a machine of one's own shows what its models write.
    ...(options.countsTokens === true ? { counter: createServerCounter() } : {}),
    showsAll: (model) => !(options.thinksUnseen?.(model) ?? price !== freePrice),
    ...(options.discovers === undefined ? {} : { discovers: options.discovers }),
    mayCut: true,
    ...(options.extraBody === undefined ? {} : { extraBody: options.extraBody }),
    clock,
    ...(options.models === undefined ? {} : { modelNames: options.models }),
    secrets: options.secrets,
    ...(options.timeouts === undefined ? {} : { timeouts: options.timeouts }),
    ...(options.maxAnswerChars === undefined ? {} : { maxAnswerChars: options.maxAnswerChars }),
    ...(options.proxy === undefined ? {} : { proxy: options.proxy }),
    ...(options.contextTokens === undefined ? {} : { contextTokens: options.contextTokens }),
    ...(options.maxOutputTokens === undefined ? {} : { maxOutputTokens: options.maxOutputTokens }),
  });
  return resendWithoutRefused(provider, { refusals: openAiRefusals, omissions, clock });
}
