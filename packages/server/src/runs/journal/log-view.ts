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

/** What a reading says, on top of what the run that it comes `after` was shown. */
export function applyReading(before: LogView, { runs, covered }: SessionReading, turnOf: (read: RunReading) => RunTurn): LogView {
  return runs.reduce(
    (view, read) => putTurn(view, { turn: turnOf(read), skip: read.skip ?? 0 }),
    covered === undefined ? before : { ...before, covered },
  );
}

/** A run takes its place in the order of the log; one that is there already is told anew, and whole. */
function putTurn(view: LogView, shown: ShownTurn): LogView {
  const { read } = shown.turn;
  const turns = view.turns.filter(({ turn }) => turn.read.runId !== read.runId);
  const at = turns.findLastIndex(({ turn }) => isBefore(turn.read, read)) + 1;
  // Half a turn can only follow the summary that stands for its other half; behind another turn it is told whole.
  const whole = [...turns.slice(0, at), shown, ...turns.slice(at)].map((entry, index) => (index === 0 ? entry : { ...entry, skip: 0 }));
  return {
    ...view,
    turns: whole,
    covered: view.covered.filter(({ runId }) => runId !== read.runId),
  };
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
