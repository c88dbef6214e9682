import type { Clock } from '#core';

export interface SharedClock extends Clock {
  /** Corrects itself by another clock. One that cannot be read leaves it as it is: rejects with what reading it throws. */
  follow(readMs: () => Promise<number>): Promise<void>;
}

/**
 * The clock of this process, corrected to one that several processes share: times that one of them writes down and another compares
 * must not depend on whose clock is wrong. Durations are measured as before.
 */
export function createSharedClock(local: Clock): SharedClock {
  let offsetMs = 0;
  return {
    now: () => local.now() + offsetMs,
    monotonic: () => local.monotonic(),
    async follow(readMs) {
      const sent = { wall: local.now(), monotonic: local.monotonic() };
      const shared = await readMs();
      offsetMs = correctOffset(offsetMs, { local: sent.wall, shared, tookMs: local.monotonic() - sent.monotonic });
    },
  };
}

interface Reading {
  /** When the other clock was asked, by the local one. */
  readonly local: number;
  readonly shared: number;
  readonly tookMs: number;
}

/**
 * The other clock was read at some moment of a span: an offset that fits one of them is kept, so that time does not jump back and forth
 * with the weather of a network, and one that fits none is replaced by that of the middle.
 */
function correctOffset(offsetMs: number, { local, shared, tookMs }: Reading): number {
  const atLeast = shared - (local + tookMs);
  const atMost = shared - local;
  // Both clocks tell whole milliseconds.
  if (offsetMs >= atLeast - 1 && offsetMs <= atMost + 1) return offsetMs;
  return Math.round((atLeast + atMost) / 2);
}
