import type { BudgetScopeKind, BudgetUnit } from '@nexus-agent/protocol';
import { type RawBuilder, sql } from 'kysely';
import { periodAt } from '#ledger';
import type { BudgetUse, Measures } from '#storage/contract';
import { type Program, queriesOn, together } from '#storage/program';
import { approvals } from './approvals.ts';
import { budgets } from './budgets.ts';
import { workers } from './queue.ts';
import { runs } from './runs.ts';

const { query } = queriesOn(runs, approvals, budgets, workers);

interface UseRow {
  readonly scope_kind: string;
  readonly unit: string;
  readonly used: string;
  readonly count: number;
  readonly largest: number;
}

/** Each reads an index that is as small as the work at hand, or as what people have limited. */
export function* measure(nowMs: number): Program<Measures> {
  const [open, [due], [pending], [held], uses] = yield* together([
    openRuns(),
    dueRuns(nowMs),
    pendingApprovals(),
    leases(nowMs),
    budgetUses(nowMs),
  ]);
  const runsOf = (status: string) => open.find((row) => row.status === status)?.count ?? 0;
  return {
    runs: { queued: runsOf('queued'), running: runsOf('running'), waiting: runsOf('waiting') },
    due: { count: due?.count ?? 0, since: due?.since ?? null },
    approvalsWaiting: pending?.count ?? 0,
    workers: { alive: held?.alive ?? 0, lost: held?.lost ?? 0 },
    budgets: uses.map((row) => ({
      scope: row.scope_kind as BudgetScopeKind, // written by scopeKey
      unit: row.unit as BudgetUnit, // as above
      used: row.used as BudgetUse['used'], // from the query
      count: row.count,
      largest: row.largest,
    })),
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
      .where('status', '=', 'queued'),
  );
}

function pendingApprovals(): Program<readonly { count: number }[]> {
  return query(({ db }) =>
    db
      .selectFrom('approvals')
      .select((eb) => eb.fn.countAll<number>().as('count'))
      .where('status', '=', sql.lit('pending')),
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

/** Limits that are set, and for each user without one of their own that of every user. */
function budgetUses(nowMs: number): Program<readonly UseRow[]> {
  const current = sql`(b.budget_window = 'total' or b.period = case b.budget_window when 'day' then ${periodAt('day', nowMs)} else ${periodAt('month', nowMs)} end)`;
  const shareOf = (limit: RawBuilder<unknown>) =>
    sql`case when ${limit} = 0 then 1.0 else (case when ${current} then b.spent else 0 end + b.reserved) * 1.0 / ${limit} end`;
  return query(({ db }) =>
    db
      .selectFrom(
        sql<{ scope_kind: string; unit: string; share: number }>`(
          select case substr(b.scope, 1, 4) when 'tena' then 'tenant' when 'proj' then 'project' when 'agen' then 'agent' else 'user' end as scope_kind,
            b.unit, ${shareOf(sql`b.limit_amount`)} as share from budgets b
          where b.limit_amount is not null and substr(b.scope, 1, 4) not in ('run:', 'sess')
          union all
          select 'user' as scope_kind, b.unit, ${shareOf(sql`shared.limit_amount`)} as share from budgets shared
          join budgets b on b.tenant_id = shared.tenant_id and b.scope >= 'user:' and b.scope < 'user;'
            and b.unit = shared.unit and b.budget_window = shared.budget_window and b.inherited = 1
          where shared.limit_amount is not null and shared.scope = 'user:*'
        )`.as('limits'),
      )
      .select((eb) => [
        'scope_kind',
        'unit',
        sql<string>`case when share < 0.5 then 'under_half' when share < 0.8 then 'under_80' when share < 1 then 'under_100' else 'exhausted' end`.as(
          'used',
        ),
        eb.fn.countAll<number>().as('count'),
        sql<number>`cast(max(share) as double precision)`.as('largest'),
      ])
      .groupBy(['scope_kind', 'unit', 'used']),
  );
}
