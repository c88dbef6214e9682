import { terminalStatuses } from '@nexus-agent/protocol';
import type { Commit, Waiting } from '#storage/contract';
import { databaseNow, type Program, parseNullable } from '#storage/program';
import { insertRuns, lockRuns, placeInIndexes, type StoredRun, updateRuns, updateRunsInPlace } from '#storage/tables';
import type { Batch } from './handler.ts';
import { WorkingRows } from './working-rows.ts';

/** The runs of a batch, shared by the handlers that create, drive and wake them. */
export interface WorkingRuns {
  want(commit: Commit): void;
  load(): Program<void> | undefined;
  /** The time by the database's clock, where the batch may set due times. */
  readonly nowMs: number;
  find(runId: string): StoredRun | undefined;
  /** Takes in a row that was found and locked otherwise. */
  adopt(row: StoredRun): void;
  /** Takes over a run that is new, or was changed in place. */
  set(run: StoredRun): void;
  write(writes: Program<unknown>[]): void;
}

/** The database's clock, with which all dispatchers compare due times; asked for when one may be set. */
interface Time {
  needed: boolean;
  nowMs: number;
}

export function createWorkingRuns({ tenantId, nowMs }: Batch): WorkingRuns {
  const rows = new WorkingRows<StoredRun>();
  /** As they are stored: the rows are changed in place. */
  const places = new Map<string, string>();
  const take = (row: StoredRun) => {
    rows.load(row.run_id, row);
    places.set(row.run_id, placeInIndexes(row));
  };
  const ids: string[] = [];
  const time: Time = { needed: false, nowMs };
  return {
    want({ createRun, run, wake, leaves, place }) {
      if (createRun) ids.push(createRun.runId);
      if (run) ids.push(run.runId);
      if (wake) ids.push(...wake);
      const status = createRun?.status ?? run?.patch.status;
      time.needed ||= (wake?.length ?? 0) > 0 || leaves !== undefined || place !== undefined || status === 'waiting' || status === 'queued';
    },
    load: () => (ids.length > 0 ? load(tenantId, ids, take, time) : undefined),
    get nowMs() {
      return time.nowMs;
    },
    find: (runId) => rows.all.get(runId),
    adopt(row) {
      if (!rows.all.has(row.run_id)) take(row);
    },
    set(run) {
      settleDueTime(run, time.nowMs);
      rows.set(run.run_id, run);
    },
    write(writes) {
      const [created, changed] = [rows.created(), rows.changed()];
      if (created.length > 0) writes.push(insertRuns(created));
      const stays = (row: StoredRun) => places.get(row.run_id) === placeInIndexes(row);
      const [inPlace, moved] = [changed.filter(stays), changed.filter((row) => !stays(row))];
      if (inPlace.length > 0) writes.push(updateRunsInPlace(inPlace));
      if (moved.length > 0) writes.push(updateRuns(moved));
    },
  };
}

function* load(tenantId: string, ids: readonly string[], take: (row: StoredRun) => void, time: Time): Program<void> {
  for (const row of yield* lockRuns(tenantId, ids)) take(row);
  if (time.needed) time.nowMs = yield* databaseNow();
}

const ended: ReadonlySet<string> = new Set(terminalStatuses);

export function hasEnded(run: StoredRun): boolean {
  return ended.has(run.status);
}

/** Its due time is the end of its patience with the session. */
function standsBehind({ waiting }: StoredRun): boolean {
  return parseNullable<Waiting>(waiting)?.reason === 'session';
}

/** Nothing in the queue rests for longer (`runs.retryTakeMs`): what is due later by the clock of a process is so because that was set. */
const mostRestMs = 60_000;

/**
 * Keeps the two indexes that dispatchers read true: only a queued or waiting run has a due time, an ended one has no
 * owner. A run that was woken while it still ran is due as soon as it waits: the wake-up is not lost.
 */
function settleDueTime(run: StoredRun, nowMs: number): void {
  if (hasEnded(run)) run.lease_owner = null;
  if (run.status !== 'queued' && run.status !== 'waiting') {
    run.due_at = null;
  } else if (run.status === 'queued' && run.due_at !== null && run.due_at > nowMs + mostRestMs && !standsBehind(run)) {
    run.due_at = nowMs;
  } else if (run.woken === 1 || (run.status === 'waiting' && run.cancel_requested !== null)) {
    run.woken = 0;
    run.due_at = Math.min(run.due_at ?? nowMs, nowMs);
  }
}
