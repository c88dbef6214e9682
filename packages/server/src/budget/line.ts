import type { Clock, Timers } from '#core';

/** Somebody in a line. */
export interface InLine {
  /** What it was refused when it asked last; null: it has not asked for this. */
  readonly asked: number | null;
  /** From then on (by the monotonic clock) it has waited for so long that nobody behind it goes before it. */
  readonly patientAt: number;
  /** It is its turn: it is to ask, or to leave. */
  wake(): void;
}

/**
 * Those who wait for one scope and unit, in the order in which they came. One at a time has the turn. Who is refused keeps its place, and
 * the turn goes on to the next one that may fit into what is left, until the end of the line; what comes free begins at the first one.
 * While the first one is patient nobody else has the turn, for a quarter of the time at most: after others were held back for so long, they
 * are not for three times as long. Else a few who want all that there is could keep everybody from the little that they need, for as long as
 * somebody holds a little.
 */
export interface Line {
  readonly isEmpty: boolean;
  /** It stands behind all others. */
  enter(place: InLine): void;
  leave(place: InLine): void;
  /** It may ask at once, if nobody's turn it is and the first one allows it. */
  letTry(place: InLine): void;
  /** So much is `available` and that is not enough for it; `freed`: something has come free since it asked. */
  refused(place: InLine, answer: { readonly available: number; readonly freed: boolean }): void;
  /** Something may have come free. */
  freed(): void;
  /** Until then (by the monotonic clock) nobody is held back: also where the line is opened anew. */
  readonly restsUntil: number;
}

export interface LineOptions {
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly timers: Pick<Timers, 'every'>;
  /** How often the first one asks although nobody said that anything came free. */
  readonly pollMs: number;
  /** See {@link Line}: of the line that was here before. */
  readonly restsUntil: number;
}

/** So many times as long as others were held back, they are not. */
const restShare = 3;

export function openLine(options: LineOptions): Line {
  const { clock, timers, pollMs } = options;
  let { restsUntil } = options;
  let firstSince = Number.NEGATIVE_INFINITY;
  const places: InLine[] = [];
  let turn: InLine | null = null;
  let slow: InLine | null = null;
  let available = 0;
  let hasFreed = false;
  const endPoll = timers.every(pollMs, () => {
    // Whoever had the turn before as well does not ask: that must not hold up the first one.
    const isSlow = slow === turn;
    slow = turn;
    if (slow === null || isSlow) give(places[0]);
  });

  function give(place: InLine | undefined): void {
    turn = place ?? null;
    place?.wake();
  }

  /** For so long others have been held back for the first one. */
  function heldBackMs(): number {
    return clock.monotonic() - Math.max(places[0]?.patientAt ?? Number.POSITIVE_INFINITY, firstSince, restsUntil);
  }

  /** Another one is the first from now on. */
  function firstLeaves(heldMs: number): void {
    firstSince = clock.monotonic();
    if (heldMs > 0) restsUntil = firstSince + restShare * heldMs;
  }

  /** The turn of the place before `from` has ended. */
  function passOn(from: number): void {
    const fromFirst = from === 0 || hasFreed;
    hasFreed = false;
    const mayFit = ({ asked }: InLine) => asked === null || asked <= available;
    if (fromFirst) give(places[0]);
    else give(heldBackMs() >= 0 ? undefined : places.slice(from).find(mayFit));
  }

  return {
    get isEmpty() {
      return places.length === 0;
    },
    enter(place) {
      places.push(place);
    },
    leave(place) {
      const at = places.indexOf(place);
      const heldMs = heldBackMs();
      places.splice(at, 1);
      if (at === 0) firstLeaves(heldMs);
      if (places.length === 0) endPoll();
      else if (at === 0 || turn === place) passOn(at);
    },
    letTry(place) {
      if (turn === null) passOn(places.indexOf(place));
    },
    refused(place, answer) {
      available = answer.available;
      if (turn !== null && turn !== place) return;
      hasFreed ||= answer.freed;
      passOn(places.indexOf(place) + 1);
    },
    get restsUntil() {
      return restsUntil;
    },
    freed() {
      if (turn === null) give(places[0]);
      else hasFreed = true;
    },
  };
}
