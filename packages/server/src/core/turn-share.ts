import type { Clock } from './clock.ts';

/**
 * Tells whether work of one kind has had its share of this turn of the event loop, which begins when it is asked for the first time: what
 * is left is for the next turn, so that others wait no longer than for that.
 *
 * @param shareMs of each turn, for all work of the kind together
 * @param onTurn called when the next turn begins, and the share with it
 */
export function createTurnShare(shareMs: number, onTurn: () => void = () => undefined): (clock: Pick<Clock, 'monotonic'>) => boolean {
  let startedMs: number | null = null;
  return (clock) => {
    const now = clock.monotonic();
    if (startedMs === null) {
      startedMs = now;
      setImmediate(() => {
        startedMs = null;
        onTurn();
      });
    }
    return now - startedMs > shareMs;
  };
}
