import { type Clock, closest, NexusError } from '#core';
import type { Provider } from '#llm/attempt';
import { isSameTarget, type ModelPrice, type ModelTarget } from '#llm/contract';
import { createModelFacts } from '#llm/pricing';
import { nearestModel } from '#llm/transport';

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

/** Stands in a list of models for those that the platform uses when nobody chooses: one of each provider. */
const defaultModelRef = 'default';
const mostDefaults = 8;
const howToConfigure =
  'Set OPENAI_API_KEY or ANTHROPIC_API_KEY, or name a server under providers.compatible in nexus.config.yaml; `default` in the list of models of an agent stands for what is configured';

/** Which models there are, and what is known of each. Configuration wins over the provider, the provider over the price catalogue. */
export function createCatalogue(dependencies: {
  readonly providers: readonly Provider[];
  readonly clock: Clock;
  readonly models?: Readonly<Record<string, ModelSettings>>;
  /** Whether an answer of the model has gone on beyond its limit. */
  readonly ignoresLimits: (provider: string, model: string) => boolean;
  /** A model of a list is not served; others of the list are. */
  readonly onPassedOver: (ref: string) => void;
}): Catalogue {
  const { providers, clock, models: settings = {} } = dependencies;
  const facts = createModelFacts(clock);
  const priced = Object.keys(settings).filter((name) => settings[name]?.price !== undefined);

  async function target(provider: Provider, model: string): Promise<ModelTarget> {
    const configured = { ...settings[`${provider.name}/*`], ...settings[`${provider.name}/${model}`] };
    const limits = provider.limits(model);
    const fixedPrice = configured.price ?? provider.fixedPrice(model);
    const found = provider.catalogue === null ? { price: null } : await facts(provider.catalogue, model);
    const contextTokens = configured.contextTokens ?? limits.contextTokens ?? found.contextTokens ?? defaultContextTokens;
    const price = fixedPrice ?? found.price ?? provider.unlistedPrice;
    const nearPrice = price === null ? closest(`${provider.name}/${model}`, priced) : null;
    return {
      provider: provider.name,
      model,
      contextTokens,
      maxOutputTokens: Math.min(configured.maxOutputTokens ?? limits.maxOutputTokens ?? usualOutputTokens(model), contextTokens),
      simulator: provider.simulator,
      thinksUnseen: provider.thinksUnseen(model),
      templateTokens: (limits.templateTokens ?? defaultTemplateTokens) + (limits.bodyTokens ?? 0),
      imageTokens: configured.imageTokens ?? limits.imageTokens ?? defaultImageTokens,
      ...(dependencies.ignoresLimits(provider.name, model) ? { ignoresLimits: true } : {}),
      price,
      ...(nearPrice === null ? {} : { nearPrice }),
      ...(fixedPrice !== null || found.priceTiers === undefined ? {} : { priceTiers: found.priceTiers }),
    };
  }

  async function resolveOne(ref: string): Promise<ModelTarget> {
    const slash = ref.indexOf('/');
    const named = slash === -1 ? undefined : providers.find((provider) => provider.name === ref.slice(0, slash));
    if (named !== undefined && slash + 1 < ref.length) {
      const model = ref.slice(slash + 1);
      if (named.serves(model)) return target(named, model);
      throw await notFound(ref);
    }
    const claiming = providers.find((provider) => provider.claims(ref));
    if (claiming !== undefined) return target(claiming, ref);
    const listing = await Promise.all(providers.map((provider) => provider.lists(ref)));
    const found = providers[listing.indexOf(true)];
    if (found !== undefined) return target(found, ref);
    throw await notFound(ref);
  }

  /** The models for those who do not choose: one of each provider, in their order. */
  async function defaults(): Promise<readonly ModelTarget[]> {
    const names = await Promise.all(providers.map((provider) => provider.defaultModel()));
    const found = providers.flatMap((provider, index) => {
      const model = names[index];
      return model === undefined || model === null ? [] : [target(provider, model)];
    });
    if (found.length === 0) throw await notFound(defaultModelRef);
    return (await Promise.all(found)).slice(0, mostDefaults);
  }

  async function resolve(refs: readonly string[]): Promise<readonly ModelTarget[]> {
    const results = await Promise.allSettled(refs.map(async (ref) => (ref === defaultModelRef ? defaults() : [await resolveOne(ref)])));
    const found = results.flatMap((result) => (result.status === 'fulfilled' ? result.value : []));
    const failed = results.flatMap((result, index) =>
      result.status === 'rejected' ? [{ ref: refs[index] ?? '', error: result.reason }] : [],
    );
    const fault = failed.find(({ error }) => !(error instanceof NexusError) || error.code !== 'model_not_found') ?? failed[0];
    if (found.length === 0 && fault !== undefined) throw fault.error;
    for (const { ref } of failed) dependencies.onPassedOver(ref);
    return found.filter((target, index) => found.findIndex((other) => isSameTarget(other, target)) === index);
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
    const what = ref === defaultModelRef ? 'no provider has a model to use by default' : `no provider serves the model ${ref}`;
    const troubles = providers.map((provider) => provider.trouble()).filter((trouble) => trouble !== null);
    const near =
      ref === defaultModelRef
        ? null
        : nearestModel(ref, ref.includes('/') ? names : names.map((name) => name.slice(name.indexOf('/') + 1)));
    const hints = [
      ...(near === null ? [] : [`did you mean ${near}?`]),
      ...troubles,
      ...(names.length > 0
        ? [`served here: ${names.join(', ')}`]
        : troubles.length > 0
          ? []
          : [`configured providers: ${configured.join(', ') || 'none'}`]),
    ];
    const how = troubles.length > 0 && names.length === 0 ? '' : `. ${howToConfigure}`;
    return new NexusError('model_not_found', `${what}; ${hints.join('; ')}${how}`, {
      details: { model: ref, configured: names },
    });
  }

  return { resolve, list };
}

function usualOutputTokens(model: string): number {
  return smallerOutputs.find(([pattern]) => pattern.test(model))?.[1] ?? defaultMaxOutputTokens;
}
