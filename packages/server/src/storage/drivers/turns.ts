import type { Timers } from '#core';
import type { DriverLimits } from '#storage/program';

/**
 * How much of a database is done in one turn of the event loop, about: a unit is a statement, or a row that it read or wrote, which take
 * some 2 to 10 µs each.
 */
const unitsOfTurn = 1_000;

export interface ThreadTurns {
  /** Counts work that is being done. */
  spend(units: number): void;
  /** Does the work when its time has come: see {@link DriverLimits}. */
  run<R>(work: () => R, when?: DriverLimits['when']): Promise<R>;
}

/**
 * Shares the thread between the work of a database that holds it and everything else. Whoever awaits such work goes on in the same turn of
 * the event loop, so that one who reads a long journal page by page, or many who read at once, would keep timers and sockets from being
 * heard until the last page, and a lease from being renewed. Here a turn ends when it has done its share, whoever asked for it.
 */
export function createThreadTurns(soon: Timers['soon'], share = unitsOfTurn): ThreadTurns {
  const waiting: (() => void)[] = [];
  const pieces: (() => void)[] = [];
  let left = share;
  let isTurning = false;

  /** The next turn begins once what is ready now has been handled. */
  function turn(): void {
    if (isTurning) return;
    isTurning = true;
    void soon().then(() => {
      isTurning = false;
      left = share;
      pieces.shift()?.();
      goOn();
      if (pieces.length > 0 || waiting.length > 0) turn();
    });
  }

  function goOn(): void {
    if (left > 0) waiting.shift()?.();
  }

  function place(queue: (() => void)[]): Promise<void> {
    return new Promise((resolve) => {
      queue.push(resolve);
      turn();
    });
  }

  return {
    spend(units) {
      left -= units;
      if (left <= 0) turn();
    },
    async run(work, when = 'soon') {
      if (when === 'in_turn') await place(pieces);
      else if (when === 'soon' && (left <= 0 || waiting.length > 0)) await place(waiting);
      try {
        return work();
      } finally {
        goOn();
      }
    },
  };
}
