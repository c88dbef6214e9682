import { expect, it } from 'vitest';
import { journalOf, runOf } from './audit.ts';
import { until, type WorkerProcess } from './cluster.ts';
import { onEachDatabase } from './databases.ts';

/** Works for half a minute unless it is stopped. */
const longRun = {
  agent: 'prober',
  input: '[[sim tools=probe_put(name="long",waitMs=30000)]] [[sim say="done"]]',
};

async function post(worker: WorkerProcess, path: string, body: unknown): Promise<{ id: string }> {
  const response = await fetch(`${worker.url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  expect(response.ok, `${path}: ${response.status}`).toBe(true);
  return (await response.json()) as { id: string }; // a run
}

onEachDatabase('processes that no bus joins', { alone: true, bus: 'memory' }, (use) => {
  it('hear of a cancel within a second, under the default times [verifies durability.cancel.elsewhere]', async (context) => {
    const cluster = use(context);
    const [driving, other] = [await cluster.start({ runs: {} }), await cluster.start({ runs: {} })];
    const late: number[] = [];
    for (let round = 0; round < 5; round++) {
      const { id } = await post(driving, '/v1/runs', longRun);
      await until('its tool to run', async () => (await journalOf(cluster, id)).some(({ type }) => type === 'tool.started'));
      // At another moment of the beat each time.
      await new Promise((resolve) => setTimeout(resolve, round * 110));
      const askedAt = Date.now();
      await post(other, `/v1/runs/${id}/cancel`, {});
      await until('its end', async () => (await runOf(cluster, id))?.status === 'cancelled');
      const ended = (await journalOf(cluster, id)).findLast(({ type }) => type === 'run.cancelled');
      late.push((ended?.at ?? Number.POSITIVE_INFINITY) - askedAt);
    }
    expect(Math.max(...late)).toBeLessThan(1_000);
  }, 60_000);

  it('share background work: one that is busy leaves it to one that is not [verifies run.background.any]', async (context) => {
    const cluster = use(context);
    const busy = await cluster.start({ runs: {} });
    const idle = await cluster.start({ runs: {} });
    const first = await Promise.all(Array.from({ length: 12 }, () => post(busy, '/v1/runs', longRun)));
    await until('all of them to be driven', async () => {
      const rows = await Promise.all(first.map(({ id }) => runOf(cluster, id)));
      return rows.every((row) => row?.status === 'running');
    });
    // The other one is known to be idle; what is accepted now begins there, though this one has room.
    const more = await Promise.all(Array.from({ length: 8 }, () => post(busy, '/v1/runs', longRun)));
    const owners = await until('the others to be driven', async () => {
      const rows = await Promise.all([...first, ...more].map(({ id }) => runOf(cluster, id)));
      return rows.every((row) => row?.status === 'running') && rows.map((row) => row?.leaseOwner);
    });
    const counts = new Map<string | null | undefined, number>();
    for (const owner of owners) counts.set(owner, (counts.get(owner) ?? 0) + 1);
    expect(counts.size).toBe(2);
    expect(Math.min(...counts.values())).toBeGreaterThanOrEqual(5);
    expect(idle.running).toBe(true);
  }, 60_000);
});
