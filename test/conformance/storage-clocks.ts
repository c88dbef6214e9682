import { beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../packages/server/src/core/index.ts';
import type { RunRow, Store } from '../../packages/server/src/storage/index.ts';
import { ids, newTenant, runRow, type StoreSubject } from '../support/stores.ts';

const minutes = 60_000;

/** What is held by a process whose clock is, or was, wrong. */
export function describeClocks(subject: StoreSubject, open: () => Promise<Store>): void {
  let store: Store;
  beforeAll(async () => {
    store = await open();
  });

  /** A run that a process has claimed whose clock is so far off, and which then died without a word. */
  async function leftBy(offMs: number, leaseMs: number): Promise<RunRow> {
    const wrong = await subject.open({ ...systemClock, now: () => systemClock.now() + offMs });
    try {
      const owner = ids.next<string>('worker');
      const run = runRow(newTenant(), { status: 'queued', dueAt: 1 });
      await wrong.commit({ tenantId: run.tenantId, createRun: run });
      await wrong.heartbeat(owner, leaseMs);
      await claim(wrong, owner, run);
      return run;
    } finally {
      await wrong.close();
    }
  }

  /** Whether a claim finds the run; what other tests left is passed over. */
  async function claim(by: Store, owner: string, { runId }: RunRow): Promise<boolean> {
    for (;;) {
      const rows = await by.claimRuns(owner, 100);
      if (rows.some((row) => row.runId === runId)) return true;
      if (rows.length === 0) return false;
    }
  }

  async function claimsNow(run: RunRow): Promise<boolean> {
    const owner = ids.next<string>('worker');
    await store.heartbeat(owner, 60_000);
    return claim(store, owner, run);
  }

  describe('clocks', () => {
    it('a lease that lies further ahead than it is long counts as lost', async () => {
      // All processes on Postgres go by its clock, so that there none lies ahead.
      expect(await claimsNow(await leftBy(5 * minutes, 4_000))).toBe(subject.name === 'sqlite');
    });

    it('a lease that stands is left alone, also where a clock was corrected by less than a second', async () => {
      expect(await claimsNow(await leftBy(0, 60_000))).toBe(false);
      expect(await claimsNow(await leftBy(700, 60_000))).toBe(false);
    });

    it('a lease of a clock that is behind is over at once, where clocks are those of the processes', async () => {
      expect(await claimsNow(await leftBy(-5 * minutes, 4_000))).toBe(subject.name === 'sqlite');
    });

    it('the time is told by the database, where it has a clock', async () => {
      const wrong = await subject.open({ ...systemClock, now: () => systemClock.now() + 5 * minutes });
      const offMs = (await wrong.now()) - systemClock.now();
      await wrong.close();
      expect(Math.abs(offMs - (subject.name === 'sqlite' ? 5 * minutes : 0))).toBeLessThan(2_000);
    });
  });
}
