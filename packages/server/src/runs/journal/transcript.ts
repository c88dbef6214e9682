import type { JournalEvent, Message, RunId, TenantId } from '@nexus-agent/protocol';
import type { RunStore, StoredEvent } from '#storage';
import { initialState, type RunState, type Summary } from './state.ts';
import { transition } from './transitions.ts';

/** The part of the store that holds journals. */
export type EventReader = Pick<RunStore, 'readEvents'>;

/** Turns before a run: `summary` stands for the oldest `summary.replaces` of the `messages`. */
export interface Transcript {
  readonly messages: readonly Message[];
  readonly summary: Summary | null;
}

export const emptyTranscript: Transcript = { messages: [], summary: null };

/** A stored event as the transitions take it. The store only holds what was validated when it was written. */
export function toJournalEvent(event: StoredEvent): JournalEvent {
  return { type: event.type, seq: event.seq, at: event.at, data: JSON.parse(event.data) } as JournalEvent; // type and data were written together
}

/** All events of a run, read in pages. */
export async function* readJournal(
  store: EventReader,
  tenantId: TenantId,
  runId: RunId,
  after = 0,
  pageSize = 500,
): AsyncGenerator<StoredEvent> {
  let last = after;
  for (;;) {
    const page = await store.readEvents(tenantId, runId, { after: last, limit: pageSize });
    for (const event of page) yield event;
    const end = page.at(-1);
    if (end === undefined || page.length < pageSize) return;
    last = end.seq;
  }
}

/** The state of a stored run. Throws `replay_diverged` when its journal has a gap. */
export async function loadState(store: EventReader, tenantId: TenantId, runId: RunId): Promise<RunState> {
  let state = initialState;
  for await (const event of readJournal(store, tenantId, runId)) state = transition(state, toJournalEvent(event));
  return state;
}

/** The whole conversation as the model is to see it: the summary in place of what it replaces, then every later turn. */
export function conversation(
  before: Transcript,
  state: Pick<RunState, 'messages' | 'summary'>,
): { messages: readonly Message[]; summary: Summary | null } {
  const summary = state.summary ?? before.summary;
  const all = before.messages.length === 0 ? state.messages : [...before.messages, ...state.messages];
  if (summary === null) return { messages: all, summary };
  const text = `Summary of the conversation so far, written when it outgrew the model's context:\n${summary.text}`;
  const [next, ...later] = all.slice(summary.replaces);
  // Two messages of a person in a row are not taken by every server.
  if (next?.role === 'user') return { messages: [summaryMessage(text, next), ...later], summary };
  return { messages: [summaryMessage(text, next), ...(next === undefined ? [] : [next]), ...later], summary };
}

const notes = new WeakMap<Message, { readonly text: string; readonly message: Message }>();

/** What is said of a summary, and what a person said after it; the same object as long as both are: what is known of messages is known by object. */
function summaryMessage(text: string, next: Message | undefined): Message {
  const known = next === undefined ? undefined : notes.get(next);
  if (known?.text === text) return known.message;
  const note = { type: 'text' as const, text };
  const message: Message = { role: 'user', content: next?.role === 'user' ? [note, ...next.content] : [note] };
  if (next !== undefined) notes.set(next, { text, message });
  return message;
}
