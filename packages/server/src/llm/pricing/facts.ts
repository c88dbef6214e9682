import { type Clock, createCountedCache } from '#core';
import type { ModelPrice, PriceTier } from '#llm/contract';

/** What the catalogue knows of a model. */
export interface ModelFacts {
  readonly price: ModelPrice | null;
  readonly priceTiers?: readonly PriceTier[];
  readonly contextTokens?: number;
}

/** What the catalogue knows of a model, under the provider's name there. Never asks the network. */
export type ModelFactsSource = (catalogue: string, model: string) => Promise<ModelFacts>;

const maxKnown = 1_000;
const dayMs = 86_400_000;

/** The catalogue, remembering what it was asked most lately for the rest of the (UTC) day: prices change by the day at most. */
export function createModelFacts(clock: Pick<Clock, 'now'>): ModelFactsSource {
  const known = createCountedCache<string, Promise<ModelFacts>>(maxKnown);
  return (catalogue, model) => {
    const nowMs = clock.now();
    const key = `${Math.floor(nowMs / dayMs)} ${catalogue}/${model}`;
    let found = known.get(key);
    if (found === undefined) {
      found = lookUpModel(catalogue, model, new Date(nowMs));
      known.set(key, found);
    }
    return found;
  };
}

type CataloguePrice = number | { readonly base: number; readonly tiers: readonly { readonly start: number; readonly price: number }[] };

/**
 * Price, size tiers and context window from the catalogue that ships with the `@pydantic/genai-prices` package (no
 * network), loaded when first asked. An unknown model, or one without token prices, has price null.
 */
async function lookUpModel(catalogue: string, model: string, now: Date): Promise<ModelFacts> {
  const { calcPrice } = await import('@pydantic/genai-prices');
  let found: ReturnType<typeof calcPrice>;
  try {
    found = calcPrice({ input_tokens: 1, output_tokens: 1 }, model, { providerId: catalogue, timestamp: now });
  } catch {
    return { price: null }; // a model that is priced in other units
  }
  if (found === null) return { price: null };
  const contextTokens = found.model.context_window;
  const context = contextTokens === undefined ? {} : { contextTokens };
  const input = found.model_price.input_mtok;
  const output = found.model_price.output_mtok;
  if (input === undefined || output === undefined) return { price: null, ...context };
  const read = found.model_price.cache_read_mtok ?? input;
  const write = found.model_price.cache_write_mtok ?? input;
  const prices = { input, output, read, write };
  const starts = [...new Set(Object.values(prices).flatMap(tierStarts))]
    .filter((start) => contextTokens === undefined || start < contextTokens)
    .sort((a, b) => a - b);
  const sizes = [...starts, contextTokens ?? Number.POSITIVE_INFINITY];
  // A tier holds for calls of more than `start` input tokens, and for the whole call.
  const tiers = sizes.map((upToInputTokens) => ({ upToInputTokens, price: priceUpTo(prices, upToInputTokens) }));
  const worst = tiers.at(-1)?.price ?? null;
  return { price: worst, ...context, ...(starts.length === 0 ? {} : { priceTiers: tiers.slice(0, -1) }) };
}

function tierStarts(price: CataloguePrice): number[] {
  return typeof price === 'number' ? [] : price.tiers.map((tier) => tier.start);
}

function priceUpTo(prices: Record<'input' | 'output' | 'read' | 'write', CataloguePrice>, upTo: number): ModelPrice {
  const reach = (price: CataloguePrice): number => {
    if (typeof price === 'number') return toMicroUsd(price);
    const reached = price.tiers.filter((tier) => tier.start < upTo).map((tier) => tier.price);
    return toMicroUsd(Math.max(price.base, ...reached));
  };
  return {
    inputMicroUsdPerMillion: reach(prices.input),
    outputMicroUsdPerMillion: reach(prices.output),
    cacheReadMicroUsdPerMillion: reach(prices.read),
    cacheWriteMicroUsdPerMillion: reach(prices.write),
  };
}

/** Dollars per million tokens to whole micro-USD per million tokens, rounded up. */
function toMicroUsd(dollars: number): number {
  return Math.ceil(dollars * 1_000_000 - 1e-6);
}
