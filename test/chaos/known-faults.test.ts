import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { openPostgresWay } from '../support/postgres-way.ts';
import { auditBooks, journalOf, runOf } from './audit.ts';
import { type Cluster, until, type WorkerProcess } from './cluster.ts';
import { onEachDatabase } from './databases.ts';

/* What is known to have broken the workers of comparable systems, tried on processes of ours. */

const runs = { leaseMs: 1_000, heartbeatMs: 200, pollMs: 100, maxDeaths: 20 };
const ended = ['completed', 'failed', 'cancelled'];

async function start({ url }: Pick<WorkerProcess, 'url'>, input: string): Promise<string> {
  const response = await fetch(`${url}/v1/runs`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ agent: 'prober', input }),
  });
  return ((await response.json()) as { id: string }).id; // a run
}

const end = (cluster: Cluster, id: string) =>
  until(`${id} to end`, async () => {
    const row = await runOf(cluster, id);
    return row !== null && ended.includes(row.status) && row;
  });
const has = (cluster: Cluster, id: string, type: string) => async () => (await journalOf(cluster, id)).some((event) => event.type === type);
/** What can be done twice may have been, as the same call. */
const keysOf = (cluster: Cluster, name: string) =>
  new Set(cluster.effects().flatMap(({ probe, idempotencyKey }) => (probe === name ? [idempotencyKey] : []))).size;
const effectsOf = (cluster: Cluster, name: string) => cluster.effects().filter(({ probe }) => probe === name).length;

onEachDatabase('a process', { bus: 'memory' }, (use) => {
  it('that slept with its machine goes on where it was, and serves what comes then [verifies durability.known]', async (context) => {
    const cluster = use(context);
    const worker = await cluster.start({ runs });
    const busy = await start(worker, '[[sim tools=probe_put(name="slept",waitMs=2500)]] [[sim say="{{result}}"]]');
    const resting = await start(worker, '[[sim tools=probe_put(name="after",waitMs=200)]] [[sim say="{{result}}"]]');
    await until('the tool to run', has(cluster, busy, 'tool.started'));
    worker.signal('SIGSTOP');
    await sleep(4_000);
    worker.signal('SIGCONT');
    expect(await end(cluster, busy)).toMatchObject({ status: 'completed', output: 'slept done' });
    expect(await end(cluster, resting)).toMatchObject({ status: 'completed', output: 'after done' });
    expect([keysOf(cluster, 'slept'), keysOf(cluster, 'after')]).toEqual([1, 1]);
    const late = await start(worker, '[[sim tools=probe_pay(name="late")]] [[sim say="{{result}}"]]');
    expect(await end(cluster, late)).toMatchObject({ status: 'completed', output: 'late done' });
    expect(await auditBooks(cluster)).toEqual([]);
  }, 60_000);

  it('whose thread a tool keeps for longer than its lease does nothing twice that must be done once [verifies durability.known]', async (context) => {
    const cluster = use(context);
    const worker = await cluster.start({ runs });
    const beside = await start(worker, '[[sim tools=probe_put(name="beside",waitMs=300)]] [[sim say="{{result}}"]]');
    const alone = await start(worker, '[[sim tools=probe_pay(name="held",holdMs=2500)]] [[sim say="{{result}}"]]');
    const settled = (id: string) =>
      until(`${id} to end, or a person to be asked`, async () => {
        const row = await runOf(cluster, id);
        return row !== null && (ended.includes(row.status) || row.status === 'waiting') && row;
      });
    expect(await settled(alone)).toMatchObject({ status: expect.stringMatching(/completed|waiting/) });
    expect(await end(cluster, beside)).toMatchObject({ status: 'completed', output: 'beside done' });
    expect(effectsOf(cluster, 'held')).toBe(1);
    expect(keysOf(cluster, 'beside')).toBe(1);

    await cluster.start({ runs });
    const watched = await start(worker, '[[sim tools=probe_pay(name="watched",holdMs=2500)]] [[sim say="{{result}}"]]');
    expect(await settled(watched)).toMatchObject({ status: expect.stringMatching(/completed|waiting/) });
    await until('it to be done', () => effectsOf(cluster, 'watched') > 0);
    await sleep(1_000);
    expect(effectsOf(cluster, 'watched')).toBe(1);
    for (const id of [alone, watched]) {
      await fetch(`${worker.url}/v1/runs/${id}/cancel`, { method: 'POST' });
      await end(cluster, id);
    }
    expect(await auditBooks(cluster)).toEqual([]);
  }, 60_000);

  it('that takes over while its database comes and goes strands nothing [verifies durability.known]', async (context) => {
    const cluster = use(context);
    if (cluster.databaseUrl === null) return context.skip('an embedded database does not come and go');
    const dying = await cluster.start({ runs });
    const input = (name: string) => `[[sim tools=probe_put(name="${name}",waitMs=3000)]] [[sim say="{{result}}"]]`;
    const names = Array.from({ length: 8 }, (_, at) => `left ${at}`);
    const left = await Promise.all(names.map((name) => start(dying, input(name))));
    for (const id of left) await until('its tool to run', has(cluster, id, 'tool.started'));
    const way = await openPostgresWay(cluster.databaseUrl);
    try {
      await cluster.start({ runs, databaseUrl: way.url });
      await dying.kill();
      // From before the lease of the dead one ends until some time after: no COMMIT is heard for a while, then nothing stands for long.
      way.onCommit(() => 'cut');
      await sleep(1_500);
      for (let cut = 0; cut < 15; cut++) {
        way.cut();
        await sleep(100);
      }
      way.onCommit(() => 'passes');
      for (const [at, id] of left.entries())
        expect(await end(cluster, id)).toMatchObject({ status: 'completed', output: `${names[at]} done` });
      expect(names.map((name) => keysOf(cluster, name))).toEqual(names.map(() => 1));
      expect(await auditBooks(cluster)).toEqual([]);
    } finally {
      await cluster.clear();
      way.close();
    }
  }, 60_000);
});
