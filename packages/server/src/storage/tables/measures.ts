import { type Expression, type SqlBool, sql } from 'kysely';
import type { Measures } from '#storage/contract';
import { type Program, queriesOn, type Row, together } from '#storage/program';
import { approvals } from './approvals.ts';
import { budgets } from './budgets.ts';
import { workers } from './leases.ts';
import { runs } from './runs.ts';

const { query } = queriesOn(runs, approvals, budgets, workers);

/** Each reads an index that is as small as the work at hand, and nothing else but the questions that wait. */
export function* countWork(nowMs: number): Program<Omit<Measures, 'budgets'>> {
  const [open, [due], [pending], [held]] = yield* together([openRuns(), dueRuns(nowMs), pendingApprovals(), leases(nowMs)]);
  const runsOf = (status: string) => open.find((row) => row.status === status)?.count ?? 0;
  return {
    runs: { queued: runsOf('queued'), running: runsOf('running'), waiting: runsOf('waiting') },
    due: { count: due?.count ?? 0, since: due?.since ?? null },
    approvalsWaiting: pending?.count ?? 0,
    workers: { alive: held?.alive ?? 0, lost: held?.lost ?? 0 },
  };
}

function openRuns(): Program<readonly { status: string; count: number }[]> {
  return query(({ db }) =>
    db
      .selectFrom('runs')
      .select((eb) => ['status', eb.fn.countAll<number>().as('count')])
      .where('status', 'in', [sql.lit('queued'), sql.lit('running'), sql.lit('waiting')])
      .groupBy('status'),
  );
}

function dueRuns(nowMs: number): Program<readonly { count: number; since: number | null }[]> {
  return query(({ db }) =>
    db
      .selectFrom('runs')
      .select((eb) => [eb.fn.countAll<number>().as('count'), eb.fn.min('due_at').as('since')])
      .where('due_at', '<=', nowMs)
      .where('status', '=', sql.lit('queued')),
  );
}

function pendingApprovals(): Program<readonly { count: number }[]> {
  return query(({ db }) =>
    db
      .selectFrom('approvals')
      .select((eb) => eb.fn.countAll<number>().as('count'))
      .where('status', '=', sql.lit('pending'))
      .where('kind', '!=', sql.lit('client_result')),
  );
}

/** A worker that was told to end has none. */
function leases(nowMs: number): Program<readonly { alive: number; lost: number }[]> {
  return query(({ db }) =>
    db
      .selectFrom('workers')
      .select([
        sql<number>`count(case when expires_at > ${nowMs} then 1 end)`.as('alive'),
        sql<number>`count(case when expires_at <= ${nowMs} then 1 end)`.as('lost'),
      ])
      .where('expires_at', '>', 0),
  );
}

const balanceColumns = ['tenant_id', 'scope', 'unit', 'budget_window', 'period', 'limit_amount', 'spent', 'reserved'] as const;

/** A row of the budgets, as far as it is measured. */
export type Balance = Pick<Row<typeof budgets>, (typeof balanceColumns)[number]>;

interface Piece {
  readonly after: Balance | null;
  readonly limit: number;
}

/** Limits that are set, of all tenants, those of single runs and sessions left out; in the order of their keys. */
export function sharedLimits(piece: Piece): Program<readonly Balance[]> {
  return balances(sql<SqlBool>`limit_amount is not null and substr(scope, 1, 4) not in ('run:', 'sess')`, piece);
}

/** Balances of users under the limit of every user. */
export function inheritedBalances(piece: Piece): Program<readonly Balance[]> {
  return balances(sql<SqlBool>`inherited = 1`, piece);
}

function balances(which: Expression<SqlBool>, { after, limit }: Piece): Program<readonly Balance[]> {
  return query(({ db }) => {
    const select = db
      .selectFrom('budgets')
      .select(balanceColumns)
      .where(which)
      .orderBy('tenant_id')
      .orderBy('scope')
      .orderBy('unit')
      .orderBy('budget_window')
      .limit(limit);
    if (after === null) return select;
    return select.where((eb) =>
      eb(
        eb.refTuple('tenant_id', 'scope', 'unit', 'budget_window'),
        '>',
        eb.tuple(after.tenant_id, after.scope, after.unit, after.budget_window),
      ),
    );
  });
}
