/** Runs whose workers died: how often, and who may drive them next. */
import { sql } from 'kysely';
import type { ClaimedRun } from '#storage/contract';
import { change, databaseNow, type Program, queriesOn, run } from '#storage/program';
import { runFromRow, runs } from './runs.ts';

/** A run that lost so many workers without progress is driven alone. The index `runs_suspect` says the same number. */
export const deathsBeforeAlone = 2;

/** A worker whose runs are anybody's; `died` is 1 unless it was told to end. */
export interface LostOwner {
  readonly owner: string;
  readonly died: 0 | 1;
}

const { statement, query } = queriesOn(runs);

/** A run that is locked is being written by somebody, and is found by the next claim. */
const bury = statement('bury_suspects', ({ db, dialect }, params: { owner: string; died: number; now: number }) =>
  db
    .updateTable('runs')
    .set((eb) => ({
      status: 'queued',
      lease_owner: null,
      due_at: params.now,
      woken: 0,
      deaths: eb('deaths', '+', params.died),
      alone: eb
        .case()
        .when(eb.and([eb('alone', '=', sql.lit(1)), eb(eb.val(params.died), '=', sql.lit(1))]))
        .then(sql.lit(2))
        .else(eb.ref('alone'))
        .end(),
      updated_at: params.now,
    }))
    .where('lease_owner', '=', params.owner)
    .where('run_id', 'in', (eb) =>
      dialect.skipLocked(
        eb
          .selectFrom('runs')
          .select('run_id')
          .where('lease_owner', '=', params.owner)
          .where('status', '=', sql.lit('running'))
          .where((where) => where(where('deaths', '+', params.died), '>=', sql.lit(deathsBeforeAlone))),
      ),
    ),
);

/** Puts those of lost workers that are suspect into the queue, where only {@link claimSuspect} finds them. */
export function* burySuspects(lost: readonly LostOwner[], now: number): Program<void> {
  for (const owner of lost) yield* change(bury, { ...owner, now });
}

const dueSuspect = statement('due_suspect', ({ db }, params: { now: number; mostDeaths: number }) =>
  db
    .selectFrom('runs')
    .select('run_id')
    .where('due_at', '<=', params.now)
    .where('deaths', '>=', sql.lit(deathsBeforeAlone))
    .where('deaths', '<=', params.mostDeaths)
    .limit(1),
);

export function* hasSuspect(mostDeaths: number): Program<boolean> {
  return (yield* run(dueSuspect, { now: yield* databaseNow(), mostDeaths })).length > 0;
}

const takeSuspect = statement(
  'take_suspect',
  ({ db }, params: { tenant: string; id: string; worker: string; now: number; alone: number }) =>
    db
      .updateTable('runs')
      .set((eb) => ({
        status: 'running',
        lease_owner: params.worker,
        epoch: eb('epoch', '+', 1),
        due_at: null,
        woken: 0,
        alone: params.alone,
        updated_at: params.now,
      }))
      .where('tenant_id', '=', params.tenant)
      .where('run_id', '=', params.id)
      .returningAll(),
);

export function* claimSuspect(worker: string, isAlone: boolean, mostDeaths: number): Program<ClaimedRun | null> {
  const now = yield* databaseNow();
  const [found] = yield* query(({ db, dialect }) =>
    dialect.skipLocked(
      db
        .selectFrom('runs')
        .select(['tenant_id', 'run_id', 'alone'])
        .where('due_at', '<=', now)
        .where('deaths', '>=', sql.lit(deathsBeforeAlone))
        .where('deaths', '<=', mostDeaths)
        .orderBy('due_at')
        .limit(1),
    ),
  );
  if (found === undefined) return null;
  const [row] = yield* run(takeSuspect, { tenant: found.tenant_id, id: found.run_id, worker, now, alone: isAlone ? 1 : 0 });
  return row === undefined ? null : { ...runFromRow(row), lostAt: null, deaths: row.deaths, diedAlone: found.alone === 2 };
}

const clear = statement('clear_suspect', ({ db }, params: { tenant: string; id: string; epoch: number }) =>
  db
    .updateTable('runs')
    .set({ alone: 0 })
    .where('tenant_id', '=', params.tenant)
    .where('run_id', '=', params.id)
    .where('epoch', '=', params.epoch)
    .where('alone', '=', 1),
);

export function* clearSuspect({ tenantId, runId, epoch }: Pick<ClaimedRun, 'tenantId' | 'runId' | 'epoch'>): Program<void> {
  yield* change(clear, { tenant: tenantId, id: runId, epoch });
}
