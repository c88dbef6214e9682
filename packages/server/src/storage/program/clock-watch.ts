import type { Clock } from '#core';
import { databaseNow, type Program } from './program.ts';

/** The time by the database's clock, and how far it is to be believed where somebody is taken for dead by it. */
export interface ClockReading {
  readonly now: number;
  /** For so long it has gone on as this process's own measure of time did; without end where no step was seen. */
  readonly steadyMs: number;
  /** For so long it has been looked at without a step. */
  readonly watchedMs: number;
  /** It was set back from this time, and nobody here has made up for that; null where it was not. */
  readonly setBackFrom: number | null;
}

/**
 * Compares the clock that leases and due times are written by with what this process measures, which nobody can set. The clock may
 * be that of a database server or of this machine: either may be set, or be another one after a failover.
 */
export interface ClockWatch {
  read(): Program<ClockReading>;
  /** What was due by this time has been made due by the clock as it is now. */
  madeUp(until: number): void;
}

/** A smaller difference is none: less than the margin between a sign of life and the end of a lease. */
const toleranceMs = 250;
const forever = Number.MAX_SAFE_INTEGER;

export function createClockWatch({ monotonic }: Pick<Clock, 'monotonic'>): ClockWatch {
  /** The clock is ahead of what is measured by something between these, as of the last reading. */
  let ahead: { readonly atLeast: number; readonly atMost: number } | null = null;
  let firstAt = 0;
  let steppedAt: number | null = null;
  let setBackFrom: number | null = null;

  /** It was read at some moment of this span. */
  function see(now: number, from: number, to: number): void {
    // The clock tells whole milliseconds.
    const seen = { atLeast: now - to, atMost: now + 1 - from };
    if (ahead === null) firstAt = to;
    else if (seen.atLeast > ahead.atMost + toleranceMs) steppedAt = to;
    else if (seen.atMost < ahead.atLeast - toleranceMs) {
      steppedAt = to;
      setBackFrom = Math.max(setBackFrom ?? 0, Math.ceil(to + ahead.atMost));
    }
    ahead = seen;
  }

  return {
    *read() {
      const from = monotonic();
      const now = yield* databaseNow();
      const to = monotonic();
      see(now, from, to);
      return {
        now,
        steadyMs: steppedAt === null ? forever : Math.floor(to - steppedAt),
        watchedMs: Math.floor(to - (steppedAt ?? firstAt)),
        setBackFrom,
      };
    },
    madeUp(until) {
      if (setBackFrom !== null && setBackFrom <= until) setBackFrom = null;
    },
  };
}
