import { NexusError } from '#core';
import { type Program, together } from '#storage/program';
import { newestRunOf } from '#storage/tables';
import type { Batch, Handler } from './handler.ts';
import type { WorkingRuns } from './working-runs.ts';

interface Newest {
  readonly runId: string | null;
  readonly createdAt: number;
}

/** The place of a new run in the log of its session. The session is locked by then, so that no other run takes the same one. */
export function sessionLogHandler({ tenantId }: Batch, runs: WorkingRuns): Handler {
  const newest = new Map<string, Newest>();
  const ids = new Set<string>();
  return {
    want({ place, openSession }) {
      if (!place) return;
      if (!openSession) throw new NexusError('internal', 'a place in the log of a session needs the session');
      ids.add(openSession);
    },
    load: () => (ids.size > 0 ? load(tenantId, [...ids], newest) : undefined),
    decide({ place, createRun, openSession }, draft) {
      if (!place || !createRun || !openSession) return undefined;
      const before = newest.get(openSession) ?? none;
      if (place.after !== undefined && place.after !== before.runId) return { type: 'moved' };
      const createdAt = Math.max(createRun.createdAt, before.createdAt + 1);
      draft.createdAt = createdAt;
      return () => {
        newest.set(openSession, { runId: createRun.runId, createdAt });
        const row = runs.find(createRun.runId); // it was set by this commit
        if (row) row.created_at = createdAt;
      };
    },
  };
}

const none: Newest = { runId: null, createdAt: Number.NEGATIVE_INFINITY };

function* load(tenantId: string, ids: readonly string[], newest: Map<string, Newest>): Program<void> {
  const rows = yield* together(ids.map((id) => newestRunOf(tenantId, id)));
  rows.forEach((row, index) => {
    const id = ids[index];
    if (row && id !== undefined) newest.set(id, { runId: row.run_id, createdAt: row.created_at });
  });
}
