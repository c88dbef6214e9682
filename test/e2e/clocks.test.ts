import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Run, RunId, WireEvent } from '@nexus-agent/protocol';
import { afterEach, expect, it } from 'vitest';
import { resolveConfig } from '../../packages/server/src/apps/config/index.ts';
import { type AllInOne, startAllInOne } from '../../packages/server/src/apps/index.ts';
import { systemClock } from '../../packages/server/src/core/index.ts';
import { acquirePostgres } from '../support/postgres.ts';
import { pause, tenant } from './support/server.ts';
import { createProbe } from './support/tools.ts';

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

/** A process whose own clock is so far off. */
async function start(databaseUrl: string, offMs: number): Promise<AllInOne> {
  const dataDir = mkdtempSync(join(tmpdir(), 'nexus-clocks-'));
  closers.push(() => rmSync(dataDir, { recursive: true, force: true }));
  const runs = { pollMs: 50, heartbeatMs: 100, leaseMs: 4_000 };
  const app = await startAllInOne({
    config: resolveConfig({
      env: {},
      flags: { port: 0, auth: { local: 'open' }, dataDir, databaseUrl, bus: 'memory', drainMs: 0, log: { level: 'silent' }, runs },
    }),
    version: '0.0.0-test',
    clock: { ...systemClock, now: () => systemClock.now() + offMs },
    tools: createProbe().tools,
  });
  closers.push(() => app.close());
  return app;
}

async function ask<T>(url: string, body?: unknown): Promise<T> {
  const response = await fetch(
    url,
    body === undefined ? {} : { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) },
  );
  if (!response.ok) throw new Error(`${url} answered ${response.status}: ${await response.text()}`);
  return (await response.json()) as T; // the caller knows the route
}

const five = 5 * 60_000;

it.each([
  ['ahead of', five, 0],
  ['behind', -five, 0],
  ['right beside one ahead of', 0, five],
  ['right beside one behind', 0, -five],
])(
  'a deadline that is set by a process %s the others is kept by whoever is there, neither late nor over and over',
  async (_, firstOff, secondOff) => {
    const postgres = await acquirePostgres();
    if ('reason' in postgres) return;
    closers.push(() => postgres.close());
    const first = await start(postgres.url, firstOff);
    const definition = {
      name: 'asking',
      models: ['sim/sim-large'],
      tools: ['probe'],
      policy: { approve: ['probe'] },
      approvalTimeoutMs: 2_000,
    };
    await ask(`${first.url}/v1/agents`, definition);
    const { id } = await ask<Run>(`${first.url}/v1/runs`, {
      agent: 'asking',
      input: '[[sim tools=probe(label="a")]] [[sim say="so be it"]]',
    });
    const rowOf = async (app: AllInOne) => {
      const row = await app.store.getRun(tenant, id as RunId); // as it was numbered
      if (row === null) throw new Error('the run is gone');
      return row;
    };
    while ((await rowOf(first)).status !== 'waiting') await pause(20);
    const waitingSince = performance.now();
    const second = await start(postgres.url, secondOff);
    await first.close();
    let row = await rowOf(second);
    while (row.status !== 'completed') {
      if (performance.now() - waitingSince > 15_000) throw new Error(`the run is ${row.status} at epoch ${row.epoch}`);
      await pause(50);
      row = await rowOf(second);
    }
    expect(performance.now() - waitingSince).toBeGreaterThan(1_500);
    // Claimed when the deadline had passed, and not before.
    expect(row.epoch).toBeLessThanOrEqual(3);
    const { data } = await ask<{ data: WireEvent[] }>(`${second.url}/v1/runs/${id}/events?limit=1000`);
    expect(data.filter(({ type }) => type === 'approval.requested')).toHaveLength(1);
    const times = data.map((event) => ('at' in event ? Date.parse(String(event.at)) : 0)).filter((at) => at > 0);
    expect(Math.max(...times.map((at) => Math.abs(at - Date.now())))).toBeLessThan(60_000);
  },
  40_000,
);
