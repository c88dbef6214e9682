/** Time that stands still until a test moves it. */
import type { Clock } from '../clock.ts';
import { sleepBy, type Timers } from '../timers.ts';

export interface ManualClock extends Clock {
  advance(ms: number): void;
}

export function createManualClock(startMs = Date.UTC(2026, 0, 1)): ManualClock {
  let nowMs = startMs;
  return {
    now: () => nowMs,
    monotonic: () => nowMs - startMs,
    advance(ms) {
      nowMs += ms;
    },
  };
}

export interface ManualTime {
  readonly clock: Clock;
  readonly timers: Timers;
  /** Moves the time on and runs what falls due on the way, in the order of its time. Promises settle in between. */
  advance(ms: number): Promise<void>;
  /** Tasks that wait. */
  readonly pending: number;
}

interface Waiting {
  dueAt: number;
  readonly everyMs: number | null;
  readonly task: () => void;
}

/** As the timers of the process read it. */
function atLeast(minMs: number, ms: number): number {
  return Number.isNaN(ms) ? minMs : Math.max(minMs, ms);
}

/** A clock and the timers that follow it. */
export function createManualTime(startMs = Date.UTC(2026, 0, 1)): ManualTime {
  const clock = createManualClock(startMs);
  const waiting = new Map<number, Waiting>();
  let last = 0;
  const settle = () => new Promise<void>((resolve) => setImmediate(resolve));
  const add = (ms: number, everyMs: number | null, task: () => void) => {
    const id = ++last;
    waiting.set(id, { dueAt: clock.now() + atLeast(0, ms), everyMs, task });
    return () => void waiting.delete(id);
  };
  /** What is due first; of two that are due together, the one that was added first. */
  const next = (untilMs: number) => {
    let first: { readonly id: number; readonly entry: Waiting } | undefined;
    for (const [id, entry] of waiting) {
      if (entry.dueAt <= untilMs && (first === undefined || entry.dueAt < first.entry.dueAt)) first = { id, entry };
    }
    return first;
  };
  const timers: Timers = {
    after: (ms, task) => add(ms, null, task),
    every: (ms, task) => add(atLeast(1, ms), atLeast(1, ms), task),
    sleep: (ms, signal) => sleepBy(timers, ms, signal),
    soon: settle,
  };
  return {
    clock,
    timers,
    get pending() {
      return waiting.size;
    },
    async advance(ms) {
      const untilMs = clock.now() + ms;
      await settle();
      for (let due = next(untilMs); due !== undefined; due = next(untilMs)) {
        const { id, entry } = due;
        clock.advance(Math.max(0, entry.dueAt - clock.now()));
        if (entry.everyMs === null) waiting.delete(id);
        else entry.dueAt += entry.everyMs;
        entry.task();
        await settle();
      }
      clock.advance(Math.max(0, untilMs - clock.now()));
    },
  };
}
