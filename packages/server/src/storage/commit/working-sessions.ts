import { type Program, together } from '#storage/program';
import { cancelRequest, lockRuns, newestRunOf, type OpenRun, openRunsOf, type StoredRun } from '#storage/tables';
import type { Batch } from './handler.ts';
import type { WorkingRuns } from './working-runs.ts';

/** The newest run of a session's log. */
export interface NewestRun {
  readonly runId: string | null;
  readonly createdAt: number;
}

/**
 * What the sessions of a batch are busy with. Runs take up work and lay it down only under the lock of their session, so that
 * what is read here holds until the transaction ends. (What is taken up again meanwhile only adds to the work.)
 */
export interface WorkingSessions {
  want(sessionId: string): void;
  load(): Program<void> | undefined;
  newest(sessionId: string): NewestRun;
  /** The runs that have not ended, oldest first, as this batch has changed them. */
  open(sessionId: string): readonly OpenRun[];
  /** A new run is in its session from now on, also one that has no place in the log. */
  enter(run: StoredRun): void;
  /** A new run is the newest of its session. */
  add(sessionId: string, newest: { readonly runId: string; readonly createdAt: number }): void;
  /** Asks a run to be cancelled once everything else of the batch is written. */
  interrupt(runId: string, reason: string): void;
  write(writes: Program<unknown>[]): void;
  /** Whether the run works, or will as soon as somebody takes it. */
  isAtWork(run: OpenRun): boolean;
}

export function createWorkingSessions({ tenantId }: Batch, runs: WorkingRuns): WorkingSessions {
  const ids = new Set<string>();
  const cancels = new Map<string, string>();
  const newest = new Map<string, NewestRun>();
  const open = new Map<string, Map<string, OpenRun>>();

  function* load(): Program<void> {
    const sessions = [...ids];
    const [found, heads] = yield* together([
      together(sessions.map((id) => openRunsOf(tenantId, id))),
      together(sessions.map((id) => newestRunOf(tenantId, id))),
    ]);
    sessions.forEach((id, index) => {
      open.set(id, new Map(found[index]?.map((run) => [run.run_id, run])));
      const head = heads[index];
      if (head) newest.set(id, { runId: head.run_id, createdAt: head.created_at });
    });
    // These may be made due; nobody drives them.
    const queued = found.flat().filter(isBehind);
    for (const row of yield* lockRuns(
      tenantId,
      queued.map((run) => run.run_id),
    ))
      runs.adopt(row);
  }

  return {
    want: (sessionId) => void ids.add(sessionId),
    load: () => (ids.size > 0 ? load() : undefined),
    newest: (sessionId) => newest.get(sessionId) ?? none,
    open(sessionId) {
      const found = [...(open.get(sessionId)?.values() ?? [])].map((run) => runs.find(run.run_id) ?? run);
      return found.filter((run) => isOpen(run)).sort((one, other) => one.created_at - other.created_at);
    },
    enter: (run) => void open.get(run.session_id)?.set(run.run_id, run),
    add: (sessionId, head) => void newest.set(sessionId, head),
    interrupt(runId, reason) {
      if (!cancels.has(runId)) cancels.set(runId, reason);
    },
    write(writes) {
      for (const [runId, reason] of cancels) writes.push(...cancelRequest(tenantId, runId, reason, runs.nowMs));
    },
    isAtWork(run) {
      // One that is asked to cancel is due as this batch is written.
      if (run.status === 'waiting') return (run.due_at !== null && run.due_at <= runs.nowMs) || cancels.has(run.run_id);
      return run.status === 'running' || (run.status === 'queued' && !isBehind(run));
    },
  };
}

const none: NewestRun = { runId: null, createdAt: Number.NEGATIVE_INFINITY };

function isOpen({ status }: OpenRun): boolean {
  return status === 'queued' || status === 'running' || status === 'waiting';
}

/** Queued behind the work of its session. */
export function isBehind({ status, waiting }: Pick<OpenRun, 'status' | 'waiting'>): boolean {
  return status === 'queued' && waiting !== null;
}
