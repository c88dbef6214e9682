import type { Message, RunReading, SessionReading } from '@nexus-agent/protocol';
import type { RunTurn } from './turn.ts';

/** A session's log as one run is shown it. */
export interface LogView {
  /** Stands for all that is not in `turns`. */
  readonly summary: string | null;
  /** In the order of the log. */
  readonly turns: readonly ShownTurn[];
  /** Runs behind the summary that may still go on. */
  readonly covered: readonly RunReading[];
}

/** A turn, with the messages that a summary has taken off its beginning. */
export interface ShownTurn {
  readonly turn: RunTurn;
  readonly skip: number;
}

export const emptyView: LogView = { summary: null, turns: [], covered: [] };

/** What a run was shown on top of what came before, and the turns of the runs that it names. */
export interface ReadTurns {
  readonly reading: SessionReading;
  readonly turnOf: (read: RunReading) => RunTurn;
}

/**
 * What readings say, each on top of what the run that it comes `after` was shown: one for each run of a session where nothing is known of
 * it, which takes time by their number.
 */
export function applyReadings(before: LogView, steps: Iterable<ReadTurns>): LogView {
  const turns = [...before.turns];
  const told = new Set(turns.map(({ turn }) => turn.read.runId));
  let { covered } = before;
  for (const { reading, turnOf } of steps) {
    covered = reading.covered ?? covered;
    for (const read of reading.runs) {
      const { runId } = read;
      if (told.has(runId))
        turns.splice(
          turns.findIndex(({ turn }) => turn.read.runId === runId),
          1,
        );
      told.add(runId);
      putTurn(turns, { turn: turnOf(read), skip: read.skip ?? 0 });
      if (covered.length > 0) covered = covered.filter((other) => other.runId !== runId);
    }
  }
  return { ...before, turns, covered };
}

/** A run takes its place in the order of the log; one that was there already is told anew. */
function putTurn(turns: ShownTurn[], shown: ShownTurn): void {
  const at = turns.findLastIndex(({ turn }) => isBefore(turn.read, shown.turn.read)) + 1;
  // Half a turn can only follow the summary that stands for its other half; behind another turn it is told whole.
  turns.splice(at, 0, at === 0 ? shown : { ...shown, skip: 0 });
  const [, second] = turns;
  if (at === 0 && second !== undefined && second.skip > 0) turns[1] = { ...second, skip: 0 };
}

function isBefore(one: RunReading, other: RunReading): boolean {
  return one.at < other.at || (one.at === other.at && one.runId < other.runId);
}

/**
 * The view with a summary that its last turn's run made: it stands for so many of the oldest messages of the view before
 * that turn and the run's own together.
 */
export function withSummary(before: LogView, own: RunTurn, text: string, replaces: number): LogView {
  const turns: ShownTurn[] = [];
  const covered = [...before.covered];
  let left = replaces;
  for (const { turn, skip } of before.turns) {
    const shown = turn.messages.length - skip;
    const taken = Math.min(left, shown);
    left -= taken;
    if (taken < shown) turns.push({ turn, skip: skip + taken });
    else if (turn.isOpen) covered.push(turn.read);
  }
  const skip = own.shown(left);
  if (skip < own.messages.length) turns.push({ turn: own, skip });
  else if (own.isOpen) covered.push(own.read);
  return { summary: text, turns, covered };
}

/** Runs of the view that may have gone on since they were read. */
export function openRuns({ turns, covered }: LogView): readonly RunReading[] {
  return [...covered, ...turns.filter(({ turn }) => turn.isOpen).map(({ turn }) => turn.read)];
}

/** The view written out, where it does not follow from what another run was shown. */
export function writtenOut(view: LogView, summary: SessionReading['summary']): SessionReading {
  return {
    ...(summary === undefined ? {} : { summary }),
    runs: view.turns.map(({ turn, skip }) => (skip === 0 ? turn.read : { ...turn.read, skip })),
    ...(view.covered.length === 0 ? {} : { covered: [...view.covered] }),
  };
}

export function shownMessages({ turns }: LogView): readonly Message[] {
  return turns.flatMap(({ turn, skip }) => (skip === 0 ? turn.messages : turn.messages.slice(skip)));
}
