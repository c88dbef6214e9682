import { type ErrorInfo, noUsage } from '@nexus-agent/protocol';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NexusError } from '#core';
import { createManualTime } from '#core/testing';
import { createModelService, InputCounts, type ModelPart, type ModelService, type ModelTarget } from '#llm';
import { makeRequest } from '#llm/testing';
import type { ModelAttempt } from './model-attempt.ts';
import { type AttemptAnswer, type AttemptWish, callModel, type GrantedAttempt, type ModelOutcome } from './model-call.ts';

type Step = 'ok' | 'retryable' | 'rejected' | 'after-text' | 'unsent' | 'refused' | 'final';

const down: ErrorInfo = { code: 'provider_unavailable', message: 'down', retryable: true };
const rejected: ErrorInfo = { code: 'provider_rejected', message: 'no', retryable: false };
const budget: ErrorInfo = { code: 'budget_exceeded', message: 'no', retryable: false };
const failed = (error: ErrorInfo, sent = true): ModelPart => ({ type: 'failed', error, retryAfterMs: null, usage: noUsage, sent });
const answer: ModelPart = {
  type: 'completed',
  content: [{ type: 'text', text: 'ok' }],
  finishReason: 'stop',
  usage: noUsage,
  timeToFirstTokenMs: null,
  durationMs: 1,
};
const partsOf: Readonly<Record<Step, readonly ModelPart[]>> = {
  ok: [{ type: 'text.delta', text: 'o' }, { type: 'text.delta', text: 'k' }, answer],
  retryable: [failed(down)],
  rejected: [failed(rejected)],
  'after-text': [
    { type: 'reasoning.delta', text: 'hm' },
    { type: 'text.delta', text: 'so' },
    { type: 'text.delta', text: 'me' },
    failed(down),
  ],
  unsent: [failed(down, false)],
  refused: [],
  final: [],
};

const targetNamed = (model: string): ModelTarget => ({
  provider: 'p',
  model,
  contextTokens: 1_000,
  maxOutputTokens: 100,
  simulator: true,
  thinksUnseen: false,
  imageTokens: 1_000,
  templateTokens: 32,
  price: null,
});

function grantAt(target: ModelTarget, attempt: number): GrantedAttempt {
  const call = { callId: 'call', step: 1, request: makeRequest('x'), timeoutMs: 10_000 };
  // Decision and reservation are whoever grants': making the call reads neither.
  const made = { call, target, attempt, inputTokens: 9, askedTokens: 100 } as ModelAttempt;
  return { attempt: made, grant: { maxTokens: 70, wallMs: 10_000 } };
}

/** A call whose attempts go as the plan says, on manual time; waits pass by themselves unless the test holds them. */
function prepare(plan: readonly Step[], targetCount = 1, copies = false) {
  const time = createManualTime();
  const targets = Array.from({ length: targetCount }, (_, index) => targetNamed(`m${index}`));
  const routing = createModelService({ providers: [], clock: time.clock, random: () => 1 });
  const abort = new AbortController();
  const log: string[] = [];
  const wishes: AttemptWish[] = [];
  const messages: Parameters<ModelService['attempt']>[0][] = [];
  let step = 0;
  const take = () => plan[step++ % plan.length] ?? 'ok';
  const llm: ModelService = {
    ...routing,
    async next(question) {
      const advice = await routing.next(question);
      return copies ? structuredClone(advice) : advice;
    },
    async *attempt(message) {
      messages.push(message);
      yield* partsOf[take()];
    },
  };
  const hooks = {
    signal: abort.signal,
    async nextAttempt(wish: AttemptWish): Promise<AttemptAnswer<GrantedAttempt>> {
      wishes.push(wish);
      log.push(`wish ${wish.attempt} ${wish.target.model} after ${wish.failures.map(({ attempt }) => attempt.attempt).join(',')}`);
      const next = plan[step % plan.length];
      if (next !== 'refused' && next !== 'final') return { type: 'granted', granted: grantAt(wish.target, wish.attempt) };
      step += 1;
      return { type: 'refused', error: budget, final: next === 'final' };
    },
    onBegin: ({ attempt }: GrantedAttempt) => void log.push(`begin ${attempt.attempt} ${attempt.target.model}`),
    onDelta: (kind: string, text: string) => void log.push(`${kind} ${text}`),
  };
  const [first = targetNamed('none')] = targets;
  const inputCounts = new InputCounts();
  const start = (changes: Partial<typeof hooks> = {}): Promise<ModelOutcome> =>
    callModel({ llm, inputCounts, clock: time.clock, timers: time.timers }, targets, grantAt(first, 1), { ...hooks, ...changes });
  return {
    time,
    targets,
    abort,
    log,
    wishes,
    messages,
    start,
    async run(changes: Partial<typeof hooks> = {}): Promise<ModelOutcome> {
      let ended = false;
      const outcome = start(changes).finally(() => {
        ended = true;
      });
      while (!ended) await time.advance(1_000);
      return outcome;
    },
  };
}

const numbers = (outcome: ModelOutcome) => outcome.failures.map(({ attempt }) => attempt.attempt);

describe('a model call', () => {
  it('hands on the text and gives the answer', async () => {
    const call = prepare(['ok']);
    expect(await call.run()).toMatchObject({ type: 'completed', part: answer, failures: [], attempt: { attempt: 1 } });
    expect(call.log).toEqual(['begin 1 m0', 'text o', 'text k']);
  });

  it('holds each attempt to its grant, and stops it a little before its time is used up', async () => {
    const call = prepare(['retryable', 'ok']);
    await call.run({
      nextAttempt: async ({ target, attempt }) => ({
        type: 'granted',
        granted: { ...grantAt(target, attempt), grant: { maxTokens: 3, wallMs: 20 } },
      }),
    });
    expect(call.messages).toMatchObject([
      { maxOutputTokens: 70, timeoutMs: 9_950 },
      { maxOutputTokens: 3, timeoutMs: 18 },
    ]);
  });

  it('asks for each further attempt after the wait, and hands over the failures so far', async () => {
    const call = prepare(['retryable', 'retryable', 'ok']);
    const outcome = call.start();
    await call.time.advance(249);
    expect(call.log).toEqual(['begin 1 m0']);
    await call.time.advance(1);
    expect(call.log).toEqual(['begin 1 m0', 'wish 2 m0 after 1', 'begin 2 m0']);
    await call.time.advance(500);
    expect(await outcome).toMatchObject({ type: 'completed', attempt: { attempt: 3 }, failures: [] });
    expect(call.log.slice(3)).toEqual(['wish 3 m0 after 2', 'begin 3 m0', 'text o', 'text k']);
  });

  it('goes to the next target, and says from which it comes', async () => {
    const call = prepare(['rejected', 'ok'], 2);
    expect(await call.run()).toMatchObject({ type: 'completed', attempt: { target: { model: 'm1' } } });
    expect(call.wishes).toMatchObject([{ target: { model: 'm1' }, previous: { target: { model: 'm0' }, error: rejected } }]);
  });

  it('knows its targets again when a remote service sends copies of them', async () => {
    const call = prepare(['retryable', 'rejected', 'ok'], 2, true);
    await call.run();
    expect(call.wishes.map(({ target }) => call.targets.indexOf(target))).toEqual([0, 1]);
  });

  it('makes no other attempt once text was seen, and keeps what was', async () => {
    const content = [
      { type: 'reasoning', text: 'hm' },
      { type: 'text', text: 'some' },
    ];
    expect(await prepare(['after-text', 'ok'], 2).run()).toMatchObject({
      type: 'failed',
      error: down,
      failures: [{ content, sent: true }],
    });
  });

  it('passes over a target that is refused, and hands its failures over once', async () => {
    const call = prepare(['rejected', 'refused', 'ok'], 3);
    expect(await call.run()).toMatchObject({ type: 'completed', attempt: { attempt: 3, target: { model: 'm2' } } });
    expect(call.log.slice(0, 3)).toEqual(['begin 1 m0', 'wish 2 m1 after 1', 'wish 3 m2 after ']);
  });

  it.each([
    ['the last target', ['rejected', 'refused'] as const],
    ['every other one, for good', ['rejected', 'final'] as const],
  ])('ends with the refusal when that is of %s', async (_which, plan) => {
    expect(await prepare(plan, 2).run()).toEqual({ type: 'failed', failures: [], error: budget });
  });

  it('says of an attempt that never left this process that it was not sent', async () => {
    expect(await prepare(['unsent']).run()).toMatchObject({
      type: 'failed',
      error: down,
      failures: [{ sent: false, attempt: { attempt: 3 } }],
    });
  });

  it('ends at once when it is cancelled in the wait between attempts, with what is still to be settled', async () => {
    const call = prepare(['retryable', 'ok']);
    const outcome = call.start();
    await call.time.advance(100);
    call.abort.abort();
    expect(await outcome).toMatchObject({ type: 'failed', error: { code: 'cancelled' }, failures: [{ error: down }] });
    expect(call.time.pending).toBe(0);
    expect(call.wishes).toEqual([]);
  });

  it('asks for nothing more when it was cancelled during an attempt', async () => {
    const call = prepare(['retryable', 'ok']);
    call.abort.abort();
    expect(await call.start()).toMatchObject({ type: 'failed', failures: [{ error: down }] });
    expect(call.wishes).toEqual([]);
  });

  it('ends when the next attempt cannot be asked for', async () => {
    const nextAttempt = async () => {
      throw new NexusError('lease_lost', 'another worker took over');
    };
    expect(await prepare(['retryable', 'ok']).run({ nextAttempt })).toMatchObject({ type: 'failed', error: { code: 'lease_lost' } });
  });

  it('hands a failure over once, also when the advice after a refusal cannot be had', async () => {
    const call = prepare(['rejected', 'refused', 'ok'], 3);
    let asked = 0;
    const nextAttempt = async (wish: AttemptWish): Promise<AttemptAnswer<GrantedAttempt>> => {
      asked += 1;
      if (asked === 2) throw new NexusError('unavailable', 'the service is gone');
      expect(wish.failures).toHaveLength(1);
      return { type: 'refused', error: budget, final: false };
    };
    expect(await call.run({ nextAttempt })).toMatchObject({ type: 'failed', failures: [], error: { code: 'unavailable' } });
  });

  it('gives every attempt that began to be settled exactly once, whatever happens', async () => {
    const step = fc.constantFrom<Step>('ok', 'retryable', 'rejected', 'after-text', 'unsent', 'refused', 'final');
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 8 }), fc.integer({ min: 1, max: 4 }), async (plan, targetCount) => {
        const call = prepare(plan, targetCount);
        const outcome = await call.run();
        const begun = call.log.flatMap((line) => (line.startsWith('begin') ? [Number(line.split(' ')[1])] : []));
        const handedOver = call.wishes.flatMap(({ failures }) => failures.map(({ attempt }) => attempt.attempt));
        const answered = outcome.type === 'completed' ? [outcome.attempt.attempt] : [];
        expect([...handedOver, ...numbers(outcome), ...answered]).toEqual(begun);
        expect(call.wishes.map(({ attempt }) => attempt)).toEqual(call.wishes.map((_, index) => index + 2));
        expect(begun.length).toBeLessThanOrEqual(8 + targetCount);
        expect(call.time.pending).toBe(0);
      }),
      { numRuns: 200 },
    );
  });
});
