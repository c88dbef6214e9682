import { expect, it } from 'vitest';
import { tenant } from '../e2e/support/server.ts';
import { auditBooks, journalOf, runOf } from './audit.ts';
import { until, type WorkerProcess } from './cluster.ts';
import { onEachDatabase } from './databases.ts';

/** Works for half a minute unless it is stopped. */
const longRun = {
  agent: 'prober',
  input: '[[sim tools=probe_put(name="long",waitMs=30000)]] [[sim say="done"]]',
};

const post = (worker: WorkerProcess, path: string, body: unknown) => send(worker, 'POST', path, body);
const put = (worker: WorkerProcess, path: string, body: unknown) => send(worker, 'PUT', path, body);

async function send(worker: WorkerProcess, method: string, path: string, body: unknown): Promise<{ id: string }> {
  const response = await fetch(`${worker.url}${path}`, {
    method,
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

  it('end a run that is cancelled at the other one, wherever it is [verifies durability.cancel.elsewhere]', async (context) => {
    const cluster = use(context);
    const [driving, other] = [await cluster.start({ runs: {} }), await cluster.start({ runs: {} })];
    const has = (id: string, type: string) => async () => (await journalOf(cluster, id)).some((event) => event.type === type);
    const is = (id: string, status: string) => async () => (await runOf(cluster, id))?.status === status;
    const limited = { kind: 'user', id: 'contended' };
    await put(driving, '/v1/budgets', { scope: limited, unit: 'toolCalls', limit: 1 });

    const places: Record<string, { request: object; before?: object; reached: (id: string) => () => Promise<boolean> }> = {
      'queued behind another of its session': { before: longRun, request: longRun, reached: (id) => is(id, 'queued') },
      'waiting for the first byte of a model': {
        request: { input: 'x', model: 'sim/sim-large?stall=0' },
        reached: (id) => has(id, 'model.started'),
      },
      'in the middle of an answer': { request: { input: '[[sim say="word" tokens=9000]]' }, reached: (id) => has(id, 'model.started') },
      'resting between attempts at a model': {
        request: { input: 'x', model: 'sim/sim-large?status=503&retryAfterMs=7000' },
        reached: (id) => has(id, 'model.started'),
      },
      'in a tool': { request: longRun, reached: (id) => has(id, 'tool.started') },
      'waiting for a person': {
        request: { agent: 'careful', input: '[[sim tools=probe_pay(name="p")]]' },
        reached: (id) => is(id, 'waiting'),
      },
      'waiting for what others have reserved': {
        before: { ...longRun, user: limited.id },
        request: { ...longRun, user: limited.id },
        reached: (id) => has(id, 'tool.requested'),
      },
    };
    for (const [place, { before, request, reached }] of Object.entries(places)) {
      const { id: sessionId } = await post(driving, '/v1/sessions', { agent: 'prober' });
      const first =
        before === undefined ? null : await post(driving, '/v1/runs', place.startsWith('queued') ? { ...before, sessionId } : before);
      if (first !== null) await until('the first to be in its tool', has(first.id, 'tool.started'));
      const { id } = await post(driving, '/v1/runs', first !== null && place.startsWith('queued') ? { ...request, sessionId } : request);
      await until(place, reached(id));
      await new Promise((resolve) => setTimeout(resolve, 300));
      const askedAt = performance.now();
      // Whoever is asked knows it at once.
      await post(other, `/v1/runs/${id}/cancel`, {});
      await until(`the end of a run ${place}`, is(id, 'cancelled'), 5_000);
      expect([place, performance.now() - askedAt < 3_000]).toEqual([place, true]);
      expect([place, await journalOf(cluster, id)]).toEqual([
        place,
        expect.arrayContaining([expect.objectContaining({ type: 'run.cancelled' })]),
      ]);
      expect(cluster.effects().filter(({ probe }) => probe === 'p')).toEqual([]);
      if (first !== null) await post(other, `/v1/runs/${first.id}/cancel`, {});
    }
    const open = async () => (await cluster.store.listReservations(tenant, { state: 'open' })).length === 0;
    await until('nothing to be reserved any more', open);
    expect(await auditBooks(cluster)).toEqual([]);
  }, 120_000);

  it('share background work: one that is busy leaves it to one that is not [verifies run.background.any]', async (context) => {
    const cluster = use(context);
    const busy = await cluster.start({ runs: {} });
    const start = (count: number) => Promise.all(Array.from({ length: count }, () => post(busy, '/v1/runs', longRun)));
    const ownersOf = (runs: readonly { id: string }[]) =>
      until('all of them to be driven', async () => {
        const rows = await Promise.all(runs.map(({ id }) => runOf(cluster, id)));
        return rows.every((row) => row?.status === 'running') && rows.map((row) => row?.leaseOwner);
      });
    const [owner] = await ownersOf(await start(12));
    await cluster.start({ runs: {} });
    // Two signs of life later it is known to drive nothing: what is accepted then begins there, though this one has room.
    await new Promise((resolve) => setTimeout(resolve, 1_200));
    const owners = await ownersOf(await start(8));
    // A process is busier while it drives more than twice as many and four: the twelve are, until the other one drives four.
    expect(owners.filter((other) => other !== owner).length).toBeGreaterThanOrEqual(4);
  }, 60_000);
});
