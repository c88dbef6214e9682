import type { RunId, TenantId } from '@nexus-agent/protocol';
import { describe, expect, it } from 'vitest';
import { NexusError } from '#core';
import { createManualTime, type ManualTime } from '#core/testing';
import { silentLogger } from '#telemetry/testing';
import { createLease, type Lease } from './lease.ts';

const run = { tenantId: 'default' as TenantId, runId: 'run_x' as RunId, epoch: 1 };
const unavailable = () => Promise.reject(new NexusError('storage_unavailable', 'the store is away'));
const settings = { leaseMs: 4_000, heartbeatMs: 1_000 };

interface LeaseLog {
  readonly cancelled: string[];
  readonly gaps: number[];
}

describe('a lease', () => {
  function leaseOn(time: ManualTime, heartbeat: () => Promise<void> = async () => undefined): Lease & LeaseLog {
    const cancelled: string[] = [];
    const gaps: number[] = [];
    const lease = createLease({
      clock: time.clock,
      logger: silentLogger,
      workerId: 'w',
      settings,
      liveRuns: () => 0,
      store: {
        async heartbeat() {
          await heartbeat();
          return { cancelRequested: [{ ...run, reason: 'enough' }], leastElsewhere: null };
        },
      },
      onCancel: ({ reason }) => cancelled.push(reason),
      onGap: () => gaps.push(time.clock.monotonic()),
    });
    return { ...lease, cancelled, gaps };
  }

  it('does not stand before the first sign of life, and ends without another', async () => {
    const time = createManualTime();
    const lease = leaseOn(time);
    expect(lease.stands()).toBe(false);
    await lease.beat();
    expect(lease.stands()).toBe(true);
    expect(lease.isLate()).toBe(false);
    await time.advance(2_001);
    expect(lease.isLate()).toBe(true);
    await time.advance(2_000);
    expect(lease.stands()).toBe(false);
  });

  it('counts from before the request, however long its answer takes', async () => {
    const time = createManualTime();
    const lease = leaseOn(time, () => time.timers.sleep(3_900));
    const beat = lease.beat();
    await time.advance(3_900);
    await beat;
    expect(lease.stands()).toBe(true);
    await time.advance(100);
    expect(lease.stands()).toBe(false);
  });

  it('that ended before the next sign of life is told, once, with how long it was and what is driven', async () => {
    const time = createManualTime();
    const told: object[] = [];
    const lease = createLease({
      clock: time.clock,
      logger: { warn: (fields, message) => void told.push({ ...fields, message }) },
      workerId: 'w',
      settings,
      liveRuns: () => 3,
      store: { heartbeat: async () => ({ cancelRequested: [], leastElsewhere: null }) },
      onCancel: () => undefined,
      onGap: () => undefined,
    });
    await lease.beat(); // the first one is not late
    await time.advance(3_999);
    await lease.beat();
    expect(told).toEqual([]);
    await time.advance(20_000);
    await lease.beat();
    await lease.beat();
    expect(told).toEqual([
      {
        ...{ silentMs: 20_000, leaseMs: 4_000, runs: 3 },
        message: 'this process gave no sign of life for longer than its lease: others may have taken its runs over',
      },
    ]);
  });

  it('stood all the time since a moment unless there was a gap in between, which is told once it is over', async () => {
    const time = createManualTime();
    let answer = Promise.withResolvers<void>();
    answer.resolve();
    const lease = leaseOn(time, () => answer.promise);
    expect(lease.stoodSince(time.clock.monotonic())).toBe(false);
    await lease.beat();
    const begun = time.clock.monotonic();
    expect(lease.stoodSince(begun)).toBe(true);
    expect(lease.stoodSince(begun - 1)).toBe(false);
    await time.advance(3_999);
    await lease.beat();
    expect(lease.stoodSince(begun)).toBe(true);
    expect(lease.gaps).toEqual([]); // nor is the first sign of life the end of one
    // A sign of life that is sent in time and heard of too late: the lease may have ended before the store had it.
    await time.advance(3_000);
    answer = Promise.withResolvers<void>();
    const beat = lease.beat();
    await time.advance(1_000);
    answer.resolve();
    await beat;
    expect(lease.stands()).toBe(true);
    expect(lease.gaps).toEqual([time.clock.monotonic()]);
    expect(lease.stoodSince(time.clock.monotonic() - 1)).toBe(false);
    expect(lease.stoodSince(time.clock.monotonic())).toBe(true);
  });

  it('is renewed once for all who ask at nearly the same time, and anew for who asks later', async () => {
    const time = createManualTime();
    let asked = 0;
    const pending: (() => void)[] = [];
    const lease = leaseOn(time, () => {
      asked += 1;
      return new Promise((resolve) => pending.push(resolve));
    });
    const first = [lease.beat(), lease.beat()];
    await time.advance(999);
    first.push(lease.beat());
    expect(asked).toBe(1);
    await time.advance(1);
    const later = lease.beat();
    expect(asked).toBe(2);
    for (const resolve of pending) resolve();
    await Promise.all([...first, later]);
    void lease.beat();
    expect(asked).toBe(3);
  });

  it('runs on as it was when the store does not answer', async () => {
    const time = createManualTime();
    let fails = false;
    const lease = leaseOn(time, () => (fails ? unavailable() : Promise.resolve()));
    await lease.beat();
    fails = true;
    await time.advance(3_999);
    await expect(lease.beat()).rejects.toMatchObject({ code: 'storage_unavailable' });
    expect(lease.stands()).toBe(true);
    await time.advance(1);
    expect(lease.stands()).toBe(false);
  });

  it('ends by whichever clock has gone on: one stands still while the machine sleeps, the other may be set back', async () => {
    const at = { monotonic: 0, wall: 0 };
    const lease = createLease({
      clock: { now: () => at.wall, monotonic: () => at.monotonic },
      logger: silentLogger,
      workerId: 'w',
      settings,
      liveRuns: () => 0,
      store: { heartbeat: async () => ({ cancelRequested: [], leastElsewhere: null }) },
      onCancel: () => undefined,
      onGap: () => undefined,
    });
    for (const passed of [
      { monotonic: 10, wall: 4_000 },
      { monotonic: 4_000, wall: -3_600_000 },
    ]) {
      await lease.beat();
      expect(lease.stands()).toBe(true);
      at.monotonic += passed.monotonic;
      at.wall += passed.wall;
      expect(lease.stands()).toBe(false);
      expect(lease.isLate()).toBe(true);
    }
  });

  it('says how many runs are driven, and tells whether another process has far fewer', async () => {
    const said: unknown[] = [];
    let live = 0;
    let leastElsewhere: number | null = null;
    const lease = createLease({
      clock: createManualTime().clock,
      logger: silentLogger,
      workerId: 'w',
      settings,
      liveRuns: () => live,
      store: {
        async heartbeat(_worker, _lease, liveRuns) {
          said.push(liveRuns);
          return { cancelRequested: [], leastElsewhere };
        },
      },
      onCancel: () => undefined,
      onGap: () => undefined,
    });
    live = 1_000;
    await lease.beat();
    expect(lease.isBusier()).toBe(false); // alone
    leastElsewhere = 0;
    await lease.beat();
    expect(lease.isBusier()).toBe(true);
    live = 4;
    expect(lease.isBusier()).toBe(false);
    leastElsewhere = 50;
    await lease.beat();
    live = 105;
    expect(lease.isBusier()).toBe(true);
    live = 104;
    expect(lease.isBusier()).toBe(false);
    expect(said).toEqual([1_000, 1_000, 4]);
  });

  it('tells which runs were asked to cancel with every beat', async () => {
    const lease = leaseOn(createManualTime());
    await lease.beat();
    await lease.beat();
    expect(lease.cancelled).toEqual(['enough', 'enough']);
  });
});
