import type { JournalEvent, Message, Page, RunId, SessionId, SessionMessage, TenantId } from '@nexus-agent/protocol';
import { toTimestamp } from '#core';
import type { PageRequest, Store } from '#storage';
import { initialState } from './state.ts';
import { readJournal, toJournalEvent } from './transcript.ts';
import { transition } from './transitions.ts';

/** The conversation of a session, newest run first, within a run in order. A page holds whole runs. */
export async function listMessages(
  store: Store,
  tenantId: TenantId,
  sessionId: SessionId,
  page: PageRequest,
): Promise<Page<SessionMessage>> {
  const { items, nextCursor } = await store.listRuns(tenantId, { sessionId, parentRunId: null }, page);
  const data: SessionMessage[] = [];
  for (const run of items) data.push(...(await messagesOf(store, tenantId, run.runId)));
  return { data, nextCursor };
}

async function messagesOf(store: Store, tenantId: TenantId, runId: RunId): Promise<SessionMessage[]> {
  const found: SessionMessage[] = [];
  let state = initialState;
  for await (const stored of readJournal(store, tenantId, runId)) {
    const event: JournalEvent = toJournalEvent(stored);
    const before = state.messages.length;
    state = transition(state, event);
    const added: Message | undefined = state.messages.length > before ? state.messages.at(-1) : undefined;
    if (added !== undefined) found.push({ runId, seq: event.seq, at: toTimestamp(event.at), message: added });
  }
  return found;
}
