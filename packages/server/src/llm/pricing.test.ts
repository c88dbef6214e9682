import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { costMicroUsd, lookUpModel, reserveMicroUsd } from './pricing.ts';
import type { ModelPrice } from './types.ts';

const when = new Date('2026-06-01T00:00:00Z');
const usage = { inputTokens: 0, outputTokens: 0, cacheReadTokens: 0, cacheWriteTokens: 0, reasoningTokens: 0 };

describe('prices', () => {
  it('charges cache reads, cache writes and reasoning at their own rates [verifies provider.usage]', async () => {
    const facts = await lookUpModel('anthropic', 'claude-sonnet-4-5', when);
    // 3 USD input, 15 output, 0.30 cache read, 3.75 cache write per million tokens
    const cost = costMicroUsd(facts, {
      inputTokens: 10_000,
      outputTokens: 1_000,
      cacheReadTokens: 6_000,
      cacheWriteTokens: 3_000,
      reasoningTokens: 500,
    });
    expect(cost).toBe(3_000 + 1_800 + 11_250 + 15_000);
  });

  it('rounds a fraction of a micro-USD up', async () => {
    const facts = await lookUpModel('openai', 'gpt-4o-mini', when);
    expect(costMicroUsd(facts, { ...usage, inputTokens: 1 })).toBe(1);
  });

  it('keeps the dearest tier as the price and charges the tier of the call', async () => {
    const facts = await lookUpModel('openai', 'gpt-5.5', when);
    expect(facts.price).toMatchObject({ inputMicroUsdPerMillion: 10_000_000, outputMicroUsdPerMillion: 45_000_000 });
    expect(costMicroUsd(facts, { ...usage, inputTokens: 200_000, outputTokens: 1_000 })).toBe(1_000_000 + 30_000);
    expect(costMicroUsd(facts, { ...usage, inputTokens: 300_000, outputTokens: 1_000 })).toBe(3_000_000 + 45_000);
    expect(facts.contextTokens).toBe(1_000_000);
  });

  it('leaves out tiers that the context window cannot reach', async () => {
    const facts = await lookUpModel('anthropic', 'claude-sonnet-4-5', when);
    expect(facts.priceTiers).toBeUndefined();
    expect(facts.price?.inputMicroUsdPerMillion).toBe(3_000_000);
  });

  it('has no price for what it does not know, rather than zero [verifies budget.price.unknown]', async () => {
    expect((await lookUpModel('openai', 'gpt-99-nonsense', when)).price).toBeNull();
    expect((await lookUpModel('openai', 'whisper-1', when)).price).toBeNull();
    expect((await lookUpModel('nobody', 'gpt-4o', when)).price).toBeNull();
    expect(costMicroUsd({ price: null }, usage)).toBeNull();
    expect(reserveMicroUsd({ price: null }, 1, 1)).toBeNull();
  });

  it('never charges more than was reserved for at least these sizes', () => {
    const rate = fc.nat(100_000_000);
    const price: fc.Arbitrary<ModelPrice> = fc.record({
      inputMicroUsdPerMillion: rate,
      outputMicroUsdPerMillion: rate,
      cacheReadMicroUsdPerMillion: rate,
      cacheWriteMicroUsdPerMillion: rate,
    });
    const tokens = fc.nat(300_000);
    fc.assert(
      fc.property(
        price,
        fc.record({
          inputTokens: tokens,
          outputTokens: tokens,
          cacheReadTokens: tokens,
          cacheWriteTokens: tokens,
          reasoningTokens: tokens,
        }),
        tokens,
        (known, used, more) => {
          const cost = costMicroUsd({ price: known }, used) ?? Number.NaN;
          expect(cost).toBeLessThanOrEqual(
            reserveMicroUsd({ price: known }, used.inputTokens + more, used.outputTokens + more) ?? Number.NaN,
          );
        },
      ),
    );
  });
});
