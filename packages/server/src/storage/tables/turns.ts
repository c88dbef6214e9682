import { sql } from 'kysely';
import { type Program, queriesOn, run, together } from '#storage/program';
import { runs, type StoredRun } from './runs.ts';
import { deathsBeforeAlone, type LostOwner } from './suspects.ts';

type RunKey = Pick<StoredRun, 'tenant_id' | 'run_id'>;

const { statement } = queriesOn(runs);

/** Tenants that one claim looks at; those after them have their turn with the next claims. */
const maxTenants = 256;

/** The tenants after one that have runs with a due time, found by hops over an index: the cost follows their number, not that of their runs. */
const tenantsWithDue = statement('tenants_with_due', ({ db }, params: { after: string; due: number }) =>
  db
    .withRecursive('hops(tenant, hop)', (cte) =>
      cte
        .selectFrom('runs')
        .where('due_at', 'is not', null)
        .where('tenant_id', '>', params.after)
        .select((eb) => [eb.fn.min<string | null>('tenant_id').as('tenant'), sql.lit(1).as('hop')])
        .unionAll(
          cte
            .selectFrom('hops')
            .where('tenant', 'is not', null)
            .where('hop', '<', sql.lit(maxTenants))
            .select((eb) => [
              eb
                .selectFrom('runs')
                .whereRef('tenant_id', '>', 'hops.tenant')
                .where('due_at', 'is not', null)
                .select((inner) => inner.fn.min<string | null>('tenant_id').as('tenant'))
                .as('tenant'),
              eb('hop', '+', sql.lit(1)).as('hop'),
            ]),
        ),
    )
    .selectFrom('hops')
    .where('tenant', 'is not', null)
    .select((eb) => [
      'tenant',
      eb
        .case()
        .when(
          eb.exists(
            eb
              .selectFrom('runs')
              .whereRef('tenant_id', '=', 'hops.tenant')
              .where('due_at', '<=', params.due)
              .where('deaths', '<', sql.lit(deathsBeforeAlone))
              .select(sql.lit(1).as('one')),
          ),
        )
        .then(sql.lit(1))
        .else(sql.lit(0))
        .end()
        .as('is_due'),
    ])
    .orderBy('hop'),
);

/** The tenants after one whose runs a lost worker held, found in the same way. */
const tenantsOfLost = statement('tenants_of_lost', ({ db }, params: { after: string; owner: string }) =>
  db
    .withRecursive('hops(tenant, hop)', (cte) =>
      cte
        .selectFrom('runs')
        .where('lease_owner', '=', params.owner)
        .where('tenant_id', '>', params.after)
        .select((eb) => [eb.fn.min<string | null>('tenant_id').as('tenant'), sql.lit(1).as('hop')])
        .unionAll(
          cte
            .selectFrom('hops')
            .where('tenant', 'is not', null)
            .where('hop', '<', sql.lit(maxTenants))
            .select((eb) => [
              eb
                .selectFrom('runs')
                .where('lease_owner', '=', params.owner)
                .whereRef('tenant_id', '>', 'hops.tenant')
                .select((inner) => inner.fn.min<string | null>('tenant_id').as('tenant'))
                .as('tenant'),
              eb('hop', '+', sql.lit(1)).as('hop'),
            ]),
        ),
    )
    .selectFrom('hops')
    .where('tenant', 'is not', null)
    .select('tenant')
    .orderBy('hop'),
);

const dueRunsOf = statement('due_runs_of', ({ db, dialect }, params: { tenant: string; due: number; limit: number }) =>
  dialect.skipLocked(
    db
      .selectFrom('runs')
      .select(['tenant_id', 'run_id'])
      .where('tenant_id', '=', params.tenant)
      .where('due_at', '<=', params.due)
      .where('deaths', '<', sql.lit(deathsBeforeAlone))
      .orderBy('due_at')
      .limit(params.limit),
  ),
);

const lostRunsOf = statement('lost_runs_of', ({ db, dialect }, params: { tenant: string; owner: string; died: number; limit: number }) =>
  dialect.skipLocked(
    db
      .selectFrom('runs')
      .select(['tenant_id', 'run_id'])
      .where('lease_owner', '=', params.owner)
      .where('tenant_id', '=', params.tenant)
      .where('status', '=', sql.lit('running'))
      .where((eb) => eb(eb('deaths', '+', params.died), '<', sql.lit(deathsBeforeAlone)))
      .limit(params.limit),
  ),
);

/** The oldest work of all tenants. */
const oldestDue = statement('oldest_due', ({ db, dialect }, params: { due: number; limit: number }) =>
  dialect.skipLocked(
    db
      .selectFrom('runs')
      .select(['tenant_id', 'run_id'])
      .where('due_at', '<=', params.due)
      .where('deaths', '<', sql.lit(deathsBeforeAlone))
      .orderBy('due_at')
      .limit(params.limit),
  ),
);

const lostRuns = statement('lost_runs', ({ db, dialect }, params: { owner: string; died: number; limit: number }) =>
  dialect.skipLocked(
    db
      .selectFrom('runs')
      .select(['tenant_id', 'run_id'])
      .where('lease_owner', '=', params.owner)
      .where('status', '=', sql.lit('running'))
      .where((eb) => eb(eb('deaths', '+', params.died), '<', sql.lit(deathsBeforeAlone)))
      .limit(params.limit),
  ),
);

export interface TurnsOptions {
  /** Workers whose runs are anybody's. */
  readonly lost: readonly LostOwner[];
  /** Runs that are due at this time or before it. */
  readonly due: number;
  readonly limit: number;
  /** The tenant that had the last turn, or nothing. */
  readonly after: string;
}

/**
 * Picks and locks runs that nobody drives, leaving out those that are locked. Every tenant that has any is given an equal share of what
 * is picked, and what one does not use goes to the others. Where there are more tenants than places the turns go on with the next call,
 * after the tenant that is named in the answer.
 */
export function* pickInTurn(options: TurnsOptions): Program<{ readonly keys: readonly RunKey[]; readonly after: string }> {
  const { tenants, end } = yield* tenantsInTurn(options);
  const keys: RunKey[] = [];
  let after = end ?? options.after;
  let waiting = tenants;
  while (waiting.length > 0 && keys.length < options.limit) {
    const room = options.limit - keys.length;
    const share = Math.max(1, Math.floor(room / waiting.length));
    const turn = waiting.slice(0, room);
    const picked = yield* together(turn.map((tenant) => runsOf(tenant, share, options, keys)));
    keys.push(...picked.flat());
    const last = turn.at(-1);
    if (turn.length < waiting.length && last !== undefined) after = last;
    // Whoever did not fill its share has nothing left.
    waiting = [...waiting.slice(turn.length), ...turn.filter((_, index) => picked[index]?.length === share)];
  }
  // Places that this part of the tenants leaves are for the oldest work of the others.
  if (end !== null) keys.push(...(yield* oldestRuns(options.limit - keys.length, options, keys)));
  return { keys, after };
}

/** Runs of a tenant besides those that are picked already: first those that were begun. */
function* runsOf(tenant: string, share: number, { lost, due }: TurnsOptions, picked: readonly RunKey[]): Program<readonly RunKey[]> {
  const known = picked.filter(({ tenant_id }) => tenant_id === tenant);
  const limit = share + known.length; // those are still as they were, and come again
  const found: RunKey[] = [];
  for (const owner of lost)
    if (found.length < limit) found.push(...(yield* run(lostRunsOf, { tenant, ...owner, limit: limit - found.length })));
  if (found.length < limit) found.push(...(yield* run(dueRunsOf, { tenant, due, limit: limit - found.length })));
  return without(known, found).slice(0, share);
}

/** The same of all tenants together. */
function* oldestRuns(room: number, { lost, due }: TurnsOptions, picked: readonly RunKey[]): Program<readonly RunKey[]> {
  if (room <= 0) return [];
  const limit = room + picked.length;
  const found: RunKey[] = [];
  for (const owner of lost) if (found.length < limit) found.push(...(yield* run(lostRuns, { ...owner, limit: limit - found.length })));
  if (found.length < limit) found.push(...(yield* run(oldestDue, { due, limit: limit - found.length })));
  return without(picked, found).slice(0, room);
}

function without(picked: readonly RunKey[], found: readonly RunKey[]): RunKey[] {
  const known = new Set(picked.map(({ run_id }) => run_id));
  return found.filter(({ run_id }) => !known.has(run_id));
}

/** Tenants with something to pick, from the one whose turn is next, once around; `end` is the last one looked at where there are too many. */
function* tenantsInTurn({ lost, due, after }: TurnsOptions): Program<{ readonly tenants: readonly string[]; readonly end: string | null }> {
  const beyond = yield* tenantsAfter(after, lost, due);
  if (beyond.end !== null || after === '') return beyond;
  const before = yield* tenantsAfter('', lost, due);
  const end = before.end !== null && before.end < after ? before.end : null;
  return { tenants: [...beyond.tenants, ...before.tenants.filter((tenant) => tenant <= after)], end };
}

function* tenantsAfter(
  after: string,
  lost: readonly LostOwner[],
  due: number,
): Program<{ readonly tenants: readonly string[]; readonly end: string | null }> {
  const [withDue, ...ofLost] = yield* together([
    run(tenantsWithDue, { after, due }),
    ...lost.map(({ owner }) => run(tenantsOfLost, { after, owner })),
  ]);
  const lists = [withDue, ...ofLost].map((rows) => rows.flatMap(({ tenant }) => (tenant === null ? [] : [tenant])));
  const ends = lists.flatMap((tenants) => (tenants.length < maxTenants ? [] : [tenants.at(-1) ?? '']));
  const end = ends.length === 0 ? null : (ends.sort()[0] ?? null);
  const ready = [...withDue.filter(({ is_due }) => is_due === 1), ...ofLost.flat()].flatMap(({ tenant }) =>
    tenant === null ? [] : [tenant],
  );
  const tenants = [...new Set(ready)].filter((tenant) => end === null || tenant <= end).sort();
  return { tenants, end };
}
