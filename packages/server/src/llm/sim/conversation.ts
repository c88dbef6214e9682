import type { InboundCall, InboundTurn } from '#llm/dialects';

/** A call since the last user message, with its result when there is one. */
export interface DoneCall extends InboundCall {
  readonly output: string | null;
  readonly isError: boolean;
}

/** The task in hand: the last user message and what happened since. */
export interface SimTask {
  readonly text: string;
  readonly done: readonly DoneCall[];
  /** Assistant messages since the last user message. */
  readonly turnIndex: number;
}

export function currentTask(turns: readonly InboundTurn[]): SimTask {
  const start = turns.findLastIndex((turn) => turn.role === 'user');
  // User messages may follow one another (a tool answer and a remark): together they are the task.
  let first = start;
  while (first > 0 && turns[first - 1]?.role === 'user') first -= 1;
  const users = turns.slice(Math.max(first, 0), start + 1);
  const since = turns.slice(start + 1);
  const results = new Map(
    since.flatMap((turn) => (turn.role === 'tool' ? turn.results.map((result) => [result.id, result] as const) : [])),
  );
  const done = since.flatMap((turn) =>
    turn.role === 'assistant'
      ? turn.calls.map((call) => ({
          ...call,
          output: results.get(call.id)?.output ?? null,
          isError: results.get(call.id)?.isError ?? false,
        }))
      : [],
  );
  return {
    text: users.map((turn) => (turn.role === 'user' ? turn.text : '')).join('\n'),
    done,
    turnIndex: since.filter((turn) => turn.role === 'assistant').length,
  };
}

/** The file that a file tool's call is about. */
export function pathOf(call: DoneCall): string {
  const path = call.input.path ?? call.input.file;
  return typeof path === 'string' ? path : '';
}
