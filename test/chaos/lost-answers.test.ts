import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AgentDefinition, type RunId } from '@nexus-agent/protocol';
import { afterEach, expect, it } from 'vitest';
import { resolveConfig } from '../../packages/server/src/apps/config/index.ts';
import { startAllInOne } from '../../packages/server/src/apps/index.ts';
import { systemClock } from '../../packages/server/src/core/index.ts';
import { createModelService } from '../../packages/server/src/llm/index.ts';
import { createSimProvider } from '../../packages/server/src/llm/providers/index.ts';
import { startSimulator } from '../../packages/server/src/llm/sim/index.ts';
import type { Tool } from '../../packages/server/src/tools/index.ts';
import { tenant } from '../e2e/support/server.ts';
import { all, auditLedger } from '../support/ledger-invariants.ts';
import { acquirePostgres } from '../support/postgres.ts';
import { type CommitAnswer, openPostgresWay, type PostgresWay } from '../support/postgres-way.ts';
import { until } from './cluster.ts';
import { chanceOf, tellSeedOfFailures } from './seed.ts';

tellSeedOfFailures();
const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

const runsAtOnce = 8;
const steps = 4;

/** Pays, once `isOpen` has come: what it did must not be done twice, and nobody may be asked whether it was done. */
function payTool(paid: string[], isOpen: Promise<void>): Tool {
  return {
    name: 'pay',
    description: 'pays',
    inputSchema: { type: 'object' },
    effects: 'once',
    permissions: [],
    timeoutMs: 20_000,
    async execute(_input, { callId }) {
      await isOpen;
      paid.push(callId);
      return { type: 'ok', output: 'paid' };
    },
  };
}

/** A server whose way to Postgres is not to be relied on, with its own model server. */
async function start(databaseUrl: string, isOpen = Promise.resolve()) {
  const way = await openPostgresWay(databaseUrl);
  closers.push(() => way.close());
  const sim = await startSimulator({ knobs: { latencyMs: 30, tokensPerSecond: 4_000 } });
  closers.push(() => sim.close());
  const llm = createModelService({
    providers: [createSimProvider({ name: 'sim', url: sim.url, clock: systemClock })],
    clock: systemClock,
    random: chanceOf('retries').next,
  });
  closers.push(() => llm.close());
  const dataDir = mkdtempSync(join(tmpdir(), 'nexus-lost-answers-'));
  closers.push(() => rmSync(dataDir, { recursive: true, force: true }));
  const paid: string[] = [];
  const app = await startAllInOne({
    config: resolveConfig({
      env: {},
      flags: {
        port: 0,
        auth: { local: 'open' },
        dataDir,
        databaseUrl: way.url,
        bus: 'memory',
        drainMs: 0,
        definitions: { import: 'manual' },
        log: { level: 'silent' },
        storage: { timeoutMs: 1_500 },
        runs: { pollMs: 100, heartbeatMs: 200, leaseMs: 20_000 },
      },
    }),
    version: '0.0.0-test',
    models: { llm, defaultModels: ['sim/sim-large'] },
    tools: [payTool(paid, isOpen)],
  });
  closers.push(() => app.close());
  const definition = AgentDefinition.parse({ name: 'payer', models: ['sim/sim-large'], tools: ['pay'], policy: { allow: ['pay'] } });
  await post(`${app.url}/v1/agents`, definition);
  return { app, way, sim, paid };
}

async function post(url: string, body: unknown): Promise<{ id: string }> {
  const response = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
  if (!response.ok) throw new Error(`${url} answered ${response.status}: ${await response.text()}`);
  return (await response.json()) as { id: string }; // what the routes answer that are used here
}

it.each(['cut', 'swallowed'] as const)(
  'no call is made twice, nothing is asked and no event is lost or doubled when answers to COMMIT are %s at random',
  async (fate: CommitAnswer) => {
    const postgres = await acquirePostgres();
    if ('reason' in postgres) return;
    closers.push(() => postgres.close());
    const till = Promise.withResolvers<void>(); // a machine that is slow to post must not find the first runs at their end
    const { app, way, sim, paid } = await start(postgres.url, till.promise);
    const input = Array.from({ length: steps - 1 }, (_, step) => `[[sim tools=pay(a=${2 * step}),pay(a=${2 * step + 1})]]`).concat(
      '[[sim say="all is paid"]]',
    );
    const runs = await Promise.all(
      Array.from({ length: runsAtOnce }, () => post(`${app.url}/v1/runs`, { agent: 'payer', input: input.join('\n') })),
    );
    const chance = chanceOf(`answers ${fate}`);
    let [lost, commits] = [0, 0];
    way.onCommit(() => {
      commits += 1;
      // Where many runs share a commit there are few: some are lost whatever chance says.
      const isLost = chance.hits(0.3) || commits % 3 === 0;
      if (isLost) lost += 1;
      return isLost ? fate : 'passes';
    });
    till.resolve();
    const rows = await until(
      'the runs to end',
      async () => {
        const found = await Promise.all(runs.map(({ id }) => app.store.getRun(tenant, id as RunId).catch(() => null)));
        return found.every((row) => row !== null && row.status !== 'running' && row.status !== 'queued') && found;
      },
      120_000, // each answer that is swallowed costs a timeout, and chance says how many are
    );
    way.onCommit(() => 'passes');
    expect(rows.map((row) => row?.status)).toEqual(runs.map(() => 'completed'));
    expect(lost).toBeGreaterThan(2);
    expect(rows.map((row) => row?.epoch)).toEqual(runs.map(() => 1));
    expect(sim.stats().models['sim-large']?.requests).toBe(runsAtOnce * steps);
    expect(paid).toHaveLength(runsAtOnce * (steps - 1) * 2);
    expect(new Set(paid).size).toBe(paid.length);
    for (const row of rows) {
      if (row === null) throw new Error('a run is gone');
      const events = await app.store.readEvents(tenant, row.runId, { after: 0, limit: 1_000 });
      expect(events.map(({ seq }) => seq)).toEqual(Array.from({ length: row.lastSeq }, (_, index) => index + 1));
      expect(events.filter(({ type }) => type === 'tool.completed')).toHaveLength((steps - 1) * 2);
      expect(events.filter(({ type }) => type === 'model.started')).toHaveLength(steps);
    }
    expect((await all((page) => app.store.listApprovals(tenant, {}, page))).length).toBe(0);
    expect(await app.store.listReservations(tenant, { state: 'open' })).toEqual([]);
    expect(await auditLedger(app.store, tenant)).toEqual([]);
  },
  180_000,
);

/**
 * Asks as a client does that repeats what it got no good answer to. Of the first attempt every COMMIT goes unheard, or the one that
 * is named, so that each of several is the one once.
 */
function unheardAsker({ url }: { readonly url: string }, way: PostgresWay) {
  let [lost, asked] = [0, 0];
  return {
    lost: () => lost,
    async ask<T = { id: string }>(
      method: string,
      path: string,
      body: unknown,
      { known = [], nth }: { readonly known?: readonly number[]; readonly nth?: number } = {},
    ): Promise<T> {
      asked += 1;
      let commits = 0;
      way.onCommit(() => {
        commits += 1;
        if (nth !== undefined && nth !== commits) return 'passes';
        lost += 1;
        return 'cut';
      });
      for (let attempt = 1; ; attempt++) {
        const response = await fetch(`${url}${path}`, {
          method,
          headers: { 'content-type': 'application/json', 'idempotency-key': `request-${asked}` },
          ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        });
        way.onCommit(() => 'passes');
        const text = await response.text();
        if (response.ok || known.includes(response.status)) return (text === '' ? {} : JSON.parse(text)) as T; // what the routes answer
        if (response.status !== 503 || attempt > 20) throw new Error(`${method} ${path} answered ${response.status}: ${text}`);
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
    },
  };
}

it('each kind of request whose changes nobody heard of is carried out once, when it is asked again [verifies durability.lost-answers]', {
  timeout: 120_000,
}, async () => {
  const postgres = await acquirePostgres();
  if ('reason' in postgres) return;
  closers.push(() => postgres.close());
  const { app, way, paid } = await start(postgres.url);
  const { ask, lost } = unheardAsker(app, way);
  const get = async (path: string) => (await (await fetch(`${app.url}${path}`)).json()) as { status: string; data: { id: string }[] };
  const ended = (id: string) =>
    until(`${id} to end`, async () => {
      const { status } = await get(`/v1/runs/${id}`);
      return ['completed', 'failed', 'cancelled'].includes(status) && status;
    });

  const asking = { name: 'asks', models: ['sim/sim-large'], tools: ['pay'], policy: { approve: ['pay'] } };
  await ask('POST', '/v1/agents', asking);
  const session = await ask('POST', '/v1/sessions', { agent: 'asks' });
  expect((await get('/v1/sessions')).data.map(({ id }) => id)).toEqual([session.id]);

  await ask('PUT', '/v1/budgets', { scope: { kind: 'user', id: 'u' }, unit: 'tokens', limit: 1_000 });
  expect((await get('/v1/budgets?scope=user:u')).data).toMatchObject([{ unit: 'tokens', limit: 1_000, spent: 0, reserved: 0 }]);

  const run = await ask('POST', '/v1/runs', { sessionId: session.id, input: '[[sim tools=pay(a=1)]] [[sim say="paid"]]' });
  expect((await get('/v1/runs')).data.map(({ id }) => id)).toEqual([run.id]);
  const [question] = await until('the question', async () => {
    const { data } = await get('/v1/approvals?status=pending');
    return data.length > 0 && data;
  });
  // The first answer counts; asked again, it is told that it has one.
  await ask('POST', `/v1/approvals/${question?.id}`, { decision: 'approve' }, { known: [409] });
  expect(await ended(run.id)).toBe('completed');
  expect(paid).toHaveLength(1);

  const stalled = await ask('POST', '/v1/runs', { sessionId: session.id, input: 'wait', model: 'sim/sim-large?stall=0' });
  await ask('POST', `/v1/runs/${stalled.id}/cancel`, {}, { known: [409] });
  expect(await ended(stalled.id)).toBe('cancelled');

  await ask('POST', `/v1/sessions/${session.id}/close`, {}, { known: [409] });
  expect((await get(`/v1/sessions/${session.id}`)).status).toBe('closed');
  await until(
    'all runs of the session to end',
    async () => (await app.store.listRuns(tenant, { status: 'waiting' }, { limit: 10 })).items.length === 0,
  );
  await ask('DELETE', `/v1/sessions/${session.id}`, undefined, { known: [404] });
  expect((await get(`/v1/sessions/${session.id}`)).status).toBe(404);

  expect(lost()).toBeGreaterThan(8);
  expect(await app.store.listReservations(tenant, { state: 'open' })).toEqual([]);
  expect(await auditLedger(app.store, tenant)).toEqual([]);
});

it('what is administered is changed once, whichever of its COMMITs goes unheard, and a key is told to whom it was made for [verifies durability.lost-answers]', {
  timeout: 120_000,
}, async () => {
  const postgres = await acquirePostgres();
  if ('reason' in postgres) return;
  closers.push(() => postgres.close());
  const { app, way } = await start(postgres.url);
  const { ask, lost } = unheardAsker(app, way);
  const get = async <T>(path: string, key?: string) => {
    const headers = key === undefined ? {} : { authorization: `Bearer ${key}` };
    return (await (await fetch(`${app.url}${path}`, { headers })).json()) as T; // what the routes answer
  };
  const ended = (id: string) =>
    until(`${id} to end`, async () => {
      const { status } = await get<{ status: string }>(`/v1/runs/${id}`);
      return ['completed', 'failed', 'cancelled'].includes(status) && status;
    });
  const allRuns = async () => (await get<{ data: { id: string }[] }>('/v1/runs')).data.map(({ id }) => id);

  mkdirSync(app.config.agentsDir);
  for (const nth of [1, 2, 3]) {
    const made = await ask<{ id: string; secret?: string }>('POST', '/v1/keys', { name: `key ${nth}`, scopes: ['runs'] }, { nth });
    const keys = (await get<{ data: { id: string; name: string }[] }>('/v1/keys')).data.filter(({ name }) => name === `key ${nth}`);
    expect([nth, keys.map(({ id }) => id)]).toEqual([nth, [made.id]]);
    expect([nth, await get('/v1/runs', made.secret)]).toMatchObject([nth, { nextCursor: null }]);

    // Enough for the first step, and not for the second.
    const request = { agent: 'payer', input: '[[sim tools=pay(a=1)]] [[sim say="done"]]', user: `u${nth}` };
    const limit = (tokens: number) => ({ scope: { kind: 'user', id: request.user }, unit: 'tokens', limit: tokens });
    await ask('PUT', '/v1/budgets', limit(1), { nth });
    const refused = await ask<{ details: { asked: number } }>('POST', '/v1/runs', request, { nth, known: [402] });
    await ask('PUT', '/v1/budgets', limit(refused.details.asked + 5), { nth });
    const run = await ask('POST', '/v1/runs', request, { nth });
    expect([nth, await ended(run.id)]).toEqual([nth, 'failed']);
    await ask('DELETE', `/v1/budgets?scope=user:u${nth}&unit=tokens`, undefined, { nth, known: [404] });
    expect((await get<{ data: { limit?: number }[] }>(`/v1/budgets?scope=user:u${nth}`)).data.map((row) => row.limit)).toEqual([undefined]);
    await ask('POST', `/v1/runs/${run.id}/resume`, {}, { nth, known: [409] });
    expect([nth, await ended(run.id)]).toEqual([nth, 'completed']);
    const events = await app.store.readEvents(tenant, run.id as RunId, { after: 0, limit: 1_000 });
    expect(events.filter(({ type }) => type === 'run.failed')).toHaveLength(1);

    const before = await allRuns();
    const fork = await ask('POST', `/v1/runs/${run.id}/fork`, { afterSeq: 1, input: '[[sim say="forked"]]' }, { nth });
    expect([nth, await ended(fork.id)]).toEqual([nth, 'completed']);
    expect((await allRuns()).length - before.length).toBe(1);

    writeFileSync(join(app.config.agentsDir, 'filed.yaml'), `name: filed\ndescription: version ${nth}\nmodels: [sim/sim-large]\n`);
    await ask('POST', '/v1/definitions/agents/import', {}, { nth });
    const { agents } = await get<{ agents: { active: { version: number } } }>('/v1/definitions');
    expect(agents).toMatchObject({ active: { version: nth }, inUse: nth, folder: { state: 'active' } });
    await ask('DELETE', `/v1/keys/${made.id}`, undefined, { nth, known: [404] });
    expect((await fetch(`${app.url}/v1/runs`, { headers: { authorization: `Bearer ${made.secret}` } })).status).toBe(401);
  }
  expect(lost()).toBeGreaterThan(10);
  expect(await app.store.listReservations(tenant, { state: 'open' })).toEqual([]);
  expect(await auditLedger(app.store, tenant)).toEqual([]);
});
