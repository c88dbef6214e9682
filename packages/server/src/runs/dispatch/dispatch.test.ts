import type { RunId, TenantId } from '@nexus-agent/protocol';
import { describe, expect, it } from 'vitest';
import { NexusError } from '#core';
import { createManualTime } from '#core/testing';
import type { ClaimedRun, RunRow } from '#storage';
import { silentLogger } from '#telemetry/testing';
import { createClaims } from './claims.ts';
import type { Lease } from './lease.ts';
import { createPlaces } from './places.ts';
import type { RunClaim } from './port.ts';
import { createRounds } from './rounds.ts';
import { createUndrivenRuns } from './undriven.ts';
import { createWakeTopic } from './wake.ts';

const tenantId = 'default' as TenantId;
const claimOf = (name: string, epoch = 1): RunClaim => ({ tenantId, runId: `run_${name}` as RunId, epoch });
const unavailable = () => Promise.reject(new NexusError('storage_unavailable', 'the store is away'));

describe('runs that a worker owns and does not drive', () => {
  function undriven(row: Partial<RunRow> | null, fails: () => boolean = () => false) {
    const commits: unknown[] = [];
    const driven = new Set<string>();
    const runs = createUndrivenRuns({
      clock: createManualTime(0).clock,
      workerId: 'w',
      logger: silentLogger,
      isDriven: ({ runId }) => driven.has(runId),
      restMs: () => 2_000,
      store: {
        getRun: async () => (fails() ? unavailable() : (row as RunRow | null)), // of a row only what is looked at
        async commit(commit) {
          commits.push(commit.run);
          return { type: 'committed', at: 0, events: [], outcomes: [] };
        },
      },
    });
    return { runs, commits, driven };
  }
  const mine = { leaseOwner: 'w', epoch: 1, status: 'running' as const, lastSeq: 7 };

  it('go back to the queue under the fence, to rest for a while', async () => {
    const { runs, commits } = undriven(mine);
    await runs.giveBack(claimOf('a'));
    await runs.retry();
    expect(commits).toEqual([
      { runId: 'run_a', epoch: 1, owner: 'w', lastSeq: 7, patch: { status: 'queued', leaseOwner: null, dueAt: 2_000 } },
    ]);
  });

  it.each([
    ['another owner', { ...mine, leaseOwner: 'v' }],
    ['another epoch', { ...mine, epoch: 2 }],
    ['another status', { ...mine, status: 'waiting' as const }],
    ['no such run', null],
  ])('stay as they are: %s', async (_, row) => {
    const { runs, commits } = undriven(row);
    await runs.giveBack(claimOf('a'));
    expect(commits).toEqual([]);
  });

  it('are tried again while the store is away, and never twice once it was done', async () => {
    let away = true;
    const { runs, commits } = undriven(mine, () => away);
    await runs.giveBack(claimOf('a'));
    await runs.retry();
    expect(commits).toEqual([]);
    away = false;
    await runs.retry();
    await runs.retry();
    expect(commits).toHaveLength(1);
  });

  it('of a later epoch are not forgotten for what is told of an earlier one, in whichever order', async () => {
    let away = true;
    const later = { ...mine, epoch: 2 };
    const { runs, commits } = undriven(later, () => away);
    await runs.giveBack(claimOf('a', 2));
    away = false;
    await runs.giveBack(claimOf('a', 1)); // its work was given up only now
    expect(commits).toEqual([]);
    await runs.retry();
    expect(commits).toMatchObject([{ runId: 'run_a', epoch: 2 }]);
    runs.add(claimOf('b', 2));
    runs.add(claimOf('b', 1));
    await runs.retry();
    expect(commits).toMatchObject([{}, { runId: 'run_b', epoch: 2 }]);
  });

  it('are forgotten when this process drives them after all', async () => {
    const { runs, commits, driven } = undriven(mine);
    runs.add(claimOf('a'));
    driven.add('run_a');
    await runs.retry();
    driven.clear();
    await runs.retry();
    expect(commits).toEqual([]);
  });
});

describe('claims', () => {
  function claims(options: {
    claim: (limit: number, restMs: number | undefined) => Promise<readonly RunClaim[]>;
    owned?: readonly RunClaim[];
    late?: boolean;
    busier?: boolean;
    room?: number | (() => number);
  }) {
    const taken: string[] = [];
    const found: string[] = [];
    const room = () => (typeof options.room === 'function' ? options.room() : (options.room ?? 10));
    const most = 10_000;
    const places = createPlaces({ most, live: () => most - room(), freed: () => undefined });
    let beats = 0;
    const lease: Lease = {
      beat: async () => void beats++,
      stands: () => true,
      stoodSince: () => true,
      isBusier: () => options.busier === true,
      isLate: () => options.late === true,
    };
    const subject = createClaims({
      lease,
      workerId: 'w',
      logger: silentLogger,
      places,
      isClosed: () => false,
      restMs: 500,
      take: async ({ runId }) => void taken.push(runId),
      found: ({ runId }) => found.push(runId),
      store: {
        claimRuns: async (_, limit, restMs) => (await options.claim(limit, restMs)) as ClaimedRun[],
        ownedRuns: async () => options.owned ?? [],
      }, // of a row only what is looked at
    });
    return { subject, taken, found, places, beats: () => beats };
  }

  it('go on while a claim is full, and look once more when asked meanwhile', async () => {
    const limits: number[] = [];
    let left = 25;
    const { subject, taken } = claims({
      room: 10,
      async claim(limit) {
        limits.push(limit);
        const count = Math.min(limit, left);
        left -= count;
        return Array.from({ length: count }, (_, index) => claimOf(`${limits.length}.${index}`));
      },
    });
    subject.claimSoon();
    subject.claimSoon();
    await expect.poll(() => taken.length).toBe(25);
    await subject.stop();
    expect(limits).toEqual([10, 10, 10]);
  });

  it('never take more than there is room for, nor anything without room', async () => {
    const limits: number[] = [];
    const count = async (limit: number) => {
      limits.push(limit);
      return [];
    };
    const full = claims({ room: 0, claim: count });
    full.subject.claimSoon();
    await full.subject.stop();
    expect(limits).toEqual([]);
    const wide = claims({ room: 5_000, claim: count });
    wide.subject.claimSoon();
    await wide.subject.stop();
    expect(limits.every((limit) => limit <= 100)).toBe(true);
  });

  it('hold the places of what they may take until it is taken up, and none afterwards', async () => {
    const free: number[] = [];
    let fails = false;
    const { subject, places } = claims({
      room: 10,
      async claim() {
        free.push(places.free);
        return fails ? await unavailable() : [claimOf('a'), claimOf('b')];
      },
    });
    const seen = () => new Promise((resolve) => setImmediate(resolve));
    subject.claimSoon();
    await seen();
    expect(places.free).toBe(10);
    fails = true;
    subject.claimSoon();
    await seen();
    expect(free).toEqual([0, 0]);
    expect(places.free).toBe(10);
    const leave = places.hold(4);
    expect(places.free).toBe(6);
    leave();
    leave();
    expect(places.free).toBe(10);
  });

  it('look as soon as there is room, when there was none, and not at each room that is made', async () => {
    const limits: number[] = [];
    let room = 0;
    const { subject } = claims({
      room: () => room,
      async claim(limit) {
        limits.push(limit);
        return [];
      },
    });
    const settled = () => new Promise((resolve) => setImmediate(resolve));
    subject.claimSoon();
    await settled();
    expect(limits).toEqual([]);
    room = 2;
    subject.madeRoom();
    await settled();
    subject.madeRoom();
    await settled();
    expect(limits).toEqual([2]);
  });

  it('look once more when they are asked just as they end, in whichever turn that is', async () => {
    for (let turns = 0; turns < 20; turns++) {
      let asked = 0;
      const { subject } = claims({
        async claim() {
          asked += 1;
          if (asked === 1) void askAgainAfter(turns);
          return [];
        },
      });
      const askAgainAfter = async (left: number) => {
        for (; left > 0; left--) await Promise.resolve();
        subject.claimSoon();
      };
      subject.claimSoon();
      await new Promise((resolve) => setImmediate(resolve));
      expect({ turns, asked }).toEqual({ turns, asked: 2 });
    }
  });

  it('look for what a failed claim may have taken before the next one', async () => {
    let fails = true;
    const { subject, found } = claims({ owned: [claimOf('lost')], claim: () => (fails ? unavailable() : Promise.resolve([])) });
    subject.claimSoon();
    await new Promise((resolve) => setImmediate(resolve));
    expect(found).toEqual([]);
    fails = false;
    subject.claimSoon();
    await expect.poll(() => found).toEqual(['run_lost']);
    subject.claimSoon();
    await subject.stop();
    expect(found).toEqual(['run_lost']);
  });

  it('come after a sign of life when the last one is old', async () => {
    const { subject, beats } = claims({ late: true, claim: async () => [] });
    subject.claimSoon();
    await expect.poll(beats).toBe(1);
    await subject.stop();
  });

  it('leave what came to the queue just now to others where those have far fewer runs', async () => {
    for (const [busier, expected] of [
      [true, 500],
      [false, 0],
    ] as const) {
      const rests: unknown[] = [];
      const { subject } = claims({
        busier,
        async claim(_, restMs) {
          rests.push(restMs);
          return [];
        },
      });
      subject.claimSoon();
      await expect.poll(() => rests).toEqual([expected]);
      await subject.stop();
    }
  });

  it('claim nothing once they are stopped', async () => {
    const asked: number[] = [];
    const { subject } = claims({
      claim: async (limit) => {
        asked.push(limit);
        return [];
      },
    });
    await subject.stop();
    subject.claimSoon();
    await subject.stop();
    expect(asked).toEqual([]);
  });
});

describe('wake-ups', () => {
  function topic(spansProcesses: boolean, here = false) {
    const listeners = new Set<(message: string) => void>();
    const published: string[] = [];
    const received: unknown[] = [];
    const bus = {
      spansProcesses,
      publish: (_: string, message: string) => void published.push(message),
      subscribe: (_: string, listener: (message: string) => void) => {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
      close: async () => undefined,
    };
    const subject = createWakeTopic(bus, { isHere: () => here, receive: (message) => received.push(message) });
    return { subject, published, received, listeners };
  }
  const message = { tenantId, runId: 'run_01h455vb4pex5vsknk084sn02q' as RunId, cancel: 'enough' };

  it('go to every process where there are several, and straight to a run that is driven here where there is one', () => {
    const several = topic(true, true);
    several.subject.wake(message);
    expect(several.published).toEqual([JSON.stringify(message)]);
    const alone = topic(false, true);
    alone.subject.wake(message);
    expect([alone.published, alone.received]).toEqual([[], [message]]);
  });

  it('ignore what is no wake-up', () => {
    const { subject, received, listeners } = topic(true);
    subject.listen();
    for (const text of ['', '{', 'null', '[]', '{"tenantId":"default"}', '{"tenantId":"default","runId":"x"}', JSON.stringify(message)])
      for (const listener of listeners) listener(text);
    expect(received).toEqual([message]);
    subject.close();
    expect(listeners.size).toBe(0);
  });
});

describe('rounds', () => {
  it('go on after a failure, wait between two of them, and end at once', async () => {
    const time = createManualTime();
    const rounds = createRounds({ timers: time.timers, logger: silentLogger });
    let ran = 0;
    rounds.every(100, 'the work', async () => {
      ran += 1;
      await time.timers.sleep(50);
      if (ran === 1) throw new Error('once');
    });
    await time.advance(99);
    expect(ran).toBe(0);
    await time.advance(1);
    expect(ran).toBe(1);
    await time.advance(149);
    expect(ran).toBe(1);
    await time.advance(1);
    expect(ran).toBe(2);
    const stopped = rounds.stop();
    await time.advance(50);
    await stopped;
    await time.advance(1_000);
    expect(ran).toBe(2);
  });
});
