import type { NewEvent } from '@nexus-agent/protocol';

/** How far along a run was told: its first so many events. */
export interface Shown {
  readonly runId: string;
  readonly seq: number;
}

/** What a later run of the session is told of one, in short: what was asked, what was done, and how it stands. From its journal alone. */
export function turnOf(events: readonly NewEvent[]): readonly string[] {
  const told: string[] = [];
  let status = 'not begun';
  let calls: { readonly id: string; result: string | null; state: 'not yet' | 'waits' | 'running' }[] = [];
  const results = () => `tool: ${calls.map(({ result }) => result).join(', ')}`;
  const call = (id: string) => calls.find((each) => each.id === id);
  for (const event of events) {
    if (event.type === 'run.created') told.push(`user: ${textOf(event.data.input)}`);
    if (event.type === 'run.started' || event.type === 'run.resumed') status = 'goes on';
    if (event.type === 'run.waiting') status = event.data.reason === 'child' ? 'waits for an agent' : 'waits for a person';
    if (event.type === 'run.completed' || event.type === 'run.failed' || event.type === 'run.cancelled') status = event.type.slice(4);
    if (event.type === 'model.completed') {
      told.push(`assistant: ${textOf(event.data.content)}`);
      calls = [];
    }
    if (event.type === 'tool.requested') calls.push({ id: event.data.callId, result: null, state: 'not yet' });
    if (event.type === 'approval.requested') Object.assign(call(event.data.callId) ?? {}, { state: 'waits' });
    if (event.type === 'tool.started') Object.assign(call(event.data.callId) ?? {}, { state: 'running' });
    if (event.type === 'tool.completed') {
      Object.assign(call(event.data.callId) ?? {}, { result: event.data.output });
      if (calls.every(({ result }) => result !== null)) told.push(results());
    }
  }
  const isOver = status === 'failed' || status === 'cancelled';
  if (calls.some(({ result }) => result === null)) {
    for (const each of calls) each.result ??= isOver ? (each.state === 'running' ? 'unknown' : 'not run') : each.state;
    told.push(results());
  }
  if (status === 'completed') return told;
  const last = told.at(-1) ?? '';
  return last.startsWith('assistant: ') ? [...told.slice(0, -1), `${last} (${status})`] : [...told, `assistant: (${status})`];
}

function textOf(content: readonly { readonly type: string }[]): string {
  return content.map((part) => ('text' in part ? part.text : part.type)).join(' ');
}
