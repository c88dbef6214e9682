import { type Clock, NexusError } from '#core';
import { lookUpModel, type ModelFacts } from './pricing.ts';
import type { Provider } from './provider.ts';
import type { ModelPrice, ModelTarget } from './types.ts';

/** What the configuration says of a model. */
export interface ModelSettings {
  readonly price?: ModelPrice;
  readonly contextTokens?: number;
  readonly maxOutputTokens?: number;
}

export interface Catalogue {
  resolve(refs: readonly string[]): Promise<readonly ModelTarget[]>;
  list(): Promise<readonly ModelTarget[]>;
}

const defaultContextTokens = 128_000;
const defaultMaxOutputTokens = 16_384;

/** Which models there are, and what is known of each. Configuration wins over the provider, the provider over the price catalogue. */
export function createCatalogue(dependencies: {
  readonly providers: readonly Provider[];
  readonly clock: Clock;
  readonly models?: Readonly<Record<string, ModelSettings>>;
}): Catalogue {
  const { providers, clock, models: settings = {} } = dependencies;
  const known = new Map<string, Promise<ModelFacts>>();

  function facts(provider: Provider, model: string): Promise<ModelFacts> {
    if (provider.catalogue === null) return Promise.resolve({ price: null });
    // Prices change by the day at most.
    const key = `${provider.name}/${model}@${Math.floor(clock.now() / 86_400_000)}`;
    let found = known.get(key);
    if (found === undefined) {
      if (known.size > 1_000) known.clear();
      found = lookUpModel(provider.catalogue, model, new Date(clock.now()));
      known.set(key, found);
    }
    return found;
  }

  async function target(provider: Provider, model: string): Promise<ModelTarget> {
    const configured = { ...settings[`${provider.name}/*`], ...settings[`${provider.name}/${model}`] };
    const limits = provider.limits(model);
    const fixedPrice = configured.price ?? provider.fixedPrice(model);
    const found = await facts(provider, model);
    const contextTokens = configured.contextTokens ?? limits.contextTokens ?? found.contextTokens ?? defaultContextTokens;
    return {
      provider: provider.name,
      model,
      contextTokens,
      maxOutputTokens: Math.min(configured.maxOutputTokens ?? limits.maxOutputTokens ?? defaultMaxOutputTokens, contextTokens),
      simulator: provider.simulator,
      price: fixedPrice ?? found.price,
      ...(fixedPrice !== null || found.priceTiers === undefined ? {} : { priceTiers: found.priceTiers }),
    };
  }

  async function resolveOne(ref: string): Promise<ModelTarget> {
    const slash = ref.indexOf('/');
    const named = slash === -1 ? undefined : providers.find((provider) => provider.name === ref.slice(0, slash));
    if (named !== undefined && slash + 1 < ref.length) return target(named, ref.slice(slash + 1));
    for (const provider of providers) {
      if (await provider.claims(ref)) return target(provider, ref);
    }
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
