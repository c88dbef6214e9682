import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createManualClock } from '#core/testing';
import type { ModelPrice } from '#llm/contract';
import { costMicroUsd, reserveMicroUsd } from './cost.ts';
import { createModelFacts } from './facts.ts';

const factsOf = createModelFacts(createManualClock(Date.UTC(2026, 5, 1)));

function dearest(prices: readonly ModelPrice[]): ModelPrice {
  const most = (name: keyof ModelPrice) => Math.max(...prices.map((price) => price[name]));
  return {
    inputMicroUsdPerMillion: most('inputMicroUsdPerMillion'),
    outputMicroUsdPerMillion: most('outputMicroUsdPerMillion'),
    cacheReadMicroUsdPerMillion: most('cacheReadMicroUsdPerMillion'),
    cacheWriteMicroUsdPerMillion: most('cacheWriteMicroUsdPerMillion'),
  };
}

const usage = { inputTokens: 0, outputTokens: 0, cacheReadTokens: 0, cacheWriteTokens: 0, reasoningTokens: 0 };

describe('prices', () => {
  it('charges cache reads, cache writes and reasoning at their own rates [verifies provider.usage]', async () => {
    const facts = await factsOf('anthropic', 'claude-sonnet-4-5');
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
    const facts = await factsOf('openai', 'gpt-4o-mini');
    expect(costMicroUsd(facts, { ...usage, inputTokens: 1 })).toBe(1);
  });

  it('keeps the dearest tier as the price and charges the tier of the call', async () => {
    const facts = await factsOf('openai', 'gpt-5.5');
    expect(facts.price).toMatchObject({ inputMicroUsdPerMillion: 10_000_000, outputMicroUsdPerMillion: 45_000_000 });
    expect(costMicroUsd(facts, { ...usage, inputTokens: 200_000, outputTokens: 1_000 })).toBe(1_000_000 + 30_000);
    expect(costMicroUsd(facts, { ...usage, inputTokens: 300_000, outputTokens: 1_000 })).toBe(3_000_000 + 45_000);
    expect(facts.contextTokens).toBe(1_000_000);
  });

  it('leaves out tiers that the context window cannot reach', async () => {
    const facts = await factsOf('anthropic', 'claude-sonnet-4-5');
    expect(facts.priceTiers).toBeUndefined();
    expect(facts.price?.inputMicroUsdPerMillion).toBe(3_000_000);
  });

  it('has no price for what it does not know, rather than zero [verifies budget.price.unknown]', async () => {
    expect((await factsOf('openai', 'gpt-99-nonsense')).price).toBeNull();
    expect((await factsOf('openai', 'whisper-1')).price).toBeNull();
    expect((await factsOf('nobody', 'gpt-4o')).price).toBeNull();
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
    const target = fc.tuple(price, fc.array(fc.tuple(tokens, price), { maxLength: 3 })).map(([base, steps]) => {
      // Prices rise with the size of the call.
      const sizes = steps.map(([size]) => size).sort((a, b) => a - b);
      const prices = [base, ...steps.map(([, step]) => step)].map((_, at, all) => dearest(all.slice(0, at + 1)));
      const priceTiers = sizes.map((upToInputTokens, at) => ({ upToInputTokens, price: prices[at] ?? base }));
      return { price: prices.at(-1) ?? base, priceTiers };
    });
    fc.assert(
      fc.property(
        target,
        fc.record({
          inputTokens: tokens,
          outputTokens: tokens,
          cacheReadTokens: tokens,
          cacheWriteTokens: tokens,
          reasoningTokens: tokens,
        }),
        tokens,
        (known, used, more) => {
          const cost = costMicroUsd(known, used) ?? Number.NaN;
          expect(cost).toBeLessThanOrEqual(reserveMicroUsd(known, used.inputTokens + more, used.outputTokens + more) ?? Number.NaN);
        },
      ),
    );
  });
});

describe('facts of models', () => {
  it('are looked up once a day, and forgotten one by one when there are very many', async () => {
    const clock = createManualClock(Date.UTC(2026, 5, 1));
    const facts = createModelFacts(clock);
    const first = facts('openai', 'gpt-4o');
    expect(facts('openai', 'gpt-4o')).toBe(first);
    expect(facts('anthropic', 'gpt-4o')).not.toBe(first);
    for (let index = 0; index < 998; index++) await facts('nobody', `model-${index}`);
    expect(facts('openai', 'gpt-4o')).toBe(first);
    for (let index = 0; index < 999; index++) await facts('nobody', `other-${index}`);
    expect(facts('openai', 'gpt-4o')).toBe(first);
    clock.advance(86_399_999);
    expect(facts('openai', 'gpt-4o')).toBe(first);
    clock.advance(1);
    expect(facts('openai', 'gpt-4o')).not.toBe(first);
    const second = facts('openai', 'gpt-4o');
    for (let index = 0; index < 1_000; index++) await facts('nobody', `more-${index}`);
    expect(facts('openai', 'gpt-4o')).not.toBe(second);
  });
});
