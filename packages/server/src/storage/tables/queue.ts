import type { RunId, TenantId } from '@nexus-agent/protocol';
import { sql } from 'kysely';
import type { ClaimedRun } from '#storage/contract';
import { change, databaseNow, defineTable, json, type Program, parseNullable, queriesOn, run } from '#storage/program';
import { runFromRow, runs, type StoredRun } from './runs.ts';

/** Workers and until when they hold their runs. `runs` is the queue itself. */
export const workers = defineTable('workers', { worker_id: 'text', expires_at: 'int', lease_ms: 'int' });

const { statement, query } = queriesOn(runs, workers);

type RunKey = Pick<StoredRun, 'tenant_id' | 'run_id'>;

const renewWorker = statement('renew_worker', ({ db }, params: { worker: string; expiresAt: number; leaseMs: number }) =>
  db
    .insertInto('workers')
    .values({ worker_id: params.worker, expires_at: params.expiresAt, lease_ms: params.leaseMs })
    .onConflict((conflict) => conflict.column('worker_id').doUpdateSet({ expires_at: params.expiresAt, lease_ms: params.leaseMs })),
);

const cancelledRunsOf = statement('cancelled_runs_of', ({ db }, params: { worker: string }) =>
  db
    .selectFrom('runs')
    .select(['tenant_id', 'run_id', 'cancel_requested'])
    .where('lease_owner', '=', params.worker)
    .where('cancel_requested', 'is not', null),
);

export function* heartbeat(
  worker: string,
  leaseMs: number,
): Program<{ cancelRequested: readonly { tenantId: TenantId; runId: RunId; reason: string }[] }> {
  const now = yield* databaseNow();
  yield* change(renewWorker, { worker, expiresAt: now + leaseMs, leaseMs });
  const rows = yield* run(cancelledRunsOf, { worker });
  return {
    cancelRequested: rows.map((row) => ({
      tenantId: row.tenant_id as TenantId, // written from a branded id
      runId: row.run_id as RunId, // written from a branded id
      reason: parseNullable<string>(row.cancel_requested) ?? '', // never null: see the query
    })),
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
  yield* change(renewWorker, { worker, expiresAt: 0, leaseMs: 0 });
}

/** Clocks are corrected by less than this, or are wrong. */
const clockToleranceMs = 1_000;

/**
 * Owners of running runs whose lease has ended, or ends later than it can: it was written while a clock was wrong, and whoever renews
 * it does so by the clock of now. The distinct owners are found by hops over the index, so that the cost
 * follows the number of workers and not the number of live runs.
 */
const lostWorkers = statement('lost_workers', ({ db }, params: { now: number; latest: number }) =>
  db
    .withRecursive('owners(owner)', (cte) =>
      cte
        .selectFrom('runs')
        .where('lease_owner', 'is not', null)
        .select((eb) => eb.fn.min('lease_owner').as('owner'))
        .unionAll(
          cte
            .selectFrom('owners')
            .where('owner', 'is not', null)
            .select((eb) =>
              eb
                .selectFrom('runs')
                .whereRef('lease_owner', '>', 'owners.owner')
                .where('lease_owner', 'is not', null)
                .select((inner) => inner.fn.min('lease_owner').as('owner'))
                .as('owner'),
            ),
        ),
    )
    .selectFrom('owners')
    .select('owner')
    .where('owner', 'is not', null)
    .where((eb) =>
      eb.not(
        eb.exists(
          eb
            .selectFrom('workers')
            .select(sql.lit(1).as('one'))
            .whereRef('workers.worker_id', '=', 'owners.owner')
            .where('workers.expires_at', '>', params.now)
            .where((where) =>
              where.or([
                where('workers.lease_ms', '=', sql.lit(0)),
                where('workers.expires_at', '<=', where('workers.lease_ms', '+', params.latest)),
              ]),
            ),
        ),
      ),
    ),
);

const dueRuns = statement('due_runs', ({ db, dialect }, params: { now: number; limit: number }) =>
  dialect.skipLocked(
    db.selectFrom('runs').select(['tenant_id', 'run_id']).where('due_at', '<=', params.now).orderBy('due_at').limit(params.limit),
  ),
);

const takeRun = statement('take_run', ({ db }, params: { tenant: string; id: string; worker: string; now: number }) =>
  db
    .updateTable('runs')
    .set((eb) => ({
      status: 'running',
      lease_owner: params.worker,
      epoch: eb('epoch', '+', 1),
      due_at: null,
      woken: 0,
      updated_at: params.now,
    }))
    .where('tenant_id', '=', params.tenant)
    .where('run_id', '=', params.id)
    .returningAll(),
);

const anyDue = statement('any_due', ({ db }, params: { now: number }) =>
  // Without the order Postgres may prefer to read the whole table, where it expects many due runs.
  db.selectFrom('runs').select('run_id').where('due_at', '<=', params.now).orderBy('due_at').limit(1),
);

/** True when a claim would probably find something: an idle poll must not take the write lock. */
export function* hasClaimable(): Program<boolean> {
  const now = yield* databaseNow();
  if ((yield* run(anyDue, { now })).length > 0) return true;
  return (yield* run(lostWorkers, { now, latest: now + clockToleranceMs })).length > 0;
}

export function* claimRuns(worker: string, limit: number): Program<readonly ClaimedRun[]> {
  const now = yield* databaseNow();
  const lost = (yield* run(lostWorkers, { now, latest: now + clockToleranceMs })).flatMap(({ owner }) => (owner === null ? [] : [owner]));
  const abandoned = lost.length === 0 ? [] : yield* abandonedRuns(lost, limit);
  const ends = abandoned.length === 0 ? new Map<string, number>() : yield* leaseEnds(lost);
  const room = limit - abandoned.length;
  const due: readonly RunKey[] = room > 0 ? yield* run(dueRuns, { now, limit: room }) : [];
  const claimed: ClaimedRun[] = [];
  const wanted: readonly (RunKey & { readonly lease_owner?: string | null })[] = [...abandoned, ...due];
  for (const { tenant_id, run_id, lease_owner = null } of wanted) {
    const [row] = yield* run(takeRun, { tenant: tenant_id, id: run_id, worker, now });
    if (row) claimed.push({ ...runFromRow(row), lostAt: (lease_owner === null ? null : ends.get(lease_owner)) ?? null });
  }
  return claimed;
}

/** When the leases of these ended; one that was given up has no end. */
function* leaseEnds(lost: readonly string[]): Program<Map<string, number>> {
  const rows = yield* query(({ db }) =>
    db
      .selectFrom('workers')
      .select(['worker_id', 'expires_at'])
      .where('worker_id', 'in', [...lost])
      .where('expires_at', '>', 0),
  );
  return new Map(rows.map((row) => [row.worker_id, row.expires_at]));
}

function abandonedRuns(lost: readonly string[], limit: number): Program<readonly (RunKey & Pick<StoredRun, 'lease_owner'>)[]> {
  return query(({ db, dialect }) =>
    dialect.skipLocked(
      db
        .selectFrom('runs')
        .select(['tenant_id', 'run_id', 'lease_owner'])
        .where('lease_owner', 'in', [...lost])
        .where('status', '=', 'running')
        .orderBy('updated_at')
        .limit(limit),
    ),
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

const requeue = statement('requeue_run', ({ db }, params: { tenant: string; id: string; now: number }) =>
  db
    .updateTable('runs')
    .set({ status: 'queued', due_at: params.now, lease_owner: null, woken: 0, error: null, resumable: 0, cancel_requested: null })
    .where('tenant_id', '=', params.tenant)
    .where('run_id', '=', params.id)
    .where('status', '=', 'failed')
    .where('resumable', '=', 1),
);

export function* requeueRun(tenant: string, id: string): Program<boolean> {
  yield* run(lockRun, { tenant, id });
  return (yield* change(requeue, { tenant, id, now: yield* databaseNow() })) > 0;
}
