import type { NewEvent } from '@nexus-agent/protocol';
import pg from 'pg';
import { describe, expect, it } from 'vitest';
import { createReservationSweeper, limitOperations } from '../../packages/server/src/budget/index.ts';
import { systemClock, systemTimers } from '../../packages/server/src/core/index.ts';
import type { LedgerOperation } from '../../packages/server/src/ledger/index.ts';
import type { RunRow, Store } from '../../packages/server/src/storage/index.ts';
import { auditLedger } from '../support/ledger-invariants.ts';
import { ids, newTenant, runRow, type StoreSubject } from '../support/stores.ts';

const logger = { info: () => {}, error: () => {} };

/** Everything that takes locks, all at once, over several connections: nothing may fail, nothing may deadlock. */
export function describeLocks(subject: StoreSubject, open: () => Promise<Store>): void {
  describe('locks', () => {
    it('are taken in one order by commits, wake-ups, sweeps, claims and cancels', async () => {
      const stores = await Promise.all([open(), open(), open()]);
      const tenantId = newTenant();
      const tenant = { kind: 'tenant', id: tenantId } as const;
      const [first] = stores;
      const runs: RunRow[] = Array.from({ length: 12 }, () => runRow(tenantId, { status: 'queued', dueAt: 1 }));
      await first.commit({ tenantId, ledger: limitOperations(tenant, { tokens: 1_000_000 }) });
      for (const run of runs) {
        const ledger = limitOperations({ kind: 'run', id: run.runId }, { tokens: 10_000 });
        await first.commit({ tenantId, createRun: run, ledger });
      }
      const deadlocksBefore = await deadlocks(subject);
      const latestEnd = Date.now() + 15_000;
      const enough = 150;
      const pick = <T>(items: readonly T[]): T => items[Math.floor(Math.random() * items.length)] as T; // never empty
      let appended = 0;
      const isBusy = () => appended < enough && Date.now() < latestEnd;

      const drive = async (store: Store) => {
        const owner = ids.next<string>('worker');
        await store.heartbeat(owner, 60_000);
        const held: string[] = [];
        while (isBusy()) {
          const claimed = await store.claimRuns(owner, 2);
          await Promise.all(
            claimed.map(async (run) => {
              const reservationId = ids.next<string>('reservation');
              held.push(reservationId);
              const others = held.splice(0, 3);
              const ledger: LedgerOperation[] = [
                ...others.reverse().map((id): LedgerOperation => ({ type: 'settle', reservationId: id, actual: { tokens: 1 } })),
                {
                  type: 'reserve',
                  reservationId,
                  runId: run.runId,
                  scopes: [{ kind: 'run', id: run.runId }, { kind: 'run', id: pick(runs).runId }, tenant],
                  fixed: { tokens: 2 },
                  expiresAt: Date.now() + Math.floor(Math.random() * 40),
                },
              ];
              const event: NewEvent = { type: 'step.started', data: { step: 1 } };
              const result = await store.commit({
                tenantId,
                run: {
                  runId: run.runId,
                  epoch: run.epoch,
                  owner,
                  lastSeq: run.lastSeq,
                  patch: { status: 'waiting', waiting: { reason: 'child' }, leaseOwner: null },
                },
                events: [event],
                ledger,
                wake: [pick(runs).runId, pick(runs).runId, pick(runs).runId],
              });
              if (result.type === 'committed') appended += 1;
            }),
          );
          await store.requestCancel(tenantId, pick(runs).runId, 'test');
        }
      };
      const sweep = async (store: Store) => {
        const sweeper = createReservationSweeper({ store, clock: systemClock, timers: systemTimers, logger, intervalMs: 1000 });
        while (isBusy()) {
          await sweeper.sweep();
          await new Promise((resolve) => setTimeout(resolve, 5));
        }
      };
      await Promise.all(stores.flatMap((store) => [drive(store), drive(store), sweep(store)]));
      expect(appended).toBeGreaterThanOrEqual(enough);
      expect(await auditLedger(first, tenantId)).toEqual([]);
      for (const run of runs) {
        const found = await first.getRun(tenantId, run.runId);
        const events = await first.readEvents(tenantId, run.runId, { after: 0, limit: 100_000 });
        expect(events.map((event) => event.seq)).toEqual(Array.from({ length: found?.lastSeq ?? -1 }, (_, index) => index + 1));
      }
      expect(await deadlocks(subject)).toBe(deadlocksBefore);
    });
  });
}

/** SQLite has one writer and so none. Postgres counts them by the connection that saw one, once it has flushed its numbers. */
async function deadlocks({ location }: StoreSubject): Promise<number> {
  if (location.url === undefined) return 0;
  await new Promise((resolve) => setTimeout(resolve, 1100));
  const client = new pg.Client({ connectionString: location.url });
  await client.connect();
  try {
    const { rows } = await client.query('select deadlocks from pg_stat_database where datname = current_database()');
    return Number(rows[0]?.deadlocks);
  } finally {
    await client.end();
  }
}
