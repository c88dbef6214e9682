import { type Clock, NexusError } from '#core';
import type { Provider } from '#llm/attempt';
import type { ModelPrice, ModelTarget } from '#llm/contract';
import { createModelFacts } from '#llm/pricing';

/** What the configuration says of a model. */
export interface ModelSettings {
  readonly price?: ModelPrice;
  readonly contextTokens?: number;
  readonly maxOutputTokens?: number;
  readonly imageTokens?: number;
}

export interface Catalogue {
  resolve(refs: readonly string[]): Promise<readonly ModelTarget[]>;
  list(): Promise<readonly ModelTarget[]>;
}

const defaultContextTokens = 128_000;
const defaultMaxOutputTokens = 16_384;
/** The widest of the open models that are published (Qwen-VL). */
const defaultImageTokens = 16_384;
/** Templates of open models have up to some two hundred of them. */
const defaultTemplateTokens = 320;

/** Older models that refuse requests for the usual output length. */
const smallerOutputs: readonly (readonly [RegExp, number])[] = [
  [/^claude-3-(opus|sonnet|haiku)/, 4_096],
  [/^claude-3-5-/, 8_192],
  [/^gpt-(3\.5|4-|4$)/, 4_096],
];

/** Which models there are, and what is known of each. Configuration wins over the provider, the provider over the price catalogue. */
export function createCatalogue(dependencies: {
  readonly providers: readonly Provider[];
  readonly clock: Clock;
  readonly models?: Readonly<Record<string, ModelSettings>>;
  /** Whether an answer of the model has gone on beyond its limit. */
  readonly ignoresLimits: (provider: string, model: string) => boolean;
}): Catalogue {
  const { providers, clock, models: settings = {} } = dependencies;
  const facts = createModelFacts(clock);

  async function target(provider: Provider, model: string): Promise<ModelTarget> {
    const configured = { ...settings[`${provider.name}/*`], ...settings[`${provider.name}/${model}`] };
    const limits = provider.limits(model);
    const fixedPrice = configured.price ?? provider.fixedPrice(model);
    const found = provider.catalogue === null ? { price: null } : await facts(provider.catalogue, model);
    const contextTokens = configured.contextTokens ?? limits.contextTokens ?? found.contextTokens ?? defaultContextTokens;
    return {
      provider: provider.name,
      model,
      contextTokens,
      maxOutputTokens: Math.min(configured.maxOutputTokens ?? limits.maxOutputTokens ?? usualOutputTokens(model), contextTokens),
      simulator: provider.simulator,
      thinksUnseen: provider.thinksUnseen(model),
      templateTokens: limits.templateTokens ?? defaultTemplateTokens,
      imageTokens: configured.imageTokens ?? limits.imageTokens ?? defaultImageTokens,
      ...(dependencies.ignoresLimits(provider.name, model) ? { ignoresLimits: true } : {}),
      price: fixedPrice ?? found.price,
      ...(fixedPrice !== null || found.priceTiers === undefined ? {} : { priceTiers: found.priceTiers }),
    };
  }

  async function resolveOne(ref: string): Promise<ModelTarget> {
    const slash = ref.indexOf('/');
    const named = slash === -1 ? undefined : providers.find((provider) => provider.name === ref.slice(0, slash));
    if (named !== undefined && slash + 1 < ref.length) return target(named, ref.slice(slash + 1));
    const claiming = providers.find((provider) => provider.claims(ref));
    if (claiming !== undefined) return target(claiming, ref);
    const listing = await Promise.all(providers.map((provider) => provider.lists(ref)));
    const found = providers[listing.indexOf(true)];
    if (found !== undefined) return target(found, ref);
    throw await notFound(ref);
  }

  async function list(): Promise<readonly ModelTarget[]> {
    const lists = await Promise.all(
      providers.map(async (provider) => Promise.all((await provider.models()).map((model) => target(provider, model)))),
    );
    return lists.flat();
  }

  async function notFound(ref: string): Promise<NexusError> {
    const names = (await list()).slice(0, 20).map(({ provider, model }) => `${provider}/${model}`);
    const configured = providers.map((provider) => provider.name);
    const hint = names.length === 0 ? `configured providers: ${configured.join(', ') || 'none'}` : `configured: ${names.join(', ')}`;
    return new NexusError('model_not_found', `no provider serves the model ${ref}; ${hint}`, {
      details: { model: ref, configured: names },
    });
  }

  return { resolve: (refs) => Promise.all(refs.map(resolveOne)), list };
}

function usualOutputTokens(model: string): number {
  return smallerOutputs.find(([pattern]) => pattern.test(model))?.[1] ?? defaultMaxOutputTokens;
}
