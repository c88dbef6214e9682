import { type Clock, systemClock } from './clock.ts';

/** So long may one go on while others stand in line. */
const quantumMs = 0.25;
/** What a place has taken counts for half after so long. */
const halfLifeMs = 1_000;
/** Places that took about as much stand in one line: less than an eighth of a millisecond, a quarter, a half, and so on. */
const lineCount = 16;

/** One of those who do work of a kind. Times are of the share's clock, `monotonic`. */
export interface SharePlace {
  /** Whether it has to let others go on. If so, it stands in line from now on, and is told when it may. */
  mustWait(nowMs: number): boolean;
  /** Something was done for it, which took so long. */
  took(ms: number, nowMs: number): void;
  /** It is told of no turn any more. */
  leave(): void;
}

export interface TurnShare {
  /** @param onTurn called when it stood in line and may go on */
  join(onTurn: () => void): SharePlace;
}

/**
 * Work of one kind has its share of each turn of the event loop, of all places together; what is left is for the next turn, so that others
 * wait no longer than for that. A turn begins when the share is asked for the first time. Within it those in line go on for a moment each,
 * in the order of what they took of late, least first, and of those that took about as much in the order in which they came: one that needs
 * little waits for a turn or two, however many others need much. (The idea is that of the fair scheduler of Linux, with lines in place of a
 * tree.)
 */
export function createTurnShare(shareMs: number, clock: Pick<Clock, 'monotonic'> = systemClock): TurnShare {
  const lines: readonly Set<() => void>[] = Array.from({ length: lineCount }, () => new Set());
  let inLine = 0;
  let turn = 0;
  let startedMs: number | null = null;

  function isSpent(now: number): boolean {
    if (startedMs === null) {
      startedMs = now;
      setImmediate(begin);
    }
    return now - startedMs > shareMs;
  }

  function begin(): void {
    startedMs = null;
    turn += 1;
    while (inLine > 0 && !isSpent(clock.monotonic())) {
      const [tell] = lines.find(({ size }) => size > 0) ?? [];
      tell?.();
    }
  }

  return {
    join(onTurn) {
      let takenMs = 0;
      let atMs = 0;
      /** In this turn, since it went on. */
      let wentOn = { turn: -1, takenMs: 0 };
      let line: Set<() => void> | null = null;
      const taken = (now: number) => takenMs * 0.5 ** ((now - atMs) / halfLifeMs);
      function leave(): void {
        if (line === null) return;
        line.delete(tell);
        line = null;
        inLine -= 1;
      }
      function tell(): void {
        leave();
        wentOn = { turn, takenMs: 0 };
        onTurn();
      }
      return {
        mustWait(now) {
          if (line !== null) return true;
          if (wentOn.turn !== turn) wentOn = { turn, takenMs: 0 };
          if (!isSpent(now) && (inLine === 0 || wentOn.takenMs < quantumMs)) return false;
          const index = Math.ceil(Math.log2(Math.max(taken(now) * 8, 1)));
          line = lines[Math.min(index, lineCount - 1)] ?? null;
          line?.add(tell);
          inLine += 1;
          return true;
        },
        took(ms, now) {
          takenMs = taken(now) + ms;
          atMs = now;
          wentOn.takenMs += ms;
        },
        leave,
      };
    },
  };
}
