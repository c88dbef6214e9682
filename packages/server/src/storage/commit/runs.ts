import { patchToRow } from '#storage/tables';
import type { Batch, Handler } from './handler.ts';
import { requireFence } from './invariants.ts';
import type { WorkingRuns } from './working-runs.ts';

/** What the worker that holds a run changes of it, behind the fence of its epoch, its owner and the length of its journal. */
export function runHandler({ nowMs }: Batch, working: WorkingRuns): Handler {
  return {
    want: working.want,
    load: working.load,
    decide({ run }) {
      if (!run) return undefined;
      const row = working.find(run.runId);
      if (row !== undefined) requireFence(row, run);
      if (row?.epoch !== run.epoch || row.lease_owner !== run.owner || row.last_seq !== run.lastSeq) return { type: 'fenced' };
      const patch = patchToRow(run.patch);
      return () => working.set(Object.assign(row, patch, { updated_at: nowMs }));
    },
    write: working.write,
  };
}
