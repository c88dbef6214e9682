/** Runs whose workers died: how often, and who may drive them next. */
import { sql } from 'kysely';
import type { ClaimedRun } from '#storage/contract';
import { change, databaseNow, type Program, queriesOn, run } from '#storage/program';
import { runFromRow, runs } from './runs.ts';
import { rowsOf, write } from './statements.ts';

/** A run that lost so many workers without progress is driven alone. The index `runs_suspect` says the same number. */
export const deathsBeforeAlone = 2;

/**
 * What `runs.alone` says of a suspect. It is tried when it is taken up, alone or beside others that did not end in time, until a call of it has
 * an outcome or its time is over. A process that dies during a trial died of what it tried, whatever else it drove.
 */
const trial = { none: 0, alone: 1, diedAlone: 2, beside: 4, diedBeside: 5 } as const;
const underTrial = [sql.lit(trial.alone), sql.lit(trial.beside)];

/** A worker whose runs are anybody's. */
export interface LostOwner {
  readonly owner: string;
  /** 1 where it died, which counts for each of its runs: it was not told to end, and tried none. */
  readonly died: 0 | 1;
  /** 1 where it died of the one that it tried. */
  readonly convicted: 0 | 1;
}

/** In `workers.live_runs` of one that died, once somebody has looked what of: its runs are taken up one after the other. */
const verdict = { ofWhatItTried: -1, unknown: -2 } as const;

/** Which of these workers died, what of as far as that is known, and which were told to end. */
export function* howTheyEnded(owners: readonly string[]): Program<readonly LostOwner[]> {
  if (owners.length === 0) return [];
  const died = sql`from workers where expires_at > 0 and worker_id in (${sql.join([...owners])})`;
  const look = () => rowsOf(sql<{ owner: string; said: number }>`select worker_id as owner, live_runs as said ${died}`);
  let dead = yield* look();
  const fresh = dead.filter(({ said }) => said >= 0).map(({ owner }) => owner);
  if (fresh.length > 0) {
    const among = sql.join(fresh);
    const trying = sql`select lease_owner from runs where lease_owner in (${among})
      and deaths >= ${sql.lit(deathsBeforeAlone)} and alone in (${sql.join(underTrial)})`;
    // What another has found meanwhile stands: it may have taken up already what was tried.
    yield* write(sql`update workers set live_runs = case when worker_id in (${trying}) then ${sql.lit(verdict.ofWhatItTried)}
      else ${sql.lit(verdict.unknown)} end where worker_id in (${among}) and live_runs >= 0`);
    dead = yield* look();
  }
  const said = new Map(dead.map((row) => [row.owner, row.said]));
  return owners.map((owner) => ({
    owner,
    died: said.get(owner) === verdict.unknown ? 1 : 0,
    convicted: said.get(owner) === verdict.ofWhatItTried ? 1 : 0,
  }));
}

const { statement, query } = queriesOn(runs);

/** A run that is locked is being written by somebody, and is found by the next claim. */
const bury = statement('bury_suspects', ({ db, dialect }, params: { owner: string; died: number; convicted: number; now: number }) =>
  db
    .updateTable('runs')
    .set((eb) => ({
      status: 'queued',
      lease_owner: null,
      due_at: params.now,
      woken: 0,
      // The sums tell the database that these are numbers.
      deaths: eb
        .case()
        .when('alone', 'in', underTrial)
        .then(eb('deaths', '+', params.convicted))
        .else(eb('deaths', '+', params.died))
        .end(),
      alone: eb
        .case()
        .when(eb.and([eb('alone', 'in', underTrial), eb(eb.val(params.convicted), '=', sql.lit(1))]))
        .then(eb('alone', '+', sql.lit(1)))
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

const dueSuspect = statement('due_suspect', ({ db }, params: { now: number; setAside: number }) =>
  db
    .selectFrom('runs')
    .select('run_id')
    .where('due_at', '<=', params.now)
    .where('deaths', '>=', sql.lit(deathsBeforeAlone))
    .where('deaths', '<', params.setAside)
    .limit(1),
);

export function* hasSuspect(setAside: number): Program<boolean> {
  return (yield* run(dueSuspect, { now: yield* databaseNow(), setAside })).length > 0;
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

export function* claimSuspect(worker: string, isAlone: boolean, setAside: number): Program<ClaimedRun | null> {
  const now = yield* databaseNow();
  const [found] = yield* query(({ db, dialect }) =>
    dialect.skipLocked(
      db
        .selectFrom('runs')
        .select(['tenant_id', 'run_id', 'alone'])
        .where('due_at', '<=', now)
        .where('deaths', '>=', sql.lit(deathsBeforeAlone))
        .where('deaths', '<', setAside)
        // What a process just died of is tried before anything else is driven beside it.
        .orderBy((eb) => eb.case().when('alone', '=', sql.lit(trial.diedBeside)).then(sql.lit(0)).else(sql.lit(1)).end())
        .orderBy('due_at')
        .limit(1),
    ),
  );
  if (found === undefined) return null;
  const [row] = yield* run(takeSuspect, {
    tenant: found.tenant_id,
    id: found.run_id,
    worker,
    now,
    alone: isAlone ? trial.alone : trial.beside,
  });
  return row === undefined ? null : { ...runFromRow(row), lostAt: null, deaths: row.deaths, diedAlone: found.alone === trial.diedAlone };
}

const clear = statement('clear_suspect', ({ db }, params: { tenant: string; id: string; epoch: number }) =>
  db
    .updateTable('runs')
    .set({ alone: trial.none })
    .where('tenant_id', '=', params.tenant)
    .where('run_id', '=', params.id)
    .where('epoch', '=', params.epoch)
    .where('alone', 'in', underTrial),
);

export function* clearSuspect({ tenantId, runId, epoch }: Pick<ClaimedRun, 'tenantId' | 'runId' | 'epoch'>): Program<void> {
  yield* change(clear, { tenant: tenantId, id: runId, epoch });
}
