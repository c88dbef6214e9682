import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { acquirePostgres } from '../support/postgres.ts';
import { type Answer, all, one, pause, startTestServer, type TestServer, tenant } from './support/server.ts';
import { createReader, readStream } from './support/stream.ts';
import { createProbe } from './support/tools.ts';

/* What is known to have broken durable runs of comparable systems, each kind tried on two servers of ours over one database. */

const ended = ['completed', 'failed', 'cancelled'] as const;
/** More than a timer of Node can wait. */
const beyondTimers = 2 ** 31 + 5_000;

describe.each(['sqlite', 'postgres'] as const)('what is known to break durable runs, on %s', (database) => {
  const probe = createProbe();
  const servers: TestServer[] = [];
  const closers: (() => unknown)[] = [];
  const warnings: string[] = [];
  const warn = (warning: Error) => warnings.push(`${warning.name}: ${warning.message}`);
  let missing = '';

  beforeAll(async () => {
    process.on('warning', warn);
    const postgres = database === 'postgres' ? await acquirePostgres() : undefined;
    if (postgres !== undefined && 'reason' in postgres) {
      missing = postgres.reason;
      return;
    }
    if (postgres !== undefined) closers.push(() => postgres.close());
    const config = {
      runs: { maxLiveRuns: 4, leaseMs: 1_000, heartbeatMs: 150, pollMs: 40 },
      ...(postgres === undefined ? {} : { databaseUrl: postgres.url, postgres: { maxConnections: 2 } }),
    };
    for (let number = 0; number < (database === 'postgres' ? 2 : 1); number++) {
      const server = await startTestServer({ tools: probe.tools, config });
      closers.push(() => server.close());
      servers.push(server);
    }
    await server().agent('free', { maxOutputTokens: 100_000 });
    for (const fault of ['status=400', 'die=0', 'malformed=0'])
      await server().agent(fault.split('=')[0] ?? '', { models: [`sim/sim-large?${fault}`] });
    await server().agent('asking', { policy: { approve: ['probe'] }, approvalTimeoutMs: 2_592_000_000 });
  });
  afterAll(async () => {
    for (const close of closers.reverse()) await close();
    process.off('warning', warn);
  });
  const server = (number = 0): TestServer => servers[number % servers.length] as TestServer; // there is one unless the test is skipped
  const kind = (name: string, work: () => Promise<void>) =>
    it(name, async (context) => {
      if (missing !== '') return context.skip(missing);
      await work();
      await server().verifyRuns();
    });

  kind('a signal that the database cannot keep is kept all the same, wherever it comes from [verifies durability.known]', async () => {
    const odd = 'a\u0000b\ud800c\u{1f600}\u2028';
    const session = await server().call('POST', '/v1/sessions', { agent: 'free', metadata: { [odd]: odd } });
    expect(session.status).toBe(201);
    const escaped = JSON.stringify(odd).slice(1, -1);
    const { run, events } = await server().finish({
      sessionId: session.body.id,
      input: `${odd} [[sim say="${escaped}" tools=probe(label="${escaped}")]] [[sim say="{{result}}"]]`,
    });
    expect(run).toMatchObject({ status: 'completed', output: expect.stringContaining('\u{1f600}') });
    expect(one(events, 'tool.completed').data).toMatchObject({ output: expect.stringContaining('a\u0000b') });
    const stalled = await server().start({ agent: 'free', input: 'wait', model: 'sim/sim-large?stall=0' });
    expect((await server().call('POST', `/v1/runs/${stalled}/cancel`, { reason: odd })).status).toBe(200);
    await server().until(stalled, 'cancelled');
    const asking = await server().start({ agent: 'asking', input: `[[sim tools=probe(label="${escaped}")]]` });
    const { approvalId } = (await server().event(asking, 'approval.requested')).data;
    expect((await server().call('POST', `/v1/approvals/${approvalId}`, { decision: 'deny', note: odd })).status).toBe(200);
    expect((await server().until(asking, ...ended)).status).toBe('completed');
  });

  kind('text that is longer in bytes than in signs passes to the other process whole [verifies durability.known]', async () => {
    const text = '\u{1f600}好'.repeat(6_000);
    const runId = await server(0).start({ agent: 'free', input: `[[sim say="${text}"]]`, model: 'sim/sim-large?latencyMs=150' });
    const reader = createReader();
    await readStream(`${server(1).app.url}/v1/runs/${runId}/events`, {
      until: (frame) => {
        reader.take(frame);
        return false;
      },
    });
    expect([...reader.texts.values()].map((parts) => parts.map((part) => part.text).join(''))).toEqual([text]);
    expect((await server(1).run(runId)).output).toBe(text);
  });

  kind(
    'twenty requests with one key at two processes are one run, and a key whose request was refused is used again [verifies durability.known]',
    async () => {
      const ask = (key: string, body: object, number = 0): Promise<Answer> =>
        server(number).call('POST', '/v1/runs', { agent: 'free', ...body }, { 'idempotency-key': key });
      const answers = await Promise.all(Array.from({ length: 20 }, (_, number) => ask('same', { input: 'hello' }, number)));
      expect(new Set(answers.map(({ status, body }) => `${status} ${body.id}`)).size).toBe(1);
      expect((await ask('same', { input: 'other' })).status).toBe(409);

      expect((await ask('refused', { agent: 'later', input: 'hello' })).status).toBe(404);
      await server().agent('later');
      const accepted = await ask('refused', { agent: 'later', input: 'hello' }, 1);
      expect(accepted.status).toBe(202);
      expect((await server().until(accepted.body.id, ...ended)).status).toBe('completed');
      // A run that has failed is the answer to its key as well: who wants another one says so by another key.
      const failing = { agent: 'status', input: 'x' };
      const failed = await ask('fails', failing);
      await server().until(failed.body.id, 'failed');
      expect((await ask('fails', failing, 1)).body).toMatchObject({ id: failed.body.id, status: 'failed' });
    },
  );

  kind('runs that end badly leave no place taken, in the process and in their session [verifies durability.known]', async () => {
    const bad = [
      { agent: 'status', input: 'x' },
      { agent: 'die', input: 'x' },
      { input: '[[sim tools=broken()]] [[sim say="so be it"]]' },
      { input: 'x', model: 'sim/sim-large?stall=0', deadlineMs: 200 },
      { agent: 'malformed', input: 'x' },
    ];
    const sessionId = await server().session({ agent: 'free' });
    const runs = await Promise.all(
      [...bad, ...bad, ...bad].map((body, at) => server(at).start({ agent: 'free', ...body, ...(at < bad.length ? { sessionId } : {}) })),
    );
    const cancelled = await server().start({ agent: 'free', input: 'never', sessionId });
    await server(1).call('POST', `/v1/runs/${cancelled}/cancel`, {});
    const last = await server().start({ agent: 'free', input: '[[sim say="at last"]]', sessionId });
    expect(await server().until(last, ...ended)).toMatchObject({ status: 'completed', output: 'at last' });
    for (const id of [...runs, cancelled]) await server().until(id, ...ended);
    expect(all(await server().events(cancelled), 'model.started')).toEqual([]);
    const good = await Promise.all(Array.from({ length: 12 }, (_, at) => server(at).finish({ agent: 'free', input: '[[sim say="ok"]]' })));
    expect(good.map(({ run }) => run.output)).toEqual(good.map(() => 'ok'));
    expect(servers.map(({ app }) => app.orchestrator.liveRuns)).toEqual(servers.map(() => 0));
  });

  kind('a tool that takes longer than the lease is not called again [verifies durability.known]', async () => {
    const before = probe.calls.length;
    const inputs = Array.from({ length: 3 }, (_, at) => `[[sim tools=probe(label="slow ${at}",waitMs=1700)]] [[sim say="{{result}}"]]`);
    const ran = await Promise.all(inputs.map((input, at) => server(at).finish({ agent: 'free', input })));
    expect(ran.map(({ run }) => run.output)).toEqual(['slow 0', 'slow 1', 'slow 2']);
    expect(probe.calls.length - before).toBe(3);
  });

  kind(
    'what a reader was shown of an answer that is cancelled is in the log, and its session goes on [verifies durability.known]',
    async () => {
      const sessionId = await server().session({ agent: 'free' });
      const runId = await server().start({
        sessionId,
        input: '[[sim say="one two three" tokens=4000]]',
        model: 'sim/sim-large?tokensPerSecond=400',
      });
      const reader = createReader();
      let asked = false;
      await readStream(`${server(1).app.url}/v1/runs/${runId}/events`, {
        until: (frame) => {
          reader.take(frame);
          const shown = [...reader.texts.values()].flat().reduce((sum, part) => sum + part.text.length, 0);
          if (shown > 100 && !asked) {
            asked = true;
            void server(1).call('POST', `/v1/runs/${runId}/cancel`, {});
          }
          return false;
        },
      });
      expect((await server().run(runId)).status).toBe('cancelled');
      const [shown] = [...reader.texts.values()].map((parts) => parts.map((part) => part.text).join(''));
      expect(one(await server(1).events(runId), 'model.failed').data.content).toEqual([{ type: 'text', text: shown }]);
      expect((await server().finish({ sessionId, input: '[[sim say="goes on"]]' })).run.output).toBe('goes on');
    },
  );

  kind('no time is so long that it is over at once [verifies durability.known]', async () => {
    const long = { budget: { wallMs: 1_000_000_000_000 } };
    const runId = await server().start({ agent: 'asking', input: '[[sim tools=probe(label="x")]] [[sim say="done"]]', ...long });
    const { approvalId, deadlineAt } = (await server().event(runId, 'approval.requested')).data;
    expect(Date.parse(deadlineAt) - Date.now()).toBeGreaterThan(beyondTimers);
    await pause(300);
    expect((await server(1).run(runId)).status).toBe('waiting');
    await server(1).call('POST', `/v1/approvals/${approvalId}`, { decision: 'approve' });
    expect((await server().until(runId, ...ended)).status).toBe('completed');
    const model = `sim/sim-large?status=429&retryAfterMs=${beyondTimers}`;
    await server().agent('alone', { models: [model] });
    const before = server().sim.stats().models['sim-large']?.requests ?? 0;
    const { run } = await server().finish({ agent: 'alone', input: 'x', deadlineMs: 700 });
    expect(run).toMatchObject({ status: 'failed' });
    expect((server().sim.stats().models['sim-large']?.requests ?? 0) - before).toBeLessThan(5);
    expect(warnings).toEqual([]);
  });

  kind('far more runs than connections and places wait their turn and lose nothing [verifies durability.known]', async () => {
    const input = '[[sim tools=probe(label="a"),probe(label="b")]] [[sim say="{{results}}"]]';
    const ran = await Promise.all(Array.from({ length: 24 }, (_, at) => server(at).finish({ agent: 'free', input })));
    expect(ran.map(({ run }) => run.output)).toEqual(ran.map(() => 'a\nb'));
    const rows = await Promise.all(ran.map(({ run }) => server().app.store.getRun(tenant, run.id)));
    // Nobody was taken for dead.
    expect(rows.map((row) => row?.epoch)).toEqual(ran.map(() => 1));
  });
});
