import { type Clock, cutText, type Timers } from '#core';
import { type LineFinder, stepsOfTurn } from './files/line-finder.ts';

/** How long one search may keep the thread from others, in turns. */
const maxBusyMs = 8_000;
const maxShownChars = 300;

export interface PaceOptions {
  readonly timers: Pick<Timers, 'soon'>;
  readonly clock: Pick<Clock, 'monotonic'>;
}

/** Gives others their turn before the steps of one are used up, and says when all of the time is. */
export function createPace({ timers, clock }: PaceOptions, { stepsPerChar }: LineFinder) {
  let steps = 0;
  let busyMs = 0;
  let since = clock.monotonic();
  const spend = () => {
    busyMs += clock.monotonic() - since;
    since = clock.monotonic();
    return busyMs > maxBusyMs;
  };
  return {
    isDue(chars: number): boolean {
      steps += (chars + 1) * stepsPerChar;
      return steps > stepsOfTurn;
    },
    isSpent: spend,
    /** True when there is no time left. */
    async rest(signal: AbortSignal): Promise<boolean> {
      steps = 0;
      const isSpent = spend();
      await timers.soon();
      signal.throwIfAborted();
      since = clock.monotonic();
      return isSpent;
    },
  };
}

/** As much of a line as a search shows. */
export function shownLine(line: string): string {
  return cutText(line, maxShownChars);
}

/** The line, or the part around the match when it is long. */
export function excerpt(line: string, at: number): string {
  if (line.length <= maxShownChars) return line;
  const start = Math.max(0, at - 100);
  return `${start > 0 ? '…' : ''}${cutText(line.slice(start), maxShownChars)}…`;
}
