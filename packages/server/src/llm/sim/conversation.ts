/** What both wire formats say, as the planner sees it. */
export interface SimRequest {
  /** As asked for, with its knobs. */
  readonly model: string;
  readonly system: string;
  readonly turns: readonly SimTurn[];
  readonly tools: readonly SimTool[];
  readonly outputSchema: Record<string, unknown> | null;
  readonly maxTokens: number;
  readonly stream: boolean;
  readonly includeUsage: boolean;
  /** Everything that the provider would count as input, as text. */
  readonly inputTokens: number;
}

export type SimTurn =
  | { readonly role: 'user'; readonly text: string; readonly images: number }
  | { readonly role: 'assistant'; readonly text: string; readonly calls: readonly SimCall[] }
  | { readonly role: 'tool'; readonly results: readonly SimResult[] };

export interface SimTool {
  readonly name: string;
  readonly schema: Record<string, unknown>;
}

export interface SimCall {
  readonly id: string;
  readonly name: string;
  readonly input: Record<string, unknown>;
}

export interface SimResult {
  readonly id: string;
  readonly output: string;
  readonly isError: boolean;
}

/** What the simulated model says in one turn. */
export interface SimAnswer {
  readonly thinking: string;
  readonly text: string;
  readonly calls: readonly { readonly name: string; readonly arguments: string }[];
  readonly finish: 'stop' | 'tool_calls' | 'length' | 'content_filter';
}

/** A call since the last user message, with its result when there is one. */
export interface DoneCall extends SimCall {
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

export function currentTask(turns: readonly SimTurn[]): SimTask {
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
