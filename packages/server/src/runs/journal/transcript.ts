import type { JournalEvent, Message, RunId, TenantId } from '@nexus-agent/protocol';
import { NexusError } from '#core';
import type { Store, StoredEvent } from '#storage';
import { initialState, type RunState, type Summary } from './state.ts';
import { transition } from './transitions.ts';

/** Turns before a run: `summary` stands for the oldest `summary.replaces` of the `messages`. */
export interface Transcript {
  readonly messages: readonly Message[];
  readonly summary: Summary | null;
}

export const emptyTranscript: Transcript = { messages: [], summary: null };

/** A stored event as the transitions take it. The store only holds what was validated when it was written. */
export function parseEvent(event: StoredEvent): JournalEvent {
  return { type: event.type, seq: event.seq, at: event.at, data: JSON.parse(event.data) } as JournalEvent; // type and data were written together
}

/** All events of a run, read in pages. */
export async function* readJournal(store: Store, tenantId: TenantId, runId: RunId, after = 0, pageSize = 500): AsyncGenerator<StoredEvent> {
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
export async function loadState(store: Store, tenantId: TenantId, runId: RunId): Promise<RunState> {
  let state = initialState;
  for await (const event of readJournal(store, tenantId, runId)) state = transition(state, parseEvent(event));
  return state;
}

/**
 * What a run of a session sees of the runs before it. Ended runs never change, so their transcripts are kept, newest
 * first, up to `capacity`.
 */
export function createTranscripts(store: Store, capacity = 500) {
  const cache = new Map<string, Transcript>();

  async function load(tenantId: TenantId, runId: RunId, depth: number): Promise<Transcript> {
    const key = `${tenantId}/${runId}`;
    const known = cache.get(key);
    if (known !== undefined) {
      cache.delete(key);
      cache.set(key, known);
      return known;
    }
    if (depth > 10_000) throw new NexusError('internal', 'the session has too many runs to be read');
    const state = await loadState(store, tenantId, runId);
    const previous = state.created?.history[0];
    const before = previous === undefined ? emptyTranscript : await load(tenantId, previous as RunId, depth + 1); // history holds run ids
    const transcript = { messages: [...before.messages, ...state.messages], summary: state.summary ?? before.summary };
    cache.set(key, transcript);
    const oldest = cache.keys().next();
    if (cache.size > capacity && oldest.done === false) cache.delete(oldest.value);
    return transcript;
  }

  return { load: (tenantId: TenantId, runId: RunId) => load(tenantId, runId, 0) };
}

export type Transcripts = ReturnType<typeof createTranscripts>;

/** The whole conversation as the model is to see it: the summary in place of what it replaces, then every later turn. */
export function conversation(before: Transcript, state: RunState): { messages: readonly Message[]; summary: Summary | null } {
  const summary = state.summary ?? before.summary;
  const all = before.messages.length === 0 ? state.messages : [...before.messages, ...state.messages];
  if (summary === null) return { messages: all, summary };
  const note: Message = {
    role: 'user',
    content: [{ type: 'text', text: `Summary of the conversation so far, written when it outgrew the model's context:\n${summary.text}` }],
  };
  return { messages: [note, ...all.slice(summary.replaces)], summary };
}
