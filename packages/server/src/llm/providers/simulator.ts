import type { Provider } from '#llm/attempt';
import type { ModelPrice } from '#llm/contract';
import { anthropicRefusals, createAnthropicMessages, createOmissions, createOpenAiChat, openAiRefusals } from '#llm/dialects';
import { createHttpProvider } from '#llm/transport';
import { countByAnthropic, createServerCounter } from './counters.ts';
import { type CommonProviderOptions, hostedTemplateTokens } from './options.ts';
import { resendWithoutRefused } from './resend.ts';

export interface SimProviderOptions extends Pick<CommonProviderOptions, 'name' | 'clock' | 'timeouts' | 'maxAnswerChars' | 'headers'> {
  /** Of a running simulator (`startSimulator`). */
  readonly url: string;
  /** The wire format to speak with it. */
  readonly dialect?: 'openai' | 'anthropic';
  /** All that it serves; left out: whatever it is asked for. */
  readonly models?: readonly string[];
}

/** Made up and fixed, so that budgets can be shown. */
const largePrice: ModelPrice = {
  inputMicroUsdPerMillion: 1_000_000,
  outputMicroUsdPerMillion: 4_000_000,
  cacheReadMicroUsdPerMillion: 100_000,
  cacheWriteMicroUsdPerMillion: 1_250_000,
};
const smallPrice: ModelPrice = {
  inputMicroUsdPerMillion: 100_000,
  outputMicroUsdPerMillion: 400_000,
  cacheReadMicroUsdPerMillion: 10_000,
  cacheWriteMicroUsdPerMillion: 125_000,
};

/**
 * The simulator as a provider: the same client code as for a real one, over loopback. Its prices stand for no real ones:
 * 1 USD per million input tokens and 4 per million output tokens, a tenth of that for `sim-small`.
 */
export function createSimProvider(options: SimProviderOptions): Provider {
  const { name = 'sim', clock, models } = options;
  const plainName = (model: string) => model.split('?')[0] ?? model;
  const omissions = createOmissions();
  const common = { provider: name, omissions };
  const anthropic = { ...common, promptCaching: true };
  const provider = createHttpProvider({
    name,
    simulator: true,
    catalogue: null,
    fixedPrice: (model) => (plainName(model) === 'sim-small' ? smallPrice : largePrice),
    baseUrl: `${options.url}/v1`,
    dialect:
      options.dialect === 'anthropic'
        ? createAnthropicMessages(anthropic)
        : createOpenAiChat({ ...common, maxTokensField: 'max_completion_tokens' }),
    headers: { ...options.headers },
    claimPattern: /^sim-/,
    listedName: plainName,
    counter: options.dialect === 'anthropic' ? countByAnthropic : createServerCounter(),
    templateTokens: hostedTemplateTokens,
    ...(options.dialect === 'anthropic' ? {} : { preferredModel: 'sim-large' }),
    showsAll: () => true,
    clock,
    ...(options.timeouts === undefined ? {} : { timeouts: options.timeouts }),
    ...(options.maxAnswerChars === undefined ? {} : { maxAnswerChars: options.maxAnswerChars }),
  });
  const refusals = options.dialect === 'anthropic' ? anthropicRefusals(anthropic) : openAiRefusals;
  const serves = (model: string) => models === undefined || models.includes(plainName(model));
  const claims = (model: string) => provider.claims(model) && serves(model);
  return resendWithoutRefused({ ...provider, serves, claims }, { refusals, omissions, clock });
}
