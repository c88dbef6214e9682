import { noUsage } from '@nexus-agent/protocol';
import { describe, expect, it } from 'vitest';
import { InputCounts, type ModelTarget } from '#llm';
import { makeRequest } from '#llm/testing';
import type { DecisionRequest } from '#policy';
import type { ChargeContext } from './charge.ts';
import type { CallEngine } from './engine.ts';
import { modelAmounts, planModelAttempt } from './model-attempt.ts';

const price = {
  inputMicroUsdPerMillion: 1_000_000,
  outputMicroUsdPerMillion: 4_000_000,
  cacheReadMicroUsdPerMillion: 100_000,
  cacheWriteMicroUsdPerMillion: 1_250_000,
};
const target: ModelTarget = {
  provider: 'p',
  model: 'm',
  contextTokens: 10_000,
  maxOutputTokens: 500,
  simulator: false,
  thinksUnseen: false,
  imageTokens: 1_000,
  templateTokens: 32,
  price,
};
// What a plan reads of where it is.
const charge = {
  tenantId: 't',
  runId: 'r',
  sessionId: 's',
  agent: 'a',
  onBehalfOf: 'u',
  scopes: [],
  deadlineAt: null,
} as unknown as ChargeContext;
const call = { callId: 'c', step: 1, request: makeRequest('hello'), timeoutMs: 10_000 };

/** An engine whose policy denies what the test says, and which knows no more than plans read. */
function plan(denies: (request: DecisionRequest) => boolean, at: ModelTarget) {
  const parts = {
    inputCounts: new InputCounts(),
    policy: {
      decide: (asked: DecisionRequest) => ({ effect: denies(asked) ? 'deny' : 'allow', reasons: ['default-deny'], resource: 'Model' }),
    },
    ids: { next: () => 'id' },
    metrics: { policyDecision: () => undefined },
    clock: { now: () => 1_000_000 },
    settings: { minUsefulTokens: 16, aheadTokens: 0, reservationSlackMs: 700 },
  };
  return planModelAttempt(parts as unknown as CallEngine, charge, call, at, { attempt: 1, declared: true });
}

describe('a plan for a call', () => {
  it('holds its reservation until after the call must have ended, which the sweeper must not charge before', () => {
    const planned = plan(() => false, target);
    if (planned.type !== 'planned') throw new Error('it is allowed');
    expect(planned.attempt.reserve).toMatchObject({ expiresAt: 1_000_000 + 10_000 + 700, wallMs: { max: 10_000 } });
    // At the dearest price of input.
    const { fixed } = planned.attempt.reserve;
    expect(fixed.costMicroUsd).toBe(Math.ceil((fixed.tokens ?? 0) * 1.25));
  });

  it('is impossible for a price that is not known, and says the nearest that is', () => {
    const unpriced = { ...target, price: null, nearPrice: 'p/n' };
    const found = plan(({ context }) => context.priceKnown !== true, unpriced);
    expect(found).toMatchObject({
      type: 'impossible',
      error: { code: 'price_unknown', message: expect.stringContaining('"p/n": was that meant?') },
    });
    if (found.type === 'impossible') expect(found.error.message).not.toMatch(/policy/);
  });

  it('is impossible by policy where that denies the model whatever it costs', () => {
    expect(plan(() => true, { ...target, price: null })).toMatchObject({ type: 'impossible', error: { code: 'policy_denied' } });
    expect(plan(() => true, target)).toMatchObject({ type: 'impossible', error: { code: 'policy_denied' } });
  });
});

it('what a call used counts what came from the cache, and no more time than it was granted', () => {
  const planned = plan(() => false, target);
  if (planned.type !== 'planned') throw new Error('it is allowed');
  const usage = { ...noUsage, inputTokens: 1_000, cacheReadTokens: 900, outputTokens: 10 };
  expect(modelAmounts(planned.attempt, { maxTokens: 100, wallMs: 50 }, usage, 80.5)).toEqual({
    tokens: 1_010,
    costMicroUsd: 230,
    wallMs: 50,
  });
  expect(modelAmounts(planned.attempt, { maxTokens: 100, wallMs: 500 }, usage, 80.5).wallMs).toBe(81);
});
