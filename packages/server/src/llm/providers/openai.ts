import type { Provider } from '#llm/attempt';
import { createOmissions, createOpenAiChat, openAiRefusals } from '#llm/dialects';
import { createHttpProvider } from '#llm/transport';
import { createVocabularyCounter } from './counters.ts';
import { type CommonProviderOptions, freePrice, hostedTemplateTokens, isHosted, isListPriced } from './options.ts';
import { resendWithoutRefused } from './resend.ts';
import { createTokenizer } from './tokenizer.ts';
import type { Vocabulary } from './tokenizer-worker.ts';

export interface OpenAiProviderOptions extends CommonProviderOptions {
  readonly apiKey: string;
  /** Default `https://api.openai.com/v1`. */
  readonly baseUrl?: string;
  /** `max_tokens` for a gateway that does not know the newer field. */
  readonly maxTokensField?: 'max_tokens' | 'max_completion_tokens';
  /** Members of every request body beyond the common format. */
  readonly extraBody?: Readonly<Record<string, unknown>>;
  /** Models that the price list does not have cost nothing: those of a machine of one's own. */
  readonly freeUnlisted?: boolean;
}

/**
 * By the published formulas (platform.openai.com/docs/guides/images-vision): by tiles, of which no image has more than 8 after it
 * is scaled, or by patches of 32 pixels, at most 1,536 of them for the small models and 2,500 for those that take images as they are.
 */
function imageTokens(model: string): number {
  const tiled = (base: number, tile: number) => base + 8 * tile;
  if (/^gpt-4o-mini/.test(model)) return tiled(2_833, 5_667);
  if (/^(gpt-4o|gpt-4\.1|gpt-4\.5|gpt-5|o1|o3)(-20\d\d-\d\d-\d\d)?$/.test(model)) return tiled(85, 170);
  // The largest factor is that of gpt-4.1-nano.
  return Math.ceil((/-(mini|nano)(-|$)/.test(model) ? 1_536 : 2_500) * 2.46);
}

/** The vocabularies that are published; nothing is known of later models until they are tried. */
function vocabularyOf(model: string): Vocabulary | null {
  if (/^(gpt-4o|gpt-4\.[15]|gpt-5|chatgpt-4o|codex-|o[134](-|$))/.test(model)) return 'o200k_base';
  return /^(gpt-4|gpt-3\.5)/.test(model) ? 'cl100k_base' : null;
}

const ownUrl = 'https://api.openai.com/v1';

/** OpenAI, by Chat Completions. */
export function createOpenAiProvider(options: OpenAiProviderOptions): Provider {
  const { name = 'openai', baseUrl = ownUrl, clock, extraBody } = options;
  const omissions = createOmissions(options.omit, options.onOmitted);
  const tokenizer = createTokenizer();
  const provider = createHttpProvider({
    name,
    simulator: false,
    catalogue: isListPriced(extraBody) ? 'openai' : null,
    baseUrl,
    dialect: createOpenAiChat({
      provider: name,
      omissions,
      maxTokensField: options.maxTokensField ?? 'max_completion_tokens',
      ...(extraBody === undefined ? {} : { extraBody }),
    }),
    headers: { authorization: `Bearer ${options.apiKey.trim()}`, ...options.headers },
    claimPattern: /^(gpt-|chatgpt-|codex-|o\d)/,
    // Reasoning of the later models is billed and not shown.
    imageTokens: (model) => (isHosted(baseUrl, ownUrl) || vocabularyOf(model) !== null ? imageTokens(model) : undefined),
    counter: createVocabularyCounter(tokenizer, { vocabularyOf, imageTokens }),
    ...(isHosted(baseUrl, ownUrl) ? { templateTokens: hostedTemplateTokens } : {}),
    ...(extraBody === undefined ? {} : { extraBody }),
    showsAll: (model) => !(options.thinksUnseen?.(model) ?? !/^(gpt-3\.5|gpt-4|chatgpt-4)/.test(model)),
    preferredModel: 'gpt-5-mini',
    ...(options.freeUnlisted === true ? { unlistedPrice: freePrice } : {}),
    ...(options.discovers === undefined ? {} : { discovers: options.discovers }),
    clock,
    ...(options.models === undefined ? {} : { modelNames: options.models }),
    secrets: options.secrets,
    ...(options.timeouts === undefined ? {} : { timeouts: options.timeouts }),
    ...(options.maxAnswerChars === undefined ? {} : { maxAnswerChars: options.maxAnswerChars }),
    ...(options.proxy === undefined ? {} : { proxy: options.proxy }),
  });
  const asked = resendWithoutRefused(provider, { refusals: openAiRefusals, omissions, clock });
  return {
    ...asked,
    async close() {
      await Promise.all([asked.close(), tokenizer.close()]);
    },
  };
}
