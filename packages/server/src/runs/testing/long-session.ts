import type { NewEvent, RunId, SessionId, TenantId } from '@nexus-agent/protocol';
import { createIdSource, systemClock } from '#core';
import { toJournalEvent } from '#runs/journal';
import type { Store } from '#storage';

/** Commits that share their transactions. */
const atOnce = 200;

/**
 * Makes a session as long as if its newest run, which has ended, had come again and again, each shown all that came before: its row and its
 * journal, and nothing of what it cost.
 *
 * @param runs how many the session has then
 */
export async function growSession(store: Store, tenantId: TenantId, sessionId: SessionId, runs: number): Promise<void> {
  const ids = createIdSource(systemClock);
  const { items } = await store.listRuns(tenantId, { sessionId, parentRunId: null }, { limit: 100 });
  const [newest] = items;
  if (newest === undefined) throw new Error(`session ${sessionId} has no run`);
  const journal = (await store.readEvents(tenantId, newest.runId, { after: 0, limit: newest.lastSeq })).map(toJournalEvent);
  let before = { runId: newest.runId, seq: newest.lastSeq, at: newest.createdAt };
  let writing: Promise<unknown>[] = [];
  for (let count = items.length; count < runs; count++) {
    const runId = ids.next<RunId>('run');
    const at = before.at + 1;
    const events = journal.map(({ type, data }): NewEvent => {
      if (type !== 'run.created') return { type, data } as NewEvent; // as it was written
      return { type, data: { ...data, history: [before.runId], reading: { after: before.runId, runs: [before] } } };
    });
    writing.push(store.commit({ tenantId, createRun: { ...newest, runId, lastSeq: 0, createdAt: at, updatedAt: at }, events }));
    before = { ...before, runId, at };
    if (writing.length < atOnce && count < runs - 1) continue;
    await Promise.all(writing);
    writing = [];
  }
}
