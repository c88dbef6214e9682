import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { resolveConfig } from '../../packages/server/src/apps/config/index.ts';
import { type AllInOne, startAllInOne } from '../../packages/server/src/apps/index.ts';
import { NexusError, systemClock } from '../../packages/server/src/core/index.ts';
import { createModelService } from '../../packages/server/src/llm/index.ts';
import { createSimProvider } from '../../packages/server/src/llm/providers/index.ts';
import { startSimulator } from '../../packages/server/src/llm/sim/index.ts';
import type { Commit, Store } from '../../packages/server/src/storage/index.ts';
import { auditLedger } from '../support/ledger-invariants.ts';
import { pause, tenant } from './support/server.ts';

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

/** A server whose store fails where the test says. */
async function start(fault: (call: { readonly name: keyof Store; readonly commit?: Commit }) => unknown) {
  const dataDir = mkdtempSync(join(tmpdir(), 'nexus-broken-'));
  closers.push(() => rmSync(dataDir, { recursive: true, force: true }));
  const sim = await startSimulator();
  closers.push(() => sim.close());
  const llm = createModelService({
    providers: [createSimProvider({ name: 'sim', url: sim.url, clock: systemClock })],
    clock: systemClock,
    random: Math.random,
  });
  closers.push(() => llm.close());
  const fail = (name: keyof Store, commit?: Commit) => {
    const error = fault({ name, ...(commit === undefined ? {} : { commit }) });
    if (error !== undefined) throw error;
  };
  const app = await startAllInOne({
    config: resolveConfig({
      env: {},
      flags: {
        port: 0,
        auth: { local: 'open' },
        dataDir,
        drainMs: 500,
        log: { level: 'silent' },
        runs: { pollMs: 50, heartbeatMs: 100, leaseMs: 60_000 },
      },
    }),
    version: '0.0.0-test',
    models: { llm, defaultModels: ['sim/sim-large'] },
    wrapStore: (store) => ({
      ...store,
      async commit(commit) {
        fail('commit', commit);
        return store.commit(commit);
      },
      async claimRuns(...args) {
        const claimed = await store.claimRuns(...args);
        fail('claimRuns'); // the answer is lost, not the claim
        return claimed;
      },
      async getRun(...args) {
        fail('getRun');
        return store.getRun(...args);
      },
    }),
  });
  closers.push(() => app.close());
  return { app, sim };
}

async function begin(app: AllInOne, input = '[[sim say="hello"]]'): Promise<string> {
  const response = await fetch(`${app.url}/v1/runs`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ input }),
  });
  expect(response.status).toBe(202);
  return ((await response.json()) as { id: string }).id; // a run, by its status
}

async function until(app: AllInOne, runId: string, ...statuses: string[]): Promise<string> {
  for (let tries = 0; ; tries++) {
    const row = await app.store.listRuns(tenant, {}, { limit: 10 }).then(({ items }) => items.find((item) => item.runId === runId));
    if (row !== undefined && statuses.includes(row.status)) return row.status;
    if (tries > 200) throw new Error(`the run is ${row?.status}`);
    await pause(50);
  }
}

const isAnswer = (commit: Commit | undefined) => commit?.ledger?.some((operation) => operation.type === 'settle') === true;

it('a run whose work cannot be written ends as failed instead of paying for it for ever', async () => {
  const { app, sim } = await start(({ commit }) => (isAnswer(commit) ? new NexusError('internal', 'this cannot be written') : undefined));
  const runId = await begin(app);
  expect(await until(app, runId, 'failed', 'completed')).toBe('failed');
  await pause(300);
  expect(sim.stats().models['sim-large']?.requests).toBeLessThanOrEqual(2);
  expect(await app.store.listReservations(tenant, { state: 'open' })).toEqual([]);
  expect(await auditLedger(app.store, tenant)).toEqual([]);
}, 20_000);

it('a run is not left behind by a worker that lives on, when the store was away for a moment', async () => {
  let away = false;
  let done = false;
  const { app, sim } = await start(({ commit }) => {
    if (isAnswer(commit) && !done) away = true;
    return away ? new Error('the connection was lost') : undefined;
  });
  const runId = await begin(app);
  while (!away) await pause(5);
  await pause(300);
  done = true;
  away = false;
  expect(await until(app, runId, 'failed', 'completed')).toBe('completed');
  // What was in memory was paid for: it is written when the store is back, not asked for again.
  expect(sim.stats().models['sim-large']?.requests).toBe(1);
  expect(await auditLedger(app.store, tenant)).toEqual([]);
}, 20_000);

it('a claim whose answer is lost does not leave its runs behind', async () => {
  let lost = 0;
  let armed = false;
  const { app } = await start(({ name }) => {
    if (name !== 'claimRuns' || !armed || lost >= 3) return undefined;
    lost += 1;
    return new NexusError('storage_unavailable', 'the connection broke');
  });
  const id = await begin(app, '[[sim tools=ask_human(question="?")]] [[sim say="hello"]]');
  await until(app, id, 'waiting');
  const [approval] = (await app.store.listApprovals(tenant, { status: 'pending' }, { limit: 1 })).items;
  armed = true;
  const response = await fetch(`${app.url}/v1/approvals/${approval?.approvalId}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ decision: 'answer', result: 'yes' }),
  });
  expect(response.status).toBe(200);
  await until(app, id, 'completed');
  expect(lost).toBe(3);
  expect(await auditLedger(app.store, tenant)).toEqual([]);
});
