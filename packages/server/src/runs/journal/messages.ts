import type { JournalEvent, Message, Page, RunId, SessionId, SessionMessage, TenantId } from '@nexus-agent/protocol';
import { toTimestamp } from '#core';
import type { PageRequest, Store } from '#storage';
import { initialState } from './state.ts';
import { readJournal, toJournalEvent } from './transcript.ts';
import { transition } from './transitions.ts';

/** Characters of journals that are read for a page, the run included that goes beyond. */
const pageChars = 4_000_000;

/** The conversation of a session, newest run first, within a run in order. A page holds whole runs, fewer where they are long. */
export async function listMessages(
  store: Store,
  tenantId: TenantId,
  sessionId: SessionId,
  page: PageRequest,
): Promise<Page<SessionMessage>> {
  const runs = { sessionId, parentRunId: null };
  const { items, nextCursor } = await store.listRuns(tenantId, runs, page);
  const data: SessionMessage[] = [];
  let chars = 0;
  for (const [index, run] of items.entries()) {
    const told = await messagesOf(store, tenantId, run.runId);
    for (const message of told.messages) data.push(message);
    chars += told.chars;
    if (chars < pageChars || index === items.length - 1) continue;
    const shorter = await store.listRuns(tenantId, runs, { ...page, limit: index + 1 });
    return { data, nextCursor: shorter.nextCursor };
  }
  return { data, nextCursor };
}

async function messagesOf(
  store: Store,
  tenantId: TenantId,
  runId: RunId,
): Promise<{ readonly messages: readonly SessionMessage[]; readonly chars: number }> {
  const found: SessionMessage[] = [];
  let chars = 0;
  let state = initialState;
  for await (const stored of readJournal(store, tenantId, runId)) {
    chars += stored.data.length;
    const event: JournalEvent = toJournalEvent(stored);
    const before = state.messages.length;
    state = transition(state, event);
    const added: Message | undefined = state.messages.length > before ? state.messages.at(-1) : undefined;
    if (added !== undefined) found.push({ runId, seq: event.seq, at: toTimestamp(event.at), message: added });
  }
  return { messages: found, chars };
}
