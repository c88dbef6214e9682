import { describe, expect, it } from 'vitest';
import { createTurnShare, type SharePlace, type TurnShare } from './turn-share.ts';

/** Time passes by work alone, so that what comes out depends on no machine. */
const clock = { ms: 0, monotonic: () => clock.ms };
const burn = (ms: number) => {
  clock.ms += ms;
};
const shareMs = 2;

/** Turns of the event loop, counted until it is over. */
function countTurns() {
  const turns = { now: 0, over: false };
  setImmediate(function next() {
    turns.now += 1;
    if (!turns.over) setImmediate(next);
  });
  return turns;
}
type Turns = ReturnType<typeof countTurns>;

/** Does work in slices for as long as it may, and has always more; how long it has worked. */
function greedy(share: TurnShare, turns: Turns, sliceMs: number) {
  const done = { ms: 0 };
  const work = () => {
    for (let now = clock.monotonic(); !turns.over; ) {
      if (place.mustWait(now)) return;
      const began = now;
      burn(sliceMs);
      now = clock.monotonic();
      place.took(now - began, now);
      done.ms += now - began;
    }
  };
  const place: SharePlace = share.join(work);
  work();
  return done;
}

/** Has a little to do every third turn; how many turns it waited each time. */
async function modest(share: TurnShare, turns: Turns, times: number): Promise<number[]> {
  const waited: number[] = [];
  let done = () => {};
  const work = () => {
    const began = clock.monotonic();
    if (place.mustWait(began)) return;
    burn(0.02);
    const now = clock.monotonic();
    place.took(now - began, now);
    done();
  };
  const place = share.join(work);
  for (let time = 0; time < times; time++) {
    for (const from = turns.now; turns.now < from + 3; ) await new Promise(setImmediate);
    const asked = turns.now;
    await new Promise<void>((resolve) => {
      done = resolve;
      work();
    });
    waited.push(turns.now - asked);
  }
  return waited;
}

describe('the share of a turn', () => {
  it('goes first to who took least, so that much work of others is not waited for [verifies hostile.provider.turns]', async () => {
    const turns = countTurns();
    const share = createTurnShare(shareMs, clock);
    const others = Array.from({ length: 40 }, () => greedy(share, turns, 0.3));
    const waited = await modest(share, turns, 30);
    turns.over = true;
    // All are new at first, and each goes on for a moment only: 40 slices of 0.3 ms take six turns of 2 ms.
    expect(waited[0]).toBeLessThanOrEqual(12);
    expect(Math.max(...waited.slice(5))).toBeLessThanOrEqual(3);
    // Those who want all of it have as much each.
    const times = others.map(({ ms }) => ms);
    expect(Math.min(...times)).toBeGreaterThan(0);
    expect(Math.max(...times)).toBeLessThan(4 * Math.min(...times) + 2);
  });

  it('is all one has in a turn, and all of it where nobody else wants some', async () => {
    const turns = countTurns();
    const share = createTurnShare(shareMs, clock);
    const alone = greedy(share, turns, 0.1);
    while (turns.now < 50) await new Promise(setImmediate);
    turns.over = true;
    expect(alone.ms / turns.now).toBeGreaterThan(0.9 * shareMs);
    expect(alone.ms / turns.now).toBeLessThan(1.2 * shareMs);
  });

  it('is told to nobody who has left', async () => {
    const turns = countTurns();
    const share = createTurnShare(shareMs, clock);
    greedy(share, turns, 0.3);
    let isTold = false;
    const place = share.join(() => {
      isTold = true;
    });
    expect(place.mustWait(clock.monotonic())).toBe(true);
    place.leave();
    for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
    turns.over = true;
    expect(isTold).toBe(false);
  });
});
