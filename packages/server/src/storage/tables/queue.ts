import type { RunId, TenantId } from '@nexus-agent/protocol';
import { sql } from 'kysely';
import type { ClaimedRun, DecisionRow, SignOfLife } from '#storage/contract';
import { type ClockWatch, change, databaseNow, json, type Program, parseNullable, queriesOn, run, together } from '#storage/program';
import { decisionToRow, insertDecisions } from './decisions.ts';
import { findLost, knownDead, makeUp, workers } from './leases.ts';
import { runFromRow, runs } from './runs.ts';
import { lockSessions } from './sessions.ts';
import { burySuspects, deathsBeforeAlone, howTheyEnded, type LostOwner } from './suspects.ts';
import { pickInTurn } from './turns.ts';

// Workers hold runs, and `runs` is the queue itself.
const { statement, query } = queriesOn(runs, workers);

interface WorkerParams extends Record<string, string | number> {
  worker: string;
  expiresAt: number;
  leaseMs: number;
  liveRuns: number;
}

const renewWorker = statement('renew_worker', ({ db }, params: WorkerParams) =>
  db
    .insertInto('workers')
    .values({ worker_id: params.worker, expires_at: params.expiresAt, lease_ms: params.leaseMs, live_runs: params.liveRuns })
    .onConflict((conflict) =>
      conflict.column('worker_id').doUpdateSet({ expires_at: params.expiresAt, lease_ms: params.leaseMs, live_runs: params.liveRuns }),
    ),
);

const leastLoad = statement('least_load', ({ db }, params: { worker: string; now: number }) =>
  db
    .selectFrom('workers')
    .select((eb) => eb.fn.min('live_runs').as('live_runs'))
    .where('worker_id', '!=', params.worker)
    .where('expires_at', '>', params.now),
);

const cancelledRunsOf = statement('cancelled_runs_of', ({ db }, params: { worker: string }) =>
  db
    .selectFrom('runs')
    .select(['tenant_id', 'run_id', 'cancel_requested'])
    .where('lease_owner', '=', params.worker)
    .where('cancel_requested', 'is not', null),
);

export function* heartbeat(worker: string, leaseMs: number, liveRuns: number, clock: ClockWatch): Program<SignOfLife> {
  const { now } = yield* clock.read();
  yield* change(renewWorker, { worker, expiresAt: now + leaseMs, leaseMs, liveRuns });
  const [rows, [least]] = yield* together([run(cancelledRunsOf, { worker }), run(leastLoad, { worker, now })]);
  return {
    cancelRequested: rows.map((row) => ({
      tenantId: row.tenant_id as TenantId, // written from a branded id
      runId: row.run_id as RunId, // written from a branded id
      reason: parseNullable<string>(row.cancel_requested) ?? '', // never null: see the query
    })),
    leastElsewhere: least?.live_runs ?? null,
  };
}

const runsOf = statement('runs_of', ({ db }, params: { worker: string }) =>
  db
    .selectFrom('runs')
    .select(['tenant_id', 'run_id', 'epoch'])
    .where('lease_owner', '=', params.worker)
    .where('status', '=', sql.lit('running')),
);

export function* ownedRuns(worker: string): Program<readonly { tenantId: TenantId; runId: RunId; epoch: number }[]> {
  const rows = yield* run(runsOf, { worker });
  // written from branded ids
  return rows.map((row) => ({ tenantId: row.tenant_id as TenantId, runId: row.run_id as RunId, epoch: row.epoch }));
}

export function* retireWorker(worker: string): Program<void> {
  yield* change(renewWorker, { worker, expiresAt: 0, leaseMs: 0, liveRuns: 0 });
}

const takeRun = statement('take_run', ({ db }, params: { tenant: string; id: string; worker: string; now: number; died: number }) =>
  db
    .updateTable('runs')
    .set((eb) => ({
      status: 'running',
      lease_owner: params.worker,
      epoch: eb('epoch', '+', 1),
      due_at: null,
      woken: 0,
      deaths: eb('deaths', '+', params.died),
      alone: 0,
      updated_at: params.now,
    }))
    .where('tenant_id', '=', params.tenant)
    .where('run_id', '=', params.id)
    .returningAll(),
);

const anyDue = statement('any_due', ({ db }, params: { due: number }) =>
  // Without the order Postgres may prefer to read the whole table, where it expects many due runs.
  db
    .selectFrom('runs')
    .select('run_id')
    .where('due_at', '<=', params.due)
    .where('deaths', '<', sql.lit(deathsBeforeAlone))
    .orderBy('due_at')
    .limit(1),
);

/** True when a claim would probably find something: an idle poll must not take the write lock. */
export function* hasClaimable(restMs: number, clock: ClockWatch): Program<boolean> {
  const reading = yield* clock.read();
  if ((yield* run(anyDue, { due: reading.now - restMs })).length > 0) return true;
  const { owners, behind } = yield* findLost(reading);
  return owners.length > 0 || behind !== null;
}

/** Tenants take turns from the one after `after` on; see {@link pickInTurn}. */
export function* claimRuns(
  worker: string,
  limit: number,
  { restMs, after, clock }: { readonly restMs: number; readonly after: string; readonly clock: ClockWatch },
): Program<{ readonly runs: readonly ClaimedRun[]; readonly after: string; readonly madeUp: number | null }> {
  const reading = yield* clock.read();
  const { now } = reading;
  const { owners, behind } = yield* findLost(reading);
  if (behind !== null) yield* makeUp(reading, behind);
  const lost = yield* howTheyEnded(owners);
  yield* burySuspects(lost, now);
  const picked = yield* pickInTurn({ lost, due: now - restMs, limit, after });
  const ends = lost.length === 0 ? new Map<string, LeaseEnd>() : yield* leaseEnds(lost, picked.keys);
  const taken = yield* together(
    picked.keys.map(({ tenant_id, run_id }) =>
      run(takeRun, { tenant: tenant_id, id: run_id, worker, now, died: ends.get(run_id)?.died ?? 0 }),
    ),
  );
  const claimed = taken.flat().map((row) => ({
    ...runFromRow(row),
    lostAt: ends.get(row.run_id)?.at ?? null,
    deaths: row.deaths,
    diedAlone: false,
  }));
  return { runs: claimed, after: picked.after, madeUp: behind };
}

interface LeaseEnd {
  /** Null where only that it ended is known. */
  readonly at: number | null;
  readonly died: 0 | 1;
}

/** When the leases ended under which these were held, and whether that counts as a death of theirs; one that was given up has no end. */
function* leaseEnds(lost: readonly LostOwner[], keys: readonly { readonly run_id: string }[]): Program<Map<string, LeaseEnd>> {
  if (keys.length === 0) return new Map();
  const rows = yield* query(({ db }) =>
    db
      .selectFrom('runs')
      .innerJoin('workers', 'workers.worker_id', 'runs.lease_owner')
      .select(['run_id', 'worker_id', 'expires_at'])
      .where(
        'lease_owner',
        'in',
        lost.map(({ owner }) => owner),
      )
      .where('expires_at', '>', 0)
      .where(
        'run_id',
        'in',
        keys.map((key) => key.run_id),
      ),
  );
  const died = new Map(lost.map((each) => [each.owner, each.died]));
  return new Map(
    rows.map((row) => [row.run_id, { at: row.expires_at > knownDead ? row.expires_at : null, died: died.get(row.worker_id) ?? 0 }]),
  );
}

const lockRun = statement('lock_run', ({ db, dialect }, params: { tenant: string; id: string }) =>
  dialect.forUpdate(
    db
      .selectFrom('runs')
      .select(['run_id', 'status', 'resumable', 'cancel_requested'])
      .where('tenant_id', '=', params.tenant)
      .where('run_id', '=', params.id),
  ),
);

/** A resting run is due at once. A running one is due as soon as it waits: it may have looked for the news before it was there. */
const wakeRun = statement('wake_run', ({ db }, params: { tenant: string; id: string; now: number }) =>
  db
    .updateTable('runs')
    .set((eb) => ({
      due_at: eb
        .case()
        .when('status', 'in', [sql.lit('queued'), sql.lit('waiting')])
        .then(eb.case().when('due_at', '<', params.now).then(eb.ref('due_at')).else(params.now).end())
        .else(null)
        .end(),
      woken: eb.case().when('status', '=', sql.lit('running')).then(1).else(0).end(),
    }))
    .where('tenant_id', '=', params.tenant)
    .where('run_id', '=', params.id)
    .where('status', 'in', [sql.lit('queued'), sql.lit('waiting'), sql.lit('running')]),
);

export function* lockAndWakeRun(tenant: string, id: string, then: () => Program<void>): Program<void> {
  yield* run(lockRun, { tenant, id });
  yield* then();
  yield* change(wakeRun, { tenant, id, now: yield* databaseNow() });
}

const setCancel = statement('set_cancel', ({ db }, params: { tenant: string; id: string; reason: string }) =>
  db
    .updateTable('runs')
    .set({ cancel_requested: params.reason })
    .where('tenant_id', '=', params.tenant)
    .where('run_id', '=', params.id)
    .where('cancel_requested', 'is', null),
);

export function* requestCancel(tenant: string, id: string, reason: string): Program<boolean> {
  const [row] = yield* run(lockRun, { tenant, id });
  if (!row || !['queued', 'running', 'waiting'].includes(row.status)) return false;
  yield* change(setCancel, { tenant, id, reason: json(reason) });
  yield* change(wakeRun, { tenant, id, now: yield* databaseNow() });
  return true;
}

/**
 * Asks a run to be cancelled, by statements that can be sent with the end of a transaction. `now` is the database's.
 */
export function cancelRequest(tenant: string, id: string, reason: string, now: number): readonly Program<number>[] {
  return [change(setCancel, { tenant, id, reason: json(reason) }), change(wakeRun, { tenant, id, now })];
}

const requeue = statement('requeue_run', ({ db }, params: { tenant: string; id: string; now: number; mostDeaths: number }) =>
  db
    .updateTable('runs')
    .set((eb) => ({
      status: 'queued',
      due_at: params.now,
      lease_owner: null,
      woken: 0,
      error: null,
      resumable: 0,
      cancel_requested: null,
      // One that was ended for its deaths is driven alone again, and one more ends it again.
      deaths: eb.case().when('deaths', '>', params.mostDeaths).then(params.mostDeaths).else(eb.ref('deaths')).end(),
      alone: 0,
    }))
    .where('tenant_id', '=', params.tenant)
    .where('run_id', '=', params.id)
    .where('status', '=', 'failed')
    .where('resumable', '=', 1),
);

const sessionOfRun = statement('session_of_run', ({ db }, params: { tenant: string; id: string }) =>
  db.selectFrom('runs').select('session_id').where('tenant_id', '=', params.tenant).where('run_id', '=', params.id),
);

/** Under the lock of its session: one that is closed at the same time either comes before and stops it, or finds the run open. */
export function* requeueRun(
  tenant: string,
  id: string,
  permit?: DecisionRow,
  mostDeaths = deathsBeforeAlone,
): Program<'requeued' | 'closed' | 'not_resumable'> {
  const [found] = yield* run(sessionOfRun, { tenant, id });
  if (!found) return 'not_resumable';
  const [session] = yield* lockSessions(tenant, [found.session_id]);
  if (session?.status !== 'active') return 'closed';
  yield* run(lockRun, { tenant, id });
  if ((yield* change(requeue, { tenant, id, now: yield* databaseNow(), mostDeaths })) === 0) return 'not_resumable';
  if (permit !== undefined) yield* insertDecisions([decisionToRow(tenant, permit)]);
  return 'requeued';
}
