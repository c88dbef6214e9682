/** Workers, until when they hold their runs, and which of them are lost. */
import { sql } from 'kysely';
import { type ClockReading, change, defineTable, type Program, queriesOn, run, together } from '#storage/program';
import { runs } from './runs.ts';

/** `expires_at`: 0 for one that was told to end, {@link knownDead} for one of which more is known than a time. */
export const workers = defineTable('workers', { worker_id: 'text', expires_at: 'int', lease_ms: 'int', live_runs: 'int' });

/** No process stands behind it any more, by whatever clock. */
export const knownDead = 1;

/** Clocks are corrected by less than this, or are wrong. */
const clockToleranceMs = 1_000;

const { statement } = queriesOn(runs, workers);

interface LostParams extends Record<string, number> {
  now: number;
  latest: number;
  steadyMs: number;
  watchedMs: number;
  knownDead: number;
}

/**
 * Owners of running runs whose lease has ended, or ends later than it can: it was written by another clock, and whoever renews it does so
 * by the clock of now. A clock that was just set says neither: whoever lives renews the lease within its length. The distinct
 * owners are found by hops over the index, so that the cost follows the number of workers and not the number of live runs.
 */
const lostWorkers = statement('lost_workers', ({ db }, params: LostParams) =>
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
            .where('workers.expires_at', '>', params.knownDead)
            .where((where) =>
              where.or([
                where('workers.lease_ms', '>', params.steadyMs),
                where.and([
                  where('workers.expires_at', '>', params.now),
                  where.or([
                    where('workers.lease_ms', '=', sql.lit(0)),
                    where('workers.lease_ms', '>', params.watchedMs),
                    where('workers.expires_at', '<=', where('workers.lease_ms', '+', params.latest)),
                  ]),
                ]),
              ]),
            ),
        ),
      ),
    ),
);

/** The latest end of a lease that was written by a clock ahead of this one, and that nobody renewed for its length. */
const leftAhead = statement('left_ahead', ({ db }, params: { latest: number; watchedMs: number }) =>
  db
    .selectFrom('workers')
    .select((eb) => eb.fn.max('expires_at').as('until'))
    .where('lease_ms', '>', sql.lit(0))
    .where('lease_ms', '<=', params.watchedMs)
    .where((eb) => eb('expires_at', '>', eb('lease_ms', '+', params.latest))),
);

const endAhead = statement('end_ahead', ({ db }, params: { latest: number; watchedMs: number; knownDead: number }) =>
  db
    .updateTable('workers')
    .set({ expires_at: params.knownDead })
    .where('lease_ms', '>', sql.lit(0))
    .where('lease_ms', '<=', params.watchedMs)
    .where((eb) => eb('expires_at', '>', eb('lease_ms', '+', params.latest))),
);

/** Made due too early, a run is only looked at once more. One that is locked is being written by somebody, by the clock of now. */
const bringForward = statement('bring_forward', ({ db, dialect }, params: { now: number; until: number }) =>
  db
    .updateTable('runs')
    .set({ due_at: params.now })
    .where('run_id', 'in', (eb) =>
      dialect.skipLocked(eb.selectFrom('runs').select('run_id').where('due_at', '>', params.now).where('due_at', '<=', params.until)),
    )
    .where('due_at', '>', params.now),
);

export interface Lost {
  /** Ids of workers that hold runs and are lost. */
  readonly owners: readonly string[];
  /** The clock is behind what somebody wrote by it: what was due by this time is due. Null where it is not. */
  readonly behind: number | null;
}

export function* findLost({ now, steadyMs, watchedMs, setBackFrom }: ClockReading): Program<Lost> {
  const latest = now + clockToleranceMs;
  const [owners, [left]] = yield* together([
    run(lostWorkers, { now, latest, steadyMs, watchedMs, knownDead }),
    run(leftAhead, { latest, watchedMs }),
  ]);
  const behind = Math.max(setBackFrom ?? 0, left?.until ?? 0);
  return { owners: owners.flatMap(({ owner }) => (owner === null ? [] : [owner])), behind: behind > now ? behind : null };
}

/** Makes due what was, and ends the leases of those that died under a clock ahead of this one. */
export function* makeUp({ now, watchedMs }: ClockReading, behind: number): Program<void> {
  yield* change(bringForward, { now, until: behind });
  yield* change(endAhead, { latest: now + clockToleranceMs, watchedMs, knownDead });
}
