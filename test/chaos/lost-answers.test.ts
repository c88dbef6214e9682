import { mkdtempSync, rmSync } from 'node:fs';
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
import { type CommitAnswer, openPostgresWay } from '../support/postgres-way.ts';
import { until } from './cluster.ts';

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

const runsAtOnce = 8;
const steps = 3;

/** Pays: what it did must not be done twice, and nobody may be asked whether it was done. */
function payTool(paid: string[]): Tool {
  return {
    name: 'pay',
    description: 'pays',
    inputSchema: { type: 'object' },
    effects: 'once',
    permissions: [],
    timeoutMs: 20_000,
    async execute(_input, { callId }) {
      paid.push(callId);
      return { type: 'ok', output: 'paid' };
    },
  };
}

/** A server whose way to Postgres is not to be relied on, with its own model server. */
async function start(databaseUrl: string) {
  const way = await openPostgresWay(databaseUrl);
  closers.push(() => way.close());
  const sim = await startSimulator({ knobs: { latencyMs: 30, tokensPerSecond: 4_000 } });
  closers.push(() => sim.close());
  const llm = createModelService({
    providers: [createSimProvider({ name: 'sim', url: sim.url, clock: systemClock })],
    clock: systemClock,
    random: Math.random,
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
        log: { level: 'silent' },
        storage: { timeoutMs: 1_500 },
        runs: { pollMs: 100, heartbeatMs: 200, leaseMs: 20_000 },
      },
    }),
    version: '0.0.0-test',
    models: { llm, defaultModels: ['sim/sim-large'] },
    tools: [payTool(paid)],
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

/** The same every time. */
function createRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

it.each([
  ['cut', 11],
  ['swallowed', 12],
] as const)(
  'no call is made twice, nothing is asked and no event is lost or doubled when answers to COMMIT are %s at random',
  async (fate: CommitAnswer, seed) => {
    const postgres = await acquirePostgres();
    if ('reason' in postgres) return;
    closers.push(() => postgres.close());
    const { app, way, sim, paid } = await start(postgres.url);
    const input = Array.from({ length: steps - 1 }, () => '[[sim tools=pay(a=1),pay(a=2)]]').concat('[[sim say="all is paid"]]');
    const runs = await Promise.all(
      Array.from({ length: runsAtOnce }, () => post(`${app.url}/v1/runs`, { agent: 'payer', input: input.join('\n') })),
    );
    const random = createRandom(seed);
    let lost = 0;
    way.onCommit(() => {
      const isLost = random() < 0.3;
      if (isLost) lost += 1;
      return isLost ? fate : 'passes';
    });
    const rows = await until('the runs to end', async () => {
      const found = await Promise.all(runs.map(({ id }) => app.store.getRun(tenant, id as RunId).catch(() => null)));
      return found.every((row) => row !== null && row.status !== 'running' && row.status !== 'queued') && found;
    });
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
  60_000,
);
