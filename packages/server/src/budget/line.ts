import type { Timers } from '#core';

/** Somebody in a line. */
export interface InLine {
  /** What it was refused when it asked last; null: it has not asked for this. */
  readonly asked: number | null;
  /** It has waited for so long that nobody behind it goes before it. */
  readonly isPatient: boolean;
  /** It is its turn: it is to ask, or to leave. */
  wake(): void;
}

/**
 * Those who wait for one scope and unit, in the order in which they came. One at a time has the turn. Who is refused keeps its place, and
 * the turn goes on to the next one that may fit into what is left, until the end of the line; what comes free begins at the first one.
 * While the first one is patient nobody else has the turn.
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
}

/** @param pollMs how often the first one asks although nobody said that anything came free */
export function openLine(timers: Pick<Timers, 'every'>, pollMs: number): Line {
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

  /** The turn of the place before `from` has ended. */
  function passOn(from: number): void {
    const fromFirst = from === 0 || hasFreed;
    hasFreed = false;
    const mayFit = ({ asked }: InLine) => asked === null || asked <= available;
    if (fromFirst) give(places[0]);
    else give(places[0]?.isPatient ? undefined : places.slice(from).find(mayFit));
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
      places.splice(at, 1);
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
    freed() {
      if (turn === null) give(places[0]);
      else hasFreed = true;
    },
  };
}
