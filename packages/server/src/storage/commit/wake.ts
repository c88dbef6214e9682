import type { Handler } from './handler.ts';
import { hasEnded, type WorkingRuns } from './working-runs.ts';

/** Runs that are due at once, or as soon as they wait. */
export function wakeHandler(runs: WorkingRuns): Handler {
  return {
    decide({ wake: runIds }) {
      if (!runIds?.length) return undefined;
      return () => {
        for (const runId of runIds) {
          const run = runs.find(runId);
          if (!run || hasEnded(run)) continue;
          run.woken = 1;
          runs.set(run);
        }
      };
    },
  };
}
