import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { systemClock, systemTimers } from '../../packages/server/src/core/index.ts';
import { ledgerRules } from '../../packages/server/src/ledger/index.ts';
import { createStore } from '../../packages/server/src/storage/drivers/index.ts';
import type { RunRow, Store } from '../../packages/server/src/storage/index.ts';
import { openTestDriver, withDatabaseClock } from '../support/drivers.ts';
import { ids, newTenant, runRow, type StoreSubject } from '../support/stores.ts';

const minutes = 60_000;

/** What is held by a process whose clock is, or was, wrong. */
export function describeClocks(subject: StoreSubject, open: () => Promise<Store>, fresh: () => Promise<StoreSubject>): void {
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

  describe('clocks that are set', () => {
    const others: Store[] = [];
    let own: StoreSubject;
    beforeEach(async () => {
      own = await fresh();
    });
    afterEach(async () => {
      for (const each of others.splice(0)) await each.close();
      await own.close();
    });

    it('what is reserved without a run expires by the clock of the database, whatever day its process takes it for', async () => {
      const clock = { ...systemClock, now: () => systemClock.now() + 3 * 24 * 60 * minutes };
      const driver = withDatabaseClock(await openTestDriver(own.location), () => 0);
      const wrong = createStore({ driver, ledgerRules, clock, timers: systemTimers, ids, timeoutMs: 8_000 });
      others.push(wrong);
      const tenantId = newTenant();
      const call = { type: 'reserve', runId: null, scopes: [{ kind: 'tenant', id: tenantId }], fixed: { toolCalls: 1 } } as const;
      await wrong.commit({ tenantId, ledger: [{ ...call, reservationId: 'r', expiresAt: clock.now() + minutes, lifeMs: minutes }] });
      const [held] = await wrong.listReservations(tenantId, {});
      expect(Math.abs((held?.expiresAt ?? 0) - systemClock.now())).toBeLessThan(10 * minutes);
    });

    const leaseMs = 4_000;
    /** A clock of the database that can be set, and processes that measure time as it passes. */
    function steppingTime() {
      let [stepped, passed] = [0, 0];
      return {
        async open(): Promise<Store> {
          const clock = { now: () => systemClock.now() + passed + stepped, monotonic: () => systemClock.monotonic() + passed };
          const driver = withDatabaseClock(await openTestDriver(own.location), () => passed + stepped);
          const opened = createStore({ driver, ledgerRules, clock, timers: systemTimers, ids, timeoutMs: 8_000 });
          others.push(opened);
          for (const owner of ['other', 'after']) await opened.heartbeat(owner, 60 * minutes);
          return opened;
        },
        step(byMs: number) {
          stepped += byMs;
        },
        /** Processes that live look at the clock now and then. */
        async pass(ms: number) {
          passed += ms;
          for (const each of others) await each.heartbeat('looks', 60 * minutes);
        },
      };
    }

    /** A run that is driven by a worker of this name, more or less. */
    async function held(by: Store, owner: string): Promise<RunRow> {
      const run = runRow(newTenant(), { status: 'running', epoch: 1, leaseOwner: owner });
      await by.commit({ tenantId: run.tenantId, createRun: run });
      await by.heartbeat(owner, leaseMs);
      return run;
    }

    const ownerOf = async ({ tenantId, runId }: RunRow) => (await others[0]?.getRun(tenantId, runId))?.leaseOwner;

    it('a lease that lies further ahead than it is long counts as lost, unless it is renewed for as long as it is', async () => {
      const time = steppingTime();
      const [seen, other] = [await time.open(), await time.open()];
      const [dead, alive] = [await held(seen, 'dead'), await held(seen, 'alive')];
      time.step(-5 * minutes);
      expect(await claim(other, 'other', dead)).toBe(false);
      await time.pass(leaseMs / 2);
      await seen.heartbeat(alive.leaseOwner ?? '', leaseMs);
      await time.pass(leaseMs / 2 + 100);
      expect(await claim(other, 'other', alive)).toBe(false);
      expect(await ownerOf(dead)).toBe('other');
    });

    it('nobody is taken for dead because the clock was set forward [verifies durability.clock]', async () => {
      const time = steppingTime();
      const [seen, other] = [await time.open(), await time.open()];
      const [dead, alive] = [await held(seen, 'dead'), await held(seen, 'alive')];
      await claim(other, 'other', dead);
      await time.pass(100);
      time.step(minutes);
      expect(await claim(other, 'other', dead)).toBe(false);
      await time.pass(leaseMs / 2);
      await seen.heartbeat(alive.leaseOwner ?? '', leaseMs);
      await time.pass(leaseMs / 2 + 100);
      expect(await claim(other, 'other', alive)).toBe(false);
      expect(await ownerOf(dead)).toBe('other');
    });

    it('what was due is due, also when the clock was set back', async () => {
      const time = steppingTime();
      const [seen, other] = [await time.open(), await time.open()];
      const due = runRow(newTenant(), { status: 'queued', dueAt: (await seen.now()) - 1 });
      const later = runRow(due.tenantId, { status: 'waiting', dueAt: (await seen.now()) + 10 * minutes });
      for (const createRun of [due, later]) await seen.commit({ tenantId: due.tenantId, createRun });
      await other.claimRuns('other', 0);
      time.step(-minutes);
      expect(await claim(other, 'other', due)).toBe(true);
      expect(await ownerOf(later)).toBe(null);
      const again = runRow(due.tenantId, { status: 'queued', dueAt: (await seen.now()) + 2_000 });
      await seen.commit({ tenantId: due.tenantId, createRun: again });
      expect(await claim(other, 'other', again)).toBe(false);
      await time.pass(2_001);
      expect(await claim(other, 'other', again)).toBe(true);
    });

    it('what was due under a clock ahead is due, also to processes that began when it was right again', async () => {
      const time = steppingTime();
      time.step(minutes);
      const before = await time.open();
      await held(before, 'dead');
      const due = runRow(newTenant(), { status: 'queued', dueAt: await before.now() });
      await before.commit({ tenantId: due.tenantId, createRun: due });
      time.step(-minutes);
      const after = await time.open();
      expect(await claim(after, 'after', due)).toBe(false);
      await time.pass(leaseMs + 100);
      expect(await claim(after, 'after', due)).toBe(true);
    });

    it('a job is not left alone because its last owner had a clock ahead', async () => {
      const time = steppingTime();
      const store = await time.open();
      time.step(minutes);
      expect(await store.claimJob('sweeping', 'dead', 4_000)).toBe(true);
      expect(await store.claimJob('sweeping', 'other', 4_000)).toBe(false);
      time.step(-minutes);
      expect(await store.claimJob('sweeping', 'other', 4_000)).toBe(true);
    });
  });
}
