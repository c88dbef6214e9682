import fc from 'fast-check';
import { expect, it } from 'vitest';
import { createShares, type Holder, NexusError, type WaitOutcome } from '#core';
import { createManualTime } from '#core/testing';

const of = (tenantId: string, sessionId = 'one', runId?: string): Holder => ({ tenantId, sessionId, runId });
const settings = { maxWaitMs: 'things.maxWaitMs', maxWaiting: 'things.maxWaiting' };

function open(change: Partial<Parameters<typeof createShares>[0]> = {}) {
  const time = createManualTime();
  const ended: (readonly [WaitOutcome, number])[] = [];
  const depths: number[] = [];
  const shares = createShares({
    ...{ ...time, what: 'things', places: 2, spare: 2, maxWaitMs: 10_000, maxWaiting: 100, settings },
    observer: { depth: (waiting) => depths.push(waiting), ended: (outcome, waitedMs) => ended.push([outcome, waitedMs]) },
    ...change,
  });
  return { time, shares, ended, depths };
}

/** Enters and notes the order in which places were given out. */
function queue(shares: ReturnType<typeof createShares>) {
  const order: string[] = [];
  const leaves = new Map<string, () => void>();
  const enter = (name: string, holder: Holder) =>
    void shares.enter(holder).then((entry) => {
      order.push(name);
      leaves.set(name, () => entry.leave());
    });
  const leave = async (name: string) => {
    leaves.get(name)?.();
    await settled();
  };
  return { order, enter, leave };
}
const settled = () => new Promise<void>((resolve) => setImmediate(resolve));

it('gives one tenant all places, and keeps the spare ones for others [verifies hostile.shares.turns]', async () => {
  const { order, enter, leave } = queue(open().shares);
  for (let index = 0; index < 10; index++) enter(`a${index}`, of('a'));
  await settled();
  expect(order).toEqual(['a0', 'a1']);
  enter('b', of('b'));
  enter('c', of('c'));
  enter('d', of('d'));
  await settled();
  expect(order.slice(2)).toEqual(['b', 'c']);
  await leave('a0');
  expect(order.slice(4)).toEqual(['d']);
});

it('gives what becomes free to whoever has least, in turns [verifies hostile.shares.turns]', async () => {
  const { shares } = open({ places: 1, spare: 0 });
  const { order, enter, leave } = queue(shares);
  for (const name of ['a0', 'a1', 'a2', 'a3']) enter(name, of('a'));
  for (const name of ['b0', 'b1']) enter(name, of('b'));
  for (const name of ['c0']) enter(name, of('c', 'x'));
  await settled();
  for (const name of ['a0', 'a1', 'b0', 'c0', 'a2', 'b1', 'a3']) {
    expect(order.at(-1)).toBe(name);
    await leave(name);
  }
  expect(shares).toMatchObject({ inUse: 0, waiting: 0 });
});

it('gives it to whoever has fewest places, also where another one waits longer [verifies hostile.shares.turns]', async () => {
  const { order, enter, leave } = queue(open({ places: 4, spare: 0 }).shares);
  for (const name of ['a0', 'a1']) enter(name, of('a'));
  enter('b0', of('b'));
  enter('c0', of('c'));
  for (const name of ['a2', 'b1']) enter(name, of(name.charAt(0)));
  await settled();
  expect(order).toEqual(['a0', 'a1', 'b0', 'c0']);
  await leave('c0');
  expect(order.slice(4)).toEqual(['b1']);
});

it('lets the sessions of a tenant, and the runs of a session, take turns, and one more have a spare place than the tenant has places', async () => {
  const { order, enter, leave } = queue(open().shares);
  for (let index = 0; index < 5; index++) enter(`long ${index}`, of('a', 'long', 'first'));
  enter('run', of('a', 'long', 'second'));
  enter('session', of('a', 'second'));
  enter('other', of('b'));
  await settled();
  expect(order).toEqual(['long 0', 'long 1', 'run', 'other']);
  await leave('run');
  expect(order.slice(4)).toEqual([]); // the last spare place is for tenants that have none
  await leave('other');
  expect(order.slice(4)).toEqual(['session']);
});

it('lets what waits wait for as long as it may, whoever and however many there are, and says what to do then [verifies queue.bounded-by-time]', async () => {
  const { time, shares, ended } = open({ places: 1, spare: 0, maxWaiting: 10_000 });
  const first = await shares.enter(of('a'));
  const waits = Array.from({ length: 3_000 }, (_, index) => shares.enter(of(`tenant ${index % 7}`, `${index % 50}`)));
  void Promise.allSettled(waits);
  await time.advance(9_999);
  expect(shares.waiting).toBe(3_000);
  first.leave();
  await expect(waits[0]).resolves.toMatchObject({ waitedMs: 9_999 });
  await time.advance(1);
  expect(shares).toMatchObject({ waiting: 0, inUse: 1 });
  await expect(waits[1]).rejects.toMatchObject({
    code: 'rate_limited',
    retryable: true,
    retryAfterMs: 1_000,
    details: { what: 'things', limit: 10_000, waitedMs: 10_000 },
    message: expect.stringMatching(/waited 10\.0 s for its turn .*things\.maxWaitMs.* did not begin: try again later/),
  });
  expect(ended.filter(([outcome]) => outcome === 'timed_out')).toHaveLength(2_999);
  expect(ended.filter(([outcome]) => outcome === 'served')).toEqual([
    ['served', 0],
    ['served', 9_999],
  ]);
  expect(time.pending).toBe(0);
});

it('tells a call whose own time ends in the queue that it did not begin, and one that is cancelled nothing', async () => {
  const { time, shares, ended } = open({ places: 1, spare: 0 });
  await shares.enter(of('a'));
  const [hurried, cancelled] = [new AbortController(), new AbortController()];
  const [late, left] = [shares.enter(of('a'), hurried.signal), shares.enter(of('a'), cancelled.signal)];
  void Promise.allSettled([late, left]);
  await time.advance(2_500);
  hurried.abort(new NexusError('tool_timeout', 'the tool did not finish'));
  cancelled.abort(new NexusError('cancelled', 'the run was cancelled'));
  await expect(late).rejects.toMatchObject({
    code: 'rate_limited',
    details: { waitedMs: 2_500 },
    message: expect.stringContaining('no more time'),
  });
  await expect(left).rejects.toBe(cancelled.signal.reason);
  expect(ended.slice(1)).toEqual([
    ['timed_out', 2_500],
    ['cancelled', 2_500],
  ]);
  expect(shares.waiting).toBe(0);
  expect(time.pending).toBe(0);
});

it('bounds how many wait in all, so that one tenant leaves room for the others [verifies queue.bounded-memory]', async () => {
  const { shares, ended } = open({ places: 1, spare: 0, maxWaiting: 8 });
  await shares.enter(of('a'));
  const of4 = Array.from({ length: 5 }, () => shares.enter(of('a')));
  void Promise.allSettled(of4);
  await expect(of4[4]).rejects.toMatchObject({
    code: 'rate_limited',
    retryable: true,
    retryAfterMs: 5_000,
    details: { what: 'things', limit: 8, used: 4, running: 1 },
    message: expect.stringContaining('things.maxWaiting'),
  });
  expect(ended.at(-1)).toEqual(['refused', 0]);
  const b = [shares.enter(of('b')), shares.enter(of('b')), shares.enter(of('b'))];
  void Promise.allSettled(b);
  await expect(b[2]).rejects.toMatchObject({ details: { used: 2 } });
  const c = shares.enter(of('c'));
  expect(shares.waiting).toBe(7);
  const error = new Error('closed');
  shares.close(error);
  await expect(Promise.all([c])).rejects.toBe(error);
});

it('forgets who gives up waiting, and gives no place twice', async () => {
  const { time, shares, depths } = open({ places: 1, spare: 0 });
  const entry = await shares.enter(of('a'));
  const controller = new AbortController();
  const waits = shares.enter(of('b'), controller.signal);
  controller.abort(new Error('gone'));
  await expect(waits).rejects.toThrow('gone');
  expect(shares.waiting).toBe(0);
  entry.leave();
  entry.leave();
  expect(shares.inUse).toBe(0);
  await expect(shares.enter(of('a'))).resolves.toMatchObject({ waitedMs: 0 });
  const late = [shares.enter(of('c')), shares.enter(of('c'))];
  shares.close(new Error('closed'));
  for (const each of late) await expect(each).rejects.toThrow('closed');
  await expect(shares.enter(of('d'))).rejects.toThrow('closed');
  expect(depths.at(-1)).toBe(0);
  expect(time.pending).toBe(0);
});

it('wakes everybody in the end and leaks no place, whatever is cancelled and whenever [verifies queue.turns]', async () => {
  const call = fc.record({
    holder: fc.record({ tenantId: fc.constantFrom('a', 'b'), sessionId: fc.constantFrom('x', 'y'), runId: fc.constantFrom('1', '2') }),
    afterMs: fc.nat(3_000),
    worksMs: fc.nat(2_000),
    leavesMs: fc.option(fc.nat(6_000)),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(call, { minLength: 2, maxLength: 40 }), fc.nat(2), async (calls, spare) => {
      const { time, shares } = open({ places: 1, spare });
      let done = 0;
      const all = calls.map(async ({ holder, afterMs, worksMs, leavesMs }) => {
        await time.timers.sleep(afterMs);
        const leaving = new AbortController();
        const cancel = leavesMs === null ? () => undefined : time.timers.after(leavesMs, () => leaving.abort(new Error('left')));
        try {
          const entry = await shares.enter(holder, leaving.signal);
          expect(entry.waitedMs).toBeLessThanOrEqual(10_000);
          await time.timers.sleep(worksMs);
          entry.leave();
        } catch (error) {
          if (!leaving.signal.aborted && !(error instanceof NexusError && error.code === 'rate_limited')) throw error;
        } finally {
          cancel();
          done += 1;
        }
      });
      for (let round = 0; done < calls.length && round < 300; round++) await time.advance(100);
      await Promise.all(all);
      expect({ inUse: shares.inUse, waiting: shares.waiting, pending: time.pending }).toEqual({ inUse: 0, waiting: 0, pending: 0 });
    }),
    { numRuns: 40 },
  );
});
