import type { Usage } from '@nexus-agent/protocol';
import type { ModelPrice, ModelTarget } from '#llm/contract';

/**
 * What a call cost: the price of its size, rounded up to a whole micro-USD. Null when the target has no known price.
 * Never more than {@link reserveMicroUsd} of the same target for at least these token counts.
 */
export function costMicroUsd(target: Pick<ModelTarget, 'price' | 'priceTiers'>, usage: Usage): number | null {
  if (target.price === null) return null;
  const price = priceAt(target, target.price, usage.inputTokens);
  const read = Math.min(usage.cacheReadTokens, usage.inputTokens);
  const write = Math.min(usage.cacheWriteTokens, usage.inputTokens - read);
  const millionths =
    (usage.inputTokens - read - write) * price.inputMicroUsdPerMillion +
    read * price.cacheReadMicroUsdPerMillion +
    write * price.cacheWriteMicroUsdPerMillion +
    usage.outputTokens * price.outputMicroUsdPerMillion;
  return Math.ceil(millionths / 1_000_000);
}

/** The most that a call of exactly these sizes, or of smaller ones, can cost: every input token at the dearest of the input prices. */
export function reserveMicroUsd(
  target: Pick<ModelTarget, 'price' | 'priceTiers'>,
  inputTokens: number,
  outputTokens: number,
): number | null {
  if (target.price === null) return null;
  const price = priceAt(target, target.price, inputTokens);
  const input = Math.max(price.inputMicroUsdPerMillion, price.cacheReadMicroUsdPerMillion, price.cacheWriteMicroUsdPerMillion);
  return Math.ceil((inputTokens * input + outputTokens * price.outputMicroUsdPerMillion) / 1_000_000);
}

function priceAt(target: Pick<ModelTarget, 'priceTiers'>, worst: ModelPrice, inputTokens: number): ModelPrice {
  return target.priceTiers?.find((tier) => inputTokens <= tier.upToInputTokens)?.price ?? worst;
}
