import type { JournalEventType } from '@nexus-agent/protocol';
import { NexusError } from '#core';
import type { StoredEvent } from '#storage/contract';
import { json } from '#storage/program';
import { type EventRow, insertEvents } from '#storage/tables';
import type { Batch, Handler } from './handler.ts';
import { requireSequence } from './invariants.ts';
import type { WorkingRuns } from './working-runs.ts';

/** What outlives the worker: a call that has an outcome is never made again. */
const lasting: ReadonlySet<string> = new Set<JournalEventType>(['model.completed', 'tool.completed']);

/** What is appended to the journal of the commit's run. */
export function eventHandler({ tenantId, nowMs }: Batch, runs: WorkingRuns): Handler {
  const appended: EventRow[] = [];
  return {
    decide({ events: given = [], totals: totalsOf, createRun, run }, draft) {
      const news = typeof given === 'function' ? given(draft.outcomes) : given;
      if (news.length === 0) return undefined;
      const target = createRun ?? run;
      if (!target) throw new NexusError('internal', 'events need a run that they belong to');
      const { runId, lastSeq } = target;
      const stored = news.map(
        (event, index): StoredEvent => ({
          seq: lastSeq + 1 + index,
          type: event.type,
          at: nowMs,
          data: JSON.stringify(event.data),
        }),
      );
      const before = createRun === undefined ? runs.find(runId) : undefined; // a new one is not there yet
      if (before !== undefined) requireSequence(before, lastSeq + 1);
      draft.events = stored;
      const totals = totalsOf === undefined ? undefined : json(totalsOf(news));
      return () => {
        for (const { seq, type, at, data } of stored) appended.push({ tenant_id: tenantId, run_id: runId, seq, type, at, data });
        const row = runs.find(runId); // it was set by this commit, as new or as fenced
        if (row) row.last_seq = lastSeq + stored.length;
        // Whatever its workers died of, the run got past it.
        if (row && news.some(({ type }) => lasting.has(type))) Object.assign(row, { deaths: 0, alone: 0 });
        if (row && totals !== undefined) row.totals = totals;
      };
    },
    write(writes) {
      if (appended.length > 0) writes.push(insertEvents(appended));
    },
  };
}
