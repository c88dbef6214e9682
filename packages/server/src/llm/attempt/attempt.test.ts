import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { NexusError, systemClock } from '#core';
import type { AttemptMessage, ModelPart } from '#llm/contract';
import { makeRequest } from '#llm/testing';
import { Attempt } from './attempt.ts';
import type { Provider, ProviderEvents, ProviderStream } from './provider.ts';

const message: AttemptMessage = {
  target: {
    provider: 'fake',
    model: 'm',
    contextTokens: 1_000,
    maxOutputTokens: 50,
    simulator: true,
    thinksUnseen: false,
    imageTokens: 1_000,
    templateTokens: 32,
    price: null,
  },
  request: makeRequest('hello'),
  inputTokens: 90,
  maxOutputTokens: 100,
  timeoutMs: 1_000,
};

/** A provider that does what the test tells it to. */
function createFake(open: (events: ProviderEvents) => void = () => undefined) {
  const seen: string[] = [];
  let events: ProviderEvents | null = null;
  let limit = 0;
  const stream: ProviderStream = {
    pause: () => seen.push('pause'),
    resume: () => seen.push('resume'),
    abort: () => seen.push('abort'),
    progress: () => ({ sent: true, usage: null, accounted: false, final: false, begun: true, streamedTokens: 3, receivedTokens: 2 }),
  };
  const provider: Provider = {
    name: 'fake',
    simulator: true,
    thinksUnseen: () => false,
    mayCut: false,
    unlistedPrice: null,
    serves: () => true,
    defaultModel: async () => null,
    catalogue: null,
    fixedPrice: () => null,
    claims: () => false,
    lists: async () => false,
    trouble: () => null,
    models: async () => [],
    limits: () => ({}),
    countInput: async () => null,
    open(call, given) {
      events = given;
      limit = call.maxOutputTokens;
      open(given);
      return stream;
    },
    close: async () => undefined,
  };
  return {
    provider,
    seen,
    get limit() {
      return limit;
    },
    get events(): ProviderEvents {
      if (events === null) throw new Error('nothing was opened');
      return events;
    },
  };
}

function attemptAt(provider: Provider | undefined, signal = new AbortController().signal) {
  return new Attempt(provider, message, { signal, clock: systemClock, onOverrun: () => undefined, onContext: () => undefined });
}

async function readAll(attempt: Attempt): Promise<ModelPart[]> {
  const parts: ModelPart[] = [];
  for await (const part of { [Symbol.asyncIterator]: () => attempt }) parts.push(part);
  return parts;
}

describe('an attempt', () => {
  it('opens nothing before the first part is asked for, and asks for no more tokens than the target has', async () => {
    const fake = createFake((events) => events.done({ content: [], finishReason: 'stop' }));
    const attempt = attemptAt(fake.provider);
    expect(() => fake.events).toThrow();
    await readAll(attempt);
    expect(fake.limit).toBe(50);
  });

  it('merges deltas that wait, keeps their order, and stops reading while too many do', async () => {
    const fake = createFake();
    const attempt = attemptAt(fake.provider);
    const first = attempt.next();
    fake.events.delta('text', 'a');
    expect(await first).toEqual({ done: false, value: { type: 'text.delta', text: 'a' } });
    fake.events.delta('text', 'b');
    fake.events.delta('text', 'c');
    fake.events.delta('reasoning', 'd');
    fake.events.delta('text', 'x'.repeat(64_000));
    expect(fake.seen).toEqual(['pause']);
    fake.events.done({ content: [], finishReason: 'stop' });
    expect(await readAll(attempt)).toMatchObject([
      { type: 'text.delta', text: 'bc' },
      { type: 'reasoning.delta', text: 'd' },
      { type: 'text.delta', text: 'x'.repeat(64_000) },
      { type: 'completed' },
    ]);
    expect(fake.seen).toEqual(['pause', 'resume']);
  });

  it('gives a delta that is ready at the next turn of the microtask queue', async () => {
    const fake = createFake((events) => events.delta('text', 'ready'));
    const attempt = attemptAt(fake.provider);
    let given: unknown = null;
    void attempt.next().then((result) => {
      given = result.value;
    });
    await Promise.resolve();
    expect(given).toEqual({ type: 'text.delta', text: 'ready' });
  });

  it.each([
    ['completes', (events: ProviderEvents) => events.done({ content: [], finishReason: 'stop' })],
    ['fails', (events: ProviderEvents) => events.failed(new NexusError('provider_unavailable', 'down'))],
  ])('leaves no listener on the signal when it %s', async (_how, end) => {
    const { signal } = new AbortController();
    const attempt = attemptAt(createFake(end).provider, signal);
    await readAll(attempt);
    expect(getEventListeners(signal, 'abort')).toEqual([]);
    expect(await attempt.next()).toEqual({ done: true, value: undefined });
  });

  it('ends the request at once when it is left, and says nothing more', async () => {
    const { signal } = new AbortController();
    const fake = createFake();
    const attempt = attemptAt(fake.provider, signal);
    const pending = attempt.next();
    await attempt.return();
    expect(fake.seen).toEqual(['abort']);
    fake.events.delta('text', 'late');
    expect(await pending).toEqual({ done: true, value: undefined });
    expect(await attempt.next()).toEqual({ done: true, value: undefined });
    expect(getEventListeners(signal, 'abort')).toEqual([]);
  });

  it('opens nothing when it is left before it began', async () => {
    const fake = createFake();
    const attempt = attemptAt(fake.provider);
    await attempt.return();
    expect(await attempt.next()).toEqual({ done: true, value: undefined });
    expect(() => fake.events).toThrow();
  });

  it('ends at once when the signal fires, before what was waiting to be read', async () => {
    const abort = new AbortController();
    const fake = createFake((events) => events.delta('text', 'unread'));
    const attempt = attemptAt(fake.provider, abort.signal);
    await attempt.next();
    fake.events.delta('text', 'more');
    abort.abort();
    expect(fake.seen).toEqual(['abort']);
    expect(await readAll(attempt)).toMatchObject([
      { type: 'failed', error: { code: 'cancelled' }, sent: true, usage: { outputTokens: 50 } },
    ]);
  });

  it('says that nothing was sent when there is no such provider, or it cannot begin', async () => {
    expect(await readAll(attemptAt(undefined))).toMatchObject([{ type: 'failed', error: { code: 'model_not_found' }, sent: false }]);
    const broken = createFake(() => {
      throw new TypeError('a header that cannot be');
    });
    expect(await readAll(attemptAt(broken.provider))).toMatchObject([
      { type: 'failed', error: { code: 'internal' }, sent: false, usage: { inputTokens: 0, outputTokens: 0 } },
    ]);
  });

  it('hands on how long the provider asks to wait', async () => {
    const fake = createFake((events) => events.failed(new NexusError('provider_rate_limited', 'slow', { retryAfterMs: 700 })));
    expect(await readAll(attemptAt(fake.provider))).toMatchObject([{ type: 'failed', retryAfterMs: 700 }]);
  });
});
