import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { all, one, startTestServer, type TestServer, typesOf } from './support/server.ts';
import { createReader, readStream } from './support/stream.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startTestServer();
});
afterEach(() => server.verifyRuns());
afterAll(() => server.close());

const said = '[[sim think="let me see" say="one two three four five six seven eight"]]';

describe.each(['sim', 'sim-anthropic'])('the provider %s', (provider) => {
  async function attempt(knobs: string, more: string[] = []) {
    const models = [`${provider}/sim-large?${knobs}`, ...more];
    await server.agent('faulty', { models, tools: [] });
    return server.finish({ agent: 'faulty', input: said });
  }

  it.each([
    ['cut=4', 'provider_stream_cut'],
    ['die=4', 'provider_stream_cut'],
    ['stall=4', 'provider_timeout'],
    ['malformed=4', 'provider_malformed'],
    ['inband=4', 'provider_unavailable'],
  ])(
    'breaks the stream by %s: the run fails with %s and no short answer [verifies provider.cut.error provider.stall.timeout provider.malformed]',
    async (knobs, code) => {
      const { run, events } = await attempt(knobs, ['sim/sim-small']);
      expect(run).toMatchObject({ status: 'failed', resumable: true, error: { code } });
      expect(run.output).toBeUndefined();
      expect(typesOf(events)).not.toContain('message.completed');
      const failed = one(events, 'model.failed').data;
      expect(failed.content?.length).toBeGreaterThan(0);
      expect(failed.usage?.outputTokens).toBeGreaterThan(0);
      expect(one(events, 'budget.settled').data.amounts.costMicroUsd).toBeGreaterThan(0);
      expect(all(events, 'route.fallback')).toEqual([]);
    },
  );

  it('goes on from such a failure when it is resumed, and streams only the new text', async () => {
    const { run } = await attempt('cut=4&times=1');
    expect(run).toMatchObject({ status: 'failed', resumable: true });
    await server.call('POST', `/v1/runs/${run.id}/resume`);
    expect(await server.until(run.id, 'completed')).toMatchObject({ output: 'one two three four five six seven eight' });
    const reader = createReader();
    const { frames } = await readStream(`${server.app.url}/v1/runs/${run.id}/events`);
    for (const frame of frames) reader.take(frame);
    expect([...reader.texts.values()].map((parts) => parts.map(({ text }) => text))).toEqual([
      ['let me see', 'one two three four five six seven eight'],
    ]);
  });

  it.each([
    ['cut=0', 'provider_stream_cut'],
    ['die=0', 'provider_stream_cut'],
    ['stall=0', 'provider_timeout'],
    ['malformed=0', 'provider_malformed'],
    ['status=500', 'provider_unavailable'],
    ['status=429', 'provider_rate_limited'],
  ])(
    'fails by %s before the first token: tried again, then the fallback answers [verifies provider.fallback provider.retry budget.model.reserved]',
    async (knobs, code) => {
      const { run, events } = await attempt(knobs, ['sim-anthropic/sim-small']);
      expect(run).toMatchObject({ status: 'completed', output: 'one two three four five six seven eight' });
      const started = all(events, 'model.started').map(({ data }) => data);
      expect(started.map(({ attempt: number }) => number)).toEqual(started.map((_, index) => index + 1));
      expect(started.at(-1)).toMatchObject({ provider: 'sim-anthropic', model: 'sim-small' });
      expect(started.length).toBeGreaterThan(2);
      expect(one(events, 'route.fallback').data).toMatchObject({ from: { provider }, to: { model: 'sim-small' }, error: { code } });
      expect(all(events, 'model.failed').map(({ data }) => data.error.code)).toEqual(started.slice(1).map(() => code));
      const reserved = all(events, 'budget.reserved').map(({ data }) => data.reservationId);
      const settled = all(events, 'budget.settled').map(({ data }) => data.reservationId);
      expect(reserved).toEqual(started.map(({ reservationId }) => reservationId));
      expect([...settled].sort()).toEqual([...reserved].sort());
      expect(new Set(started.map(({ decision }) => decision.id)).size).toBe(started.length);
    },
  );

  it('honours Retry-After [verifies provider.retry]', async () => {
    const startedAt = Date.now();
    const { run, events } = await attempt('status=429&retryAfterMs=300&times=1');
    expect(run.status).toBe('completed');
    expect(Date.now() - startedAt).toBeGreaterThanOrEqual(300);
    expect(all(events, 'model.started')).toHaveLength(2);
    // A status that refused the request cost nothing.
    expect(all(events, 'budget.settled')[0]?.data.amounts.costMicroUsd ?? 0).toBe(0);
  });

  it('fails when every model fails, and says why', async () => {
    const { run, events } = await attempt('status=503', ['sim/sim-down']);
    expect(run).toMatchObject({ status: 'failed', resumable: true, error: { code: 'provider_unavailable', details: { status: 503 } } });
    expect(all(events, 'model.failed').length).toBe(all(events, 'model.started').length);
  });
});

it('bills the attempt that ends a chain in which policy denied a target', async () => {
  await server.agent('guarded', {
    models: ['sim/sim-down', 'sim/sim-small', 'sim/sim-large?cut=3'],
    tools: [],
    policy: { deny: ['model:sim-small'] },
  });
  const { run, events } = await server.finish({ agent: 'guarded', input: said });
  expect(run).toMatchObject({ status: 'failed', error: { code: 'provider_stream_cut' } });
  expect(one(events, 'policy.denied').data.decision.resource).toContain('sim-small');
  expect(all(events, 'budget.settled')).toHaveLength(all(events, 'budget.reserved').length);
});

it('refuses a fallback that the budget does not cover', async () => {
  await server.agent('poor', { models: ['sim/sim-small?status=503', 'sim/sim-large'], tools: [] });
  const { run, events } = await server.finish({ agent: 'poor', input: said, budget: { costMicroUsd: 60 } });
  expect(run).toMatchObject({ status: 'failed', resumable: true, error: { code: 'budget_exceeded' } });
  expect(one(events, 'budget.refused').data.purpose).toBe('model');
});

it('ends a slow answer at the deadline of its agent [verifies provider.stall.timeout]', async () => {
  await server.agent('impatient', { models: ['sim/sim-large?tokensPerSecond=10'], tools: [], timeoutMs: 300 });
  const startedAt = Date.now();
  const { run } = await server.finish({ agent: 'impatient', input: '[[sim say="word" tokens=200]]' });
  expect(run).toMatchObject({ status: 'failed', error: { code: 'provider_timeout' } });
  expect(Date.now() - startedAt).toBeLessThan(2_000);
});
