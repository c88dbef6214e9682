import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Run, RunId } from '@nexus-agent/protocol';
import { afterEach, describe, expect, it } from 'vitest';
import { tenant } from '../e2e/support/server.ts';
import { holdMigration } from '../support/held-migration.ts';
import { auditLedger } from '../support/ledger-invariants.ts';
import { acquirePostgres } from '../support/postgres.ts';
import { type DatabaseLocation, openTestStore } from '../support/stores.ts';
import { until } from './cluster.ts';
import { chanceOf, tellSeedOfFailures } from './seed.ts';

const program = fileURLToPath(new URL('../../packages/server/bin/nexus.mjs', import.meta.url));
const drainMs = 1_500;
/** The bound for live work, the grace for what does not stop, and the time of a busy machine. */
const endsWithinMs = drainMs + 2_000 + 9_000;

const closers: (() => unknown)[] = [];
tellSeedOfFailures();
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

/** `nexus serve` as somebody starts it, from its first moment on. */
function serve(dataDir: string, { url }: DatabaseLocation, args: readonly string[] = [], node = '--conditions=nexus-source') {
  const config = join(dataDir, 'told.yaml');
  writeFileSync(config, `drainMs: ${drainMs}\n`);
  const child = spawn(process.execPath, [node, program, ...args, 'serve', '--port', '0', '--data-dir', dataDir], {
    env: {
      PATH: process.env.PATH ?? '',
      NODE_COMPILE_CACHE: join(tmpdir(), 'nexus-nodes-compiled'),
      ...{ NEXUS_BUS: 'memory', NEXUS_LOG_PRETTY: 'false', NEXUS_AUTH_LOCAL: 'open', NEXUS_SIM: 'on', NEXUS_CONFIG: config },
      ...(url === undefined ? {} : { NEXUS_DATABASE_URL: url }),
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [out, err] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text;
  });
  const ended = new Promise<number | NodeJS.Signals | null>((resolve) => child.once('close', (code, signal) => resolve(code ?? signal)));
  closers.push(() => {
    child.kill('SIGKILL');
    return ended;
  });
  return {
    ended,
    url: () => until('the server to be ready', () => /ready at (\S+)/.exec(out)?.[1] ?? undefined),
    said: (what: string) => err.includes(what),
    terminate: () => void child.kill('SIGTERM'),
    kill: () => void child.kill('SIGKILL'),
    log: () => err,
  };
}

async function places(database: 'sqlite' | 'postgres'): Promise<{ dataDir: string; location: DatabaseLocation } | { reason: string }> {
  const dataDir = mkdtempSync(join(tmpdir(), 'nexus-told-'));
  closers.push(() => rmSync(dataDir, { recursive: true, force: true }));
  if (database === 'sqlite') return { dataDir, location: { dataDir } };
  const postgres = await acquirePostgres();
  if ('reason' in postgres) return postgres;
  closers.push(() => postgres.close());
  return { dataDir, location: { url: postgres.url } };
}

async function startRun(url: string, input: string, model = 'sim/sim-large'): Promise<string> {
  const response = await fetch(`${url}/v1/runs`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ input, model }),
  });
  const { id } = (await response.json()) as Run;
  return id;
}

describe.each(['sqlite', 'postgres'] as const)('nexus serve on %s, told to end', (database) => {
  it('while it starts ends in good order, whenever that is, and leaves nobody for dead [verifies durability.drain.starting]', {
    timeout: 180_000,
  }, async (context) => {
    const found = await places(database);
    if ('reason' in found) return context.skip(found.reason);
    const { dataDir, location } = found;
    const first = serve(dataDir, location);
    const url = await first.url();
    const run = await startRun(url, 'hello', 'sim/sim-large?stall=0');
    const store = await openTestStore(location);
    closers.push(() => store.close());
    await until('the run to be driven', async () => (await store.getRun(tenant, run as RunId))?.status === 'running');
    first.terminate();
    expect(await first.ended).toBe(0);
    const chance = chanceOf(`starting on ${database}`);
    const stateOf = async () => (await store.getRun(tenant, run as RunId))?.status;
    const ends: unknown[] = [];
    // Before it has read its settings, at any time, when it has taken the run up, and when it says that it is ready.
    const moments = [
      () => sleep(chance.int(0, 300)),
      () => sleep(chance.int(500, 4_000)),
      () => until('the run to be driven', async () => (await stateOf()) === 'running'),
      () => sleep(chance.int(500, 4_000)),
      (server: ReturnType<typeof serve>) => server.url(),
      // While it makes ready ahead what a first run needs.
      (server: ReturnType<typeof serve>) => server.url().then(() => sleep(chance.int(50, 400))),
    ];
    for (const moment of moments) {
      const server = serve(dataDir, location);
      await Promise.race([moment(server), server.ended]);
      const toldAt = performance.now();
      server.terminate();
      const end = await server.ended;
      expect(performance.now() - toldAt).toBeLessThan(endsWithinMs);
      ends.push(end);
      // Before there is a program that could hear of it, the system ends the process: nothing has begun.
      if (end === 'SIGTERM') expect(server.log()).toBe('');
      else expect({ end, log: server.log() }).toMatchObject({ end: 0 });
      expect(await stateOf()).toBe('queued');
    }
    expect(ends).toContain(0);
    const deaths = await store.claimRuns('looks', 10);
    expect(deaths.map((row) => [row.runId, row.deaths])).toEqual([[run, 0]]);
  });

  it('while it waits to migrate ends at once, and leaves the schema to whoever migrates [verifies durability.drain.migrating]', {
    timeout: 60_000,
  }, async (context) => {
    const found = await places(database);
    if ('reason' in found) return context.skip(found.reason);
    const { dataDir, location } = found;
    const config = join(dataDir, 'patient.yaml');
    writeFileSync(config, 'postgres: { migrationTimeoutMs: 600000 }\nstorage: { timeoutMs: 30000 }\n');
    const giveBack = await holdMigration(location);
    closers.push(giveBack);
    const waits = serve(dataDir, location, ['--config', config]);
    const first = await Promise.race([waits.ended, sleep(6_000, 'it waits')]);
    expect({ first, log: waits.log() }).toMatchObject({ first: 'it waits' });
    const toldAt = performance.now();
    waits.terminate();
    expect({ end: await waits.ended, log: waits.log() }).toEqual({ end: 0, log: expect.not.stringContaining('"error"') });
    expect(performance.now() - toldAt).toBeLessThan(3_000);
    await giveBack();
    const next = serve(dataDir, location);
    await next.url();
    next.terminate();
    expect(await next.ended).toBe(0);
  });

  it('in the middle of an answer, and again while it drains, ends at once and loses nothing [verifies durability.drain.twice]', {
    timeout: 120_000,
  }, async (context) => {
    const found = await places(database);
    if ('reason' in found) return context.skip(found.reason);
    const { dataDir, location } = found;
    const first = serve(dataDir, location);
    const run = await startRun(await first.url(), 'hello [[sim say="word" tokens=3000]]');
    const store = await openTestStore(location);
    closers.push(() => store.close());
    await until('the answer to begin', async () => {
      const events = await store.readEvents(tenant, run as RunId, { after: 0, limit: 100 });
      return events.some(({ type }) => type === 'model.started');
    });
    first.terminate();
    await until('it to drain', () => first.said('draining'));
    const toldAt = performance.now();
    first.terminate();
    const end = await first.ended;
    expect(performance.now() - toldAt).toBeLessThan(3_000);
    // The first may have been done already.
    expect([0, 130]).toContain(end);
    const second = serve(dataDir, location);
    const url = await second.url();
    await until('the run to end', async () => {
      const row = await store.getRun(tenant, run as RunId);
      return row?.status === 'completed' || row?.status === 'failed';
    });
    expect(await store.getRun(tenant, run as RunId)).toMatchObject({ status: 'completed' });
    expect((await fetch(`${url}/v1/runs/${run}/replay`, { method: 'POST' })).status).toBe(200);
    second.terminate();
    expect(await second.ended).toBe(0);
    expect(await store.listReservations(tenant, { state: 'open' })).toEqual([]);
    expect(await auditLedger(store, tenant)).toEqual([]);
  });
});

/** As on a Node that cannot replace a process by another: what serves is its child. */
const withoutExecve = '--import=data:text/javascript,process.execve=undefined';

it('what a launcher runs in its place ends in good order when the launcher is killed, and leaves port and data to the next [verifies durability.drain.launcher]', {
  timeout: 60_000,
}, async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'nexus-told-'));
  closers.push(() => rmSync(dataDir, { recursive: true, force: true }));
  const launched = serve(dataDir, { dataDir }, [], withoutExecve);
  const url = await launched.url();
  launched.kill();
  const silent = await Promise.race([launched.ended, sleep(endsWithinMs, 'it serves on')]); // the child holds what it prints to, too
  expect({ silent, log: launched.log() }).toMatchObject({ silent: 'SIGKILL', log: expect.stringMatching(/drain/) });
  await expect(fetch(`${url}/v1/health`)).rejects.toThrow();
  // One that nobody launched has nobody to follow.
  const next = serve(dataDir, { dataDir });
  await next.url();
  await sleep(500);
  next.terminate();
  expect(await next.ended).toBe(0);
});
