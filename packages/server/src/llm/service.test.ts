import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { NexusError, systemClock } from '#core';
import { createModelService, type ModelService } from '#llm';
import type { Provider, ProviderEvents } from '#llm/attempt';
import type { Answer, AttemptMessage, ModelPart } from '#llm/contract';
import { createSimProvider } from '#llm/providers';
import { type Simulator, startSimulator } from '#llm/sim';
import { call, grant, makeRequest, recordGate, until } from '#llm/testing';
import { InputCounts } from '#llm/tokens';

let simulator: Simulator;
let llm: ModelService;

beforeAll(async () => {
  simulator = await startSimulator();
  llm = createModelService({
    providers: [createSimProvider({ url: simulator.url, clock: systemClock })],
    clock: systemClock,
    random: () => 0,
    retry: { baseDelayMs: 2, maxDelayMs: 400 },
  });
});

afterAll(async () => {
  await llm.close();
  await simulator.close();
});

let keys = 0;
function freshRequest(text: string) {
  keys += 1;
  return makeRequest(text, { idempotencyKey: `key-${keys}` });
}

async function messageTo(model: string, text: string): Promise<AttemptMessage> {
  const [target] = await llm.resolve([model]);
  if (target === undefined) throw new Error('the model is not there');
  return { target, request: freshRequest(text), inputTokens: 50_000, maxOutputTokens: 1_000, timeoutMs: 10_000 };
}

describe('retry and fallback', () => {
  it('retries what may pass, tells the gate of every attempt, and sends one key for all [verifies provider.retry]', async () => {
    const gate = recordGate();
    const request = freshRequest('[[sim say="ok"]]');
    const { last, text } = await call(llm, request, { models: ['sim-large?status=529&times=2'], gate });
    expect(last).toMatchObject({ type: 'completed', attempt: 3, finishReason: 'stop' });
    expect(text).toBe('ok');
    const model = 'sim/sim-large?status=529&times=2';
    expect(gate.log).toEqual([
      `begin 1 ${model}`,
      'failed 1 provider_unavailable',
      `begin 2 ${model}`,
      'failed 2 provider_unavailable',
      `begin 3 ${model}`,
    ]);
    expect(gate.begins[2]?.previous?.error.code).toBe('provider_unavailable');
    expect(gate.failures[0]).toMatchObject({ sent: true, usage: { inputTokens: 0, outputTokens: 0 } });
    expect(simulator.stats().idempotencyKeys.get(request.idempotencyKey)).toBe(3);
  });

  it('waits as long as Retry-After says [verifies provider.retry]', async () => {
    const startedMs = performance.now();
    const { last } = await call(llm, freshRequest('hello'), { models: ['sim-large?status=429&retryAfterMs=150&times=1'] });
    expect(last.type).toBe('completed');
    expect(performance.now() - startedMs).toBeGreaterThanOrEqual(149);
  });

  it('does not wait beyond the deadline that was granted', async () => {
    const gate = recordGate(() => grant(200));
    const { last } = await call(llm, freshRequest('hello'), { models: ['sim-large?status=429&retryAfterMs=300'], gate });
    expect(last).toMatchObject({ type: 'failed', error: { code: 'provider_rate_limited' } });
    expect(gate.log).toHaveLength(1);
  });

  it('goes to the next target rather than wait long for this one [verifies provider.fallback]', async () => {
    const gate = recordGate();
    const { last } = await call(llm, freshRequest('hello'), { models: ['sim-large?status=429&retryAfterMs=5000', 'sim-small'], gate });
    expect(last).toMatchObject({ type: 'completed', target: { model: 'sim-small' }, attempt: 2 });
  });

  it('tries targets in their order, each as often as it may [verifies provider.fallback]', async () => {
    const gate = recordGate();
    const { last } = await call(llm, freshRequest('hello'), { models: ['sim-down', 'sim-large?status=400', 'sim-small'], gate });
    expect(last).toMatchObject({ type: 'completed', target: { model: 'sim-small' }, attempt: 5 });
    expect(gate.log.filter((line) => line.startsWith('begin'))).toEqual([
      'begin 1 sim/sim-down',
      'begin 2 sim/sim-down',
      'begin 3 sim/sim-down',
      'begin 4 sim/sim-large?status=400',
      'begin 5 sim/sim-small',
    ]);
  });

  it('has no second attempt once text was seen, and bills what was streamed [verifies provider.fallback]', async () => {
    const gate = recordGate();
    const { last, text } = await call(llm, freshRequest('[[sim say="one two three four five six"]]'), {
      models: ['sim-large?cut=3', 'sim-small'],
      gate,
    });
    expect(text).toBe('one two three');
    expect(last).toMatchObject({
      type: 'failed',
      error: { code: 'provider_stream_cut' },
      attempt: 1,
      target: { model: 'sim-large?cut=3' },
    });
    expect(last.usage.outputTokens).toBeGreaterThanOrEqual(3);
    expect(last.usage.inputTokens).toBe(
      new InputCounts().bound({
        tenantId: 't',
        target: last.target,
        request: freshRequest('[[sim say="one two three four five six"]]'),
      }),
    );
    expect(gate.log).toHaveLength(1);
  });

  it('may start over when only tool arguments were cut off, which nobody saw', async () => {
    const tools = [{ name: 'f', description: 'f', inputSchema: { type: 'object' } }];
    const request = { ...freshRequest('[[sim tools=f(text="a long argument that comes in several pieces")]]'), tools };
    const gate = recordGate();
    const { last } = await call(llm, request, { models: ['sim-large?cut=2&times=1'], gate });
    expect(last).toMatchObject({ type: 'completed', finishReason: 'tool_calls', attempt: 2 });
    expect(gate.failures[0]?.usage.outputTokens).toBeGreaterThan(0);
  });

  it('sends nothing that the gate refuses, and stops at a final refusal', async () => {
    const refusal = { type: 'refused', error: { code: 'budget_exceeded', message: 'no' } } as const;
    const before = simulator.stats().models['sim-large']?.requests;
    const open = recordGate((attempt) => (attempt.target.model === 'sim-large' ? { ...refusal, final: false } : grant()));
    expect((await call(llm, freshRequest('hello'), { models: ['sim-large', 'sim-small'], gate: open })).last.type).toBe('completed');
    const final = recordGate(() => ({ ...refusal, final: true }));
    const { last, parts } = await call(llm, freshRequest('hello'), { models: ['sim-large', 'sim-small'], gate: final });
    expect(last).toMatchObject({ type: 'failed', error: { code: 'budget_exceeded' }, usage: { inputTokens: 0, outputTokens: 0 } });
    expect(parts).toEqual([]);
    expect(final.log).toHaveLength(1);
    expect(simulator.stats().models['sim-large']?.requests).toBe(before);
  });

  it('sends the output limit that was granted', async () => {
    const gate = recordGate(() => grant(10_000, 5));
    const { last } = await call(llm, freshRequest('[[sim say="a" tokens=50]]'), { models: ['sim-large'], gate });
    expect(last).toMatchObject({ type: 'completed', finishReason: 'length', usage: { outputTokens: 5 } });
  });

  it('keeps the order begin (failed begin)* whatever happens', async () => {
    const kinds = ['ok', 'retryable', 'rejected', 'filtered', 'after-text', 'refused', 'final', 'missing'] as const;
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.constantFrom(...kinds), { minLength: 1, maxLength: 8 }),
        fc.integer({ min: 1, max: 3 }),
        async (plan, targetCount) => {
          let step = 0;
          const provider = scriptedProvider(() => plan[step++ % plan.length] ?? 'ok');
          const models = createModelService({ providers: [provider], clock: systemClock, random: () => 0, retry: { baseDelayMs: 0 } });
          const begun = new Set<number>();
          const gate = recordGate(({ attempt }) => {
            const next = plan[step % plan.length];
            if (next !== 'refused' && next !== 'final') {
              begun.add(attempt);
              return grant();
            }
            step += 1;
            return { type: 'refused', error: { code: 'budget_exceeded', message: 'no' }, final: next === 'final' };
          });
          const { last } = await call(models, makeRequest('x'), {
            models: Array.from({ length: targetCount }, (_, at) => `fake/m${at}`),
            gate,
          });
          // A refused begin has no end; every granted one is followed by its own `failed`, or is the one that ends the call.
          let granted: number | null = null;
          for (const line of gate.log) {
            const [word, attempt] = line.split(' ');
            if (word === 'begin') {
              expect(granted).toBeNull();
              granted = begun.has(Number(attempt)) ? Number(attempt) : null;
            } else {
              expect(Number(attempt)).toBe(granted);
              granted = null;
            }
          }
          if (granted !== null) expect(last.attempt).toBe(granted);
          else expect(last).toMatchObject({ type: 'failed', usage: { inputTokens: 0, outputTokens: 0 } });
          expect(gate.begins.map((begin) => begin.attempt)).toEqual(gate.begins.map((_, index) => index + 1));
          expect(gate.begins.length).toBeLessThanOrEqual(8 + targetCount);
        },
      ),
      { numRuns: 200 },
    );
  });
});

describe('ending a stream', () => {
  it('ends the upstream request when the signal fires, at any moment', async () => {
    for (const model of ['sim-large?latencyMs=5000', 'sim-large?tokensPerSecond=5', 'sim-large?stall=0', 'sim-large?stall=4']) {
      const abort = new AbortController();
      const before = simulator.stats().models['sim-large'] ?? { requests: 0, aborted: 0, faulted: 0 };
      const reading = call(llm, freshRequest('[[sim say="words" tokens=200]]'), { models: [model], signal: abort.signal });
      await until(() => (simulator.stats().models['sim-large']?.requests ?? 0) > before.requests, 'the request arrives');
      const startedMs = performance.now();
      abort.abort();
      const { last } = await reading;
      expect(last).toMatchObject({ type: 'failed', error: { code: 'cancelled' } });
      expect(last.usage.inputTokens).toBeGreaterThan(0);
      await until(() => simulator.stats().activeRequests === 0, `the upstream request of ${model} ends`);
      expect(performance.now() - startedMs).toBeLessThan(500);
      expect(simulator.stats().models['sim-large']?.aborted).toBe(before.aborted + 1);
    }
  });

  it('ends the upstream request when the reader leaves, also while it waits for the next part', async () => {
    const message = await messageTo('sim-large?stall=2', '[[sim say="words" tokens=20]]');
    const { signal } = new AbortController();
    for await (const part of llm.attempt(message, { signal })) if (part.type === 'text.delta') break;
    await until(() => simulator.stats().activeRequests === 0, 'the upstream request ends after break');

    const parts = llm.attempt(message, { signal })[Symbol.asyncIterator]();
    for (let next = await parts.next(); next.value?.type !== 'progress'; next = await parts.next()) expect(next.done).toBe(false);
    const pending = parts.next();
    await until(() => simulator.stats().activeRequests === 1, 'the request is under way');
    await parts.return?.();
    expect(await pending).toEqual({ done: true, value: undefined });
    expect(await parts.next()).toEqual({ done: true, value: undefined });
    await until(() => simulator.stats().activeRequests === 0, 'the upstream request ends after return');
  });

  it('says cancelled, and sends nothing, when the signal had fired before', async () => {
    const before = simulator.stats().models['sim-large']?.requests;
    const { last } = await call(llm, freshRequest('hello'), { models: ['sim-large', 'sim-small'], signal: AbortSignal.abort() });
    expect(last).toMatchObject({ type: 'failed', attempt: 1, error: { code: 'cancelled' }, usage: { inputTokens: 0 }, sent: false });
    expect(simulator.stats().models['sim-large']?.requests).toBe(before);
  });

  it('cuts the wait between attempts short', async () => {
    const abort = new AbortController();
    const gate = recordGate();
    const reading = call(llm, freshRequest('hello'), { models: ['sim-large?status=503&retryAfterMs=5000'], gate, signal: abort.signal });
    await until(() => gate.failures.length === 1, 'the first attempt fails');
    abort.abort();
    expect((await reading).last).toMatchObject({ type: 'failed', error: { code: 'cancelled' }, usage: { inputTokens: 0 } });
  });

  it('reads the socket no faster than the consumer reads, and loses nothing', async () => {
    const tokens = 60_000;
    const request = makeRequest(`[[sim say="${'abcdefgh '.repeat(4)}" tokens=${tokens}]]`, { maxOutputTokens: 400_000 });
    const targets = (await llm.resolve(['sim-large'])).map((target) => ({ ...target, maxOutputTokens: 400_000 }));
    const gate = recordGate(() => grant(20_000, 400_000));
    let chars = 0;
    const onPart = async (part: ModelPart) => {
      if (part.type !== 'text.delta') return;
      chars += part.text.length;
      if (chars < 200_000) await new Promise((resolve) => setTimeout(resolve, 1));
    };
    const { last, text } = await call(llm, request, { models: [], targets, gate, onPart });
    expect(last).toMatchObject({ type: 'completed', content: [{ type: 'text', text }] });
    expect(text.length).toBe(tokens * 9 - 1);
  });
});

describe('models', () => {
  it('finds a model by its full and by its bare name, and names what there is when there is none', async () => {
    expect(await llm.resolve(['sim/sim-large', 'sim-small'])).toMatchObject([
      { provider: 'sim', model: 'sim-large', simulator: true },
      { provider: 'sim', model: 'sim-small', simulator: true },
    ]);
    await expect(llm.resolve(['gpt-4o'])).rejects.toMatchObject({
      code: 'model_not_found',
      message: expect.stringContaining('sim/sim-large'),
    });
    expect((await llm.list()).map((target) => target.model)).toContain('sim-flaky');
  });

  it('passes over what is not served where others of the list are, and says so once', async () => {
    const notes: object[] = [];
    const logger = { info: (fields: object) => void notes.push(fields), warn: () => undefined };
    const served = createModelService({
      providers: [createSimProvider({ url: simulator.url, clock: systemClock })],
      clock: systemClock,
      random: () => 0,
      logger,
    });
    for (let count = 0; count < 2; count++) {
      expect(await served.resolve(['openai/gpt-5-mini', 'sim/sim-small', 'nobody', 'default', 'sim/sim-large'])).toMatchObject([
        { model: 'sim-small' },
        { model: 'sim-large' },
      ]);
    }
    expect(notes).toEqual([{ model: 'openai/gpt-5-mini' }, { model: 'nobody' }]);
    await expect(served.resolve(['openai/gpt-5-mini', 'nobody'])).rejects.toMatchObject({
      code: 'model_not_found',
      message: expect.stringMatching(/serves the model openai\/gpt-5-mini; served here: sim\/.*Set OPENAI_API_KEY or ANTHROPIC_API_KEY/),
    });
  });

  it('lets the configuration set prices and limits', async () => {
    const price = {
      inputMicroUsdPerMillion: 1,
      outputMicroUsdPerMillion: 2,
      cacheReadMicroUsdPerMillion: 3,
      cacheWriteMicroUsdPerMillion: 4,
    };
    const configured = createModelService({
      providers: [createSimProvider({ url: simulator.url, clock: systemClock })],
      clock: systemClock,
      random: () => 0,
      models: { 'sim/*': { contextTokens: 1_000 }, 'sim/sim-large': { price, maxOutputTokens: 50 } },
    });
    expect(await configured.resolve(['sim-large'])).toMatchObject([{ price, contextTokens: 1_000, maxOutputTokens: 50 }]);
    await configured.close();
  });
});

type Outcome = 'ok' | 'retryable' | 'rejected' | 'filtered' | 'after-text' | 'refused' | 'final' | 'missing';

/** A provider whose calls end as the script says, on the next turn of the event loop. */
function scriptedProvider(next: () => Outcome): Provider {
  const answer: Answer = { content: [{ type: 'text', text: 'ok' }], finishReason: 'stop' };
  const act = (outcome: Outcome, events: ProviderEvents) => {
    switch (outcome) {
      case 'retryable':
        return events.failed(new NexusError('provider_unavailable', 'down'));
      case 'rejected':
        return events.failed(new NexusError('provider_rejected', 'no'));
      case 'filtered':
        return events.done({ content: [], finishReason: 'content_filter' });
      case 'after-text':
        events.delta('text', 'some');
        return events.failed(new NexusError('provider_stream_cut', 'cut'));
      default:
        events.delta('text', 'ok');
        return events.done(answer);
    }
  };
  return {
    name: 'fake',
    simulator: true,
    thinksUnseen: () => false,
    mayCut: false,
    unlistedPrice: null,
    serves: () => true,
    trouble: () => null,
    defaultModel: async () => null,
    catalogue: null,
    fixedPrice: () => null,
    claims: () => false,
    lists: async () => false,
    models: async () => [],
    limits: () => ({}),
    countInput: async () => null,
    open(_call, events) {
      const outcome = next();
      queueMicrotask(() => act(outcome, events));
      return {
        pause() {},
        resume() {},
        abort() {},
        progress: () => ({ sent: true, usage: null, accounted: false, final: false, begun: true, streamedTokens: 3, receivedTokens: 1 }),
      };
    },
    close: async () => undefined,
  };
}
