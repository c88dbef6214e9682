import type { RunId, TenantId } from '@nexus-agent/protocol';
import fc from 'fast-check';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { RunRow, Store } from '../../packages/server/src/storage/index.ts';
import { ids, newTenant, runRow } from '../support/stores.ts';
import { verifies } from '../support/verifies.ts';

/** Which runs a claim takes where there are more than it may take. */
export function describeTurns(open: () => Promise<Store>): void {
  describe('turns', () => {
    let store: Store;
    const me = ids.next<string>('worker');
    beforeAll(async () => {
      store = await open();
      await store.heartbeat(me, 600_000);
    });
    /** What other tests left in the queue would have turns too. */
    const drain = async () => {
      while ((await store.claimRuns(me, 1_000)).length > 0);
    };
    beforeEach(drain);

    const enqueue = (tenantId: TenantId, count: number, fields: Partial<RunRow> = {}) =>
      Promise.all(
        Array.from({ length: count }, () =>
          store.commit({ tenantId, createRun: runRow(tenantId, { dueAt: Date.now() - 60_000, ...fields }) }),
        ),
      );
    const claim = async (limit: number) => countByTenant(await store.claimRuns(me, limit));

    it(`a single run of a tenant is in the next claim, whatever another tenant has waiting ${verifies('run.turns')}`, async () => {
      const [many, single] = [newTenant(), newTenant()];
      await enqueue(many, 2_000, { dueAt: 1 });
      await enqueue(single, 1);
      expect(await claim(10)).toEqual(
        new Map([
          [many, 9],
          [single, 1],
        ]),
      );
      expect(await claim(10)).toEqual(new Map([[many, 10]]));
    });

    it(`tenants go in turns where each claim has one place ${verifies('run.turns')}`, async () => {
      const tenants = [newTenant(), newTenant(), newTenant()].sort();
      for (const tenantId of tenants) await enqueue(tenantId, 3);
      const order: string[] = [];
      for (let index = 0; index < 9; index++) order.push(...(await claim(1)).keys());
      for (const from of [0, 3, 6]) expect(order.slice(from, from + 3).sort()).toEqual(tenants);
    });

    it(`a lost worker's runs are taken over in turns too, before those that were never begun ${verifies('run.turns')}`, async () => {
      const [many, single] = [newTenant(), newTenant()];
      const lost = ids.next<string>('worker');
      await enqueue(many, 50, { status: 'running', leaseOwner: lost, epoch: 1, dueAt: null });
      await enqueue(single, 1, { status: 'running', leaseOwner: lost, epoch: 1, dueAt: null });
      await enqueue(single, 5);
      const rows = await store.claimRuns(me, 6);
      expect(countByTenant(rows)).toEqual(
        new Map([
          [many, 3],
          [single, 3],
        ]),
      );
      expect(rows.filter(({ tenantId, epoch }) => tenantId === single && epoch === 2)).toHaveLength(1);
    });

    it('each tenant has an equal share of a claim and what others do not use, whatever waits', async () => {
      const amounts = fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 6 });
      await fc.assert(
        fc
          .asyncProperty(amounts, fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 5 }), async (given, limits) => {
            const waiting = new Map(given.map((count) => [newTenant(), count]));
            await Promise.all([...waiting].map(([tenantId, count]) => enqueue(tenantId, count)));
            for (const limit of limits) {
              const open = [...waiting].filter(([, count]) => count > 0);
              const taken = await claim(limit);
              const sum = [...taken.values()].reduce((total, count) => total + count, 0);
              expect(sum).toBe(
                Math.min(
                  limit,
                  open.reduce((total, [, count]) => total + count, 0),
                ),
              );
              for (const [tenantId, count] of open) {
                expect(taken.get(tenantId) ?? 0).toBeGreaterThanOrEqual(Math.min(count, Math.floor(limit / open.length)));
                waiting.set(tenantId, count - (taken.get(tenantId) ?? 0));
              }
            }
          })
          .afterEach(drain),
        { numRuns: 15 },
      );
    });

    it('more tenants wait than one claim looks at: the oldest work is taken at once, and nobody is passed over', async () => {
      const behind = { reason: 'session' as const, behind: ids.next<RunId>('run') };
      const resting = Array.from({ length: 300 }, newTenant);
      await Promise.all(resting.map((tenantId) => enqueue(tenantId, 1, { dueAt: Date.now() + 3_600_000, waiting: behind })));
      const last = resting.sort().at(-1) ?? newTenant();
      await enqueue(last, 1);
      expect(await claim(5)).toEqual(new Map([[last, 1]]));
      // A flood by one that comes first does not hold it up for longer than it takes to look at all.
      const first = resting[0] ?? newTenant();
      await enqueue(first, 100, { dueAt: 1 });
      await enqueue(last, 1);
      const claims: string[] = [];
      while (!claims.includes(last) && claims.length < 20) claims.push(...(await claim(1)).keys());
      expect(claims).toContain(last);
      expect(claims.length).toBeLessThanOrEqual(4);
    });

    it('what came just now may be left to others, what was lost may not', async () => {
      const tenantId = newTenant();
      const lost = ids.next<string>('worker');
      await enqueue(tenantId, 1, { dueAt: await store.now() });
      expect(await store.claimRuns(me, 10, 60_000)).toEqual([]);
      await enqueue(tenantId, 1, { status: 'running', leaseOwner: lost, epoch: 1, dueAt: null });
      expect(await store.claimRuns(me, 10, 60_000)).toMatchObject([{ epoch: 2 }]);
      expect(await store.claimRuns(me, 10)).toMatchObject([{ epoch: 1 }]);
    });

    it('two that claim at once share what there is, and none is taken twice', async () => {
      const tenants = Array.from({ length: 5 }, newTenant);
      for (const tenantId of tenants) await enqueue(tenantId, 8);
      const other = await open();
      const rival = ids.next<string>('worker');
      await other.heartbeat(rival, 600_000);
      const taken: string[] = [];
      while (taken.length < 40) {
        const rows = (await Promise.all([store.claimRuns(me, 7), other.claimRuns(rival, 7)])).flat();
        expect(rows.length).toBeGreaterThan(0);
        taken.push(...rows.map(({ runId }) => runId));
      }
      expect(new Set(taken).size).toBe(40);
    });

    it('a worker hears how many runs the least busy of the others drives', async () => {
      const [first, second] = [ids.next<string>('worker'), ids.next<string>('worker')];
      await store.heartbeat(me, 600_000, 1_000);
      await store.heartbeat(first, 60_000, 700);
      const least = async () => (await store.heartbeat(me, 600_000, 1_000)).leastElsewhere;
      const before = await least();
      expect(before).not.toBeNull();
      await store.heartbeat(second, 60_000, 0);
      expect(await least()).toBe(0);
      await store.retireWorker(second);
      expect(await least()).toBe(before);
    });
  });
}

function countByTenant(rows: readonly Pick<RunRow, 'tenantId'>[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { tenantId } of rows) counts.set(tenantId, (counts.get(tenantId) ?? 0) + 1);
  return counts;
}
