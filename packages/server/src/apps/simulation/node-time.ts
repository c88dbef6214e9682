import { type Clock, sleepBy, type Timers } from '#core';
import type { Owner, World } from './world.ts';

/** A clock on the wall that may be wrong, and be set. */
export interface NodeClock extends Clock {
  /** Sets the wall clock forwards or, with less than nothing, back. What measures durations goes on. */
  set(byMs: number): void;
}

export function createNodeClock(world: World, { epochMs, wrongByMs }: { readonly epochMs: number; readonly wrongByMs: number }): NodeClock {
  let offset = wrongByMs;
  const begun = world.now;
  return {
    now: () => Math.floor(epochMs + offset + world.now),
    monotonic: () => world.now - begun,
    set(byMs) {
      offset += byMs;
    },
  };
}

/** As the timers of a process read it. */
function atLeast(minMs: number, ms: number): number {
  return Number.isNaN(ms) ? minMs : Math.max(minMs, ms);
}

/** Timers of a node: late while it stands still, never once it is gone. */
export function createNodeTimers(world: World, owner: Owner): Timers {
  const timers: Timers = {
    // As those of Node: none is shorter than a millisecond.
    after: (ms, task) => world.after(atLeast(1, ms), owner, task),
    every(ms, task) {
      let cancel: () => void;
      const again = () => {
        cancel = world.after(atLeast(1, ms), owner, () => {
          again();
          task();
        });
      };
      again();
      return () => cancel();
    },
    sleep: (ms, signal) => sleepBy(timers, ms, signal),
    soon: () => new Promise((resolve) => void world.after(0, owner, resolve)),
  };
  return timers;
}
