import { runToRow } from '#storage/tables';
import type { Handler } from './handler.ts';
import type { WorkingRuns } from './working-runs.ts';
import type { WorkingSessions } from './working-sessions.ts';

/** A new run. Its id is random, so that the same one again is a repeated commit. */
export function createRunHandler(runs: WorkingRuns, sessions: Pick<WorkingSessions, 'enter'>): Handler {
  return {
    decide({ createRun: run }) {
      if (!run) return undefined;
      if (runs.find(run.runId)) return { type: 'duplicate', resourceId: run.runId, sameRequest: true };
      const row = runToRow(run);
      return () => {
        runs.set(row);
        sessions.enter(row);
      };
    },
  };
}
