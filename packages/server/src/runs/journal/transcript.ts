import type { JournalEvent, Message, RunId, TenantId } from '@nexus-agent/protocol';
import { LRUCache } from 'lru-cache';
import { NexusError } from '#core';
import type { RunStore, StoredEvent } from '#storage';

/** The part of the store that holds journals. */
type EventReader = Pick<RunStore, 'readEvents'>;

import { initialState, type RunState, type Summary } from './state.ts';
import { transition } from './transitions.ts';

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
  return (await readState(store, tenantId, runId)).state;
}

/** The state of a stored run, and how many characters its journal has. */
async function readState(
  store: EventReader,
  tenantId: TenantId,
  runId: RunId,
): Promise<{ readonly state: RunState; readonly chars: number }> {
  let state = initialState;
  let chars = 0;
  for await (const event of readJournal(store, tenantId, runId)) {
    chars += event.data.length;
    state = transition(state, toJournalEvent(event));
  }
  return { state, chars };
}

/** The runs of a session that one transcript may go back to. */
const maxDepth = 10_000;
/** What a message costs in the list of each transcript that holds it, beside its text. */
const referenceChars = 16;

export interface Transcripts {
  /** What a run sees of those before it, up to and with `runId`. Throws `replay_diverged` for a damaged journal. */
  load(tenantId: TenantId, runId: RunId): Promise<Transcript>;
}

/**
 * Transcripts of ended runs, which never change, are kept while they take at most `maxChars` together; the one that was
 * asked for longest ago goes first.
 */
export function createTranscripts(store: EventReader, maxChars: number): Transcripts {
  const cache = new LRUCache<string, { readonly transcript: Transcript; readonly ownChars: number }>({
    maxSize: maxChars,
    // The messages of earlier runs are shared with their own transcripts.
    sizeCalculation: ({ transcript, ownChars }) => 1 + ownChars + transcript.messages.length * referenceChars,
  });

  async function load(tenantId: TenantId, runId: RunId, depth: number): Promise<Transcript> {
    const key = `${tenantId}/${runId}`;
    const known = cache.get(key);
    if (known !== undefined) return known.transcript;
    if (depth > maxDepth) throw new NexusError('internal', 'the session has too many runs to be read');
    const { state, chars } = await readState(store, tenantId, runId);
    const previous = state.created?.history[0];
    const before = previous === undefined ? emptyTranscript : await load(tenantId, previous as RunId, depth + 1); // history holds run ids
    const transcript = { messages: [...before.messages, ...state.messages], summary: state.summary ?? before.summary };
    cache.set(key, { transcript, ownChars: chars });
    return transcript;
  }

  return { load: (tenantId, runId) => load(tenantId, runId, 0) };
}

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
