import type { ErrorCode } from '@nexus-agent/protocol';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { AttemptFailure, ModelTarget, NextQuestion } from '#llm/contract';
import { defaultRetryPolicy, nextAttempt } from './next.ts';

const target = (model: string): ModelTarget => ({
  provider: 'p',
  model,
  contextTokens: 1,
  maxOutputTokens: 1,
  simulator: true,
  thinksUnseen: false,
  imageTokens: 1_000,
  templateTokens: 32,
  price: null,
});
const [a, b, c] = [target('a'), target('b'), target('c')];
const failed = (at: ModelTarget, change: Partial<AttemptFailure> & { readonly code?: ErrorCode; readonly retryable?: boolean } = {}) => {
  const { code = 'provider_unavailable', retryable = true, ...rest } = change;
  return { target: at, error: { code, message: 'no', retryable }, retryAfterMs: null, refused: false, ...rest };
};
const ask = (failures: readonly AttemptFailure[], change: Partial<NextQuestion> = {}, random = () => 1) =>
  nextAttempt({ targets: [a, b, c], failures, remainingMs: 600_000, sawText: false, ...change }, defaultRetryPolicy, random);
const at = (next: ModelTarget, delayMs = 0) => ({ type: 'attempt', target: next, delayMs });
const none = { type: 'none' };

describe('what is tried next', () => {
  it('is the same target, after waits that may double up to the longest', () => {
    expect(ask([failed(a)])).toEqual(at(a, 250));
    expect(ask([failed(a), failed(a)])).toEqual(at(a, 500));
    expect(ask([failed(a)], {}, () => 0)).toEqual(at(a, 125));
    const patient = { ...defaultRetryPolicy, maxAttemptsPerTarget: 20, maxAttempts: 20 };
    const many = Array.from({ length: 15 }, () => failed(a));
    const question = { targets: [a], failures: many, remainingMs: 600_000, sawText: false };
    expect(nextAttempt(question, patient, () => 1)).toEqual(at(a, 8_000));
  });

  it('waits no less than the provider asks, and no longer than time is left', () => {
    expect(ask([failed(a, { retryAfterMs: 7_999 })])).toEqual(at(a, 7_999));
    expect(ask([failed(a, { retryAfterMs: 9_000 })])).toEqual(at(b));
    expect(ask([failed(a, { retryAfterMs: 9_000 })], { targets: [a] })).toEqual(at(a, 9_000));
    expect(ask([failed(a, { retryAfterMs: 9_000 })], { targets: [a], remainingMs: 9_000 })).toEqual(none);
    expect(ask([failed(a)], { remainingMs: 250 })).toEqual(at(b));
  });

  it('is the next target when this one had its tries, or failed for good, or was refused to it', () => {
    expect(ask([failed(a), failed(a), failed(a)])).toEqual(at(b));
    expect(ask([failed(a, { code: 'provider_rejected', retryable: false })])).toEqual(at(b));
    expect(ask([failed(a, { refused: true })])).toEqual(at(b));
    expect(ask([failed(a), failed(a, { refused: true })])).toEqual(at(b));
    expect(ask([failed(a, { retryable: false }), failed(b), failed(b)])).toEqual(at(b, 500));
  });

  it('is nothing when every target had its tries, or all tries are used up', () => {
    expect(ask([failed(a, { retryable: false })], { targets: [a] })).toEqual(none);
    expect(ask([a, a, a, b, b, b, c, c].map((tried) => failed(tried)))).toEqual(none);
    expect(ask([a, a, a, b, b, b, c].map((tried) => failed(tried)))).toEqual(at(c, 250));
  });

  it('is nothing once text was seen', () => {
    expect(ask([failed(a)], { sawText: true })).toEqual(none);
  });

  it.each(['cancelled', 'content_filtered', 'internal'] as const)('is no other target after %s', (code) => {
    expect(ask([failed(a, { code, retryable: false })])).toEqual(none);
  });

  it('goes through the targets once, in order, and makes no more attempts than the policy has', () => {
    const outcome = fc.record({ retryable: fc.boolean(), refused: fc.boolean() });
    fc.assert(
      fc.property(fc.array(outcome, { minLength: 40, maxLength: 40 }), fc.integer({ min: 1, max: 12 }), (plan, count) => {
        const targets = Array.from({ length: count }, (_, index) => target(`m${index}`));
        const failures: AttemptFailure[] = [];
        let next = targets[0];
        for (const step of plan) {
          if (next === undefined) break;
          failures.push(failed(next, step));
          const advice = ask(failures, { targets });
          next = advice.type === 'attempt' ? advice.target : undefined;
        }
        expect(next).toBeUndefined();
        const order = failures.map((failure) => targets.indexOf(failure.target));
        expect(order).toEqual([...order].sort((x, y) => x - y));
        for (const [index, tried] of order.entries()) {
          expect(order.filter((other) => other === tried).length).toBeLessThanOrEqual(defaultRetryPolicy.maxAttemptsPerTarget);
          // Only targets that were refused are passed over for ever.
          if (index >= defaultRetryPolicy.maxAttempts) expect(failures[index - 1]?.refused).toBe(true);
        }
      }),
    );
  });
});
