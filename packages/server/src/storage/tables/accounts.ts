import { type BudgetScope, type BudgetUnit, type BudgetWindow, dictionary } from '@nexus-agent/protocol';
import { type Expression, sql } from 'kysely';
import { periodAt } from '#ledger';
import type { PageOf, PageRequest, UsageQuery, UsageSum } from '#storage/contract';
import { cutPage, defineTable, type Program, queriesOn, type Row, startOf } from '#storage/program';
import { ledgerEntries } from './reservations.ts';
import { runs } from './runs.ts';

/** Sums of what was booked on days that are over, by whom it was for; '' where nobody was named. They outlive the entries. */
export const ledgerDays = defineTable('ledger_days', {
  tenant_id: 'text',
  day: 'text',
  user_name: 'text',
  project: 'text',
  agent: 'text',
  model: 'text',
  settlements: 'int',
  cost_micro_usd: 'int',
  tokens: 'int',
  tool_calls: 'int',
  wall_ms: 'int',
});

const { query } = queriesOn(ledgerDays, ledgerEntries, runs);

type Sums = Pick<Row<typeof ledgerDays>, 'settlements' | 'cost_micro_usd' | 'tokens' | 'tool_calls' | 'wall_ms'>;
const sumColumns = ['settlements', 'cost_micro_usd', 'tokens', 'tool_calls', 'wall_ms'] as const satisfies (keyof Sums)[];
const columnOf: Readonly<Record<BudgetUnit, keyof Sums>> = {
  costMicroUsd: 'cost_micro_usd',
  tokens: 'tokens',
  toolCalls: 'tool_calls',
  wallMs: 'wall_ms',
};
const amountColumns = sql.raw(Object.values(columnOf).join(', '));

/**
 * What was booked of a scope in the period of each window that is current: read in one statement, so that entries that are folded
 * at the same time are neither missed nor counted twice. It is exact for a caller that has passed the gate of the tenant alone.
 */
export function* spentSoFar(
  tenant: string,
  scope: BudgetScope,
  window: BudgetWindow,
  nowMs: number,
): Program<Readonly<Record<BudgetUnit, number>>> {
  const period = periodAt(window, nowMs);
  const inPeriod = sql`day >= ${period} and day < ${`${period}~`}`;
  const [row] = yield* query(({ db }) =>
    db
      .selectFrom(sql<Sums>`(${entriesOf(tenant, scope, inPeriod)})`.as('booked'))
      .select((eb) => Object.values(columnOf).map((name) => eb.fn.sum<number | null>(name).as(name))),
  );
  const sums = row as Readonly<Partial<Record<keyof Sums, number | null>>> | undefined; // exactly these columns were selected
  return {
    costMicroUsd: sums?.cost_micro_usd ?? 0,
    tokens: sums?.tokens ?? 0,
    toolCalls: sums?.tool_calls ?? 0,
    wallMs: sums?.wall_ms ?? 0,
  };
}

function entriesOf(tenant: string, { kind, id }: BudgetScope, inPeriod: Expression<unknown>) {
  const entries = sql`select ${amountColumns} from ledger_entries where tenant_id = ${tenant} and ${inPeriod}`;
  switch (kind) {
    case 'run':
      // What sub-agents use is charged to the runs that they work for, too.
      return sql`with recursive family(run_id) as (
          select run_id from runs where tenant_id = ${tenant} and run_id = ${id} union
          select r.run_id from runs r join family f on r.parent_run_id = f.run_id where r.tenant_id = ${tenant}
        ) ${entries} and run_id in (select run_id from family)`;
    case 'session':
      return sql`${entries} and run_id in (select run_id from runs where tenant_id = ${tenant} and session_id = ${id})
        union all ${entries} and run_id is null and session_id = ${id}`;
    case 'tenant':
      return bookedOf(tenant, inPeriod, sql`1 = 1`);
    default:
      return bookedOf(tenant, inPeriod, sql`${sql.ref(kind === 'user' ? 'user_name' : kind)} = ${id}`);
  }
}

/** Days that are over and what is not folded into its day yet. */
function bookedOf(tenant: string, inPeriod: Expression<unknown>, whose: Expression<unknown>) {
  return sql`select ${amountColumns} from ledger_days where tenant_id = ${tenant} and ${inPeriod} and ${whose}
    union all
    select ${amountColumns} from ledger_entries where tenant_id = ${tenant} and folded = 0 and ${inPeriod} and ${whose}`;
}

const groups: Readonly<Record<UsageQuery['by'], string>> = dictionary({
  day: 'day',
  user: 'user_name',
  agent: 'agent',
  model: 'model',
  project: 'project',
});

/** Sums by day (newest first), else by what cost most. */
export function* usage(tenant: string, { by, from, to }: UsageQuery, page: PageRequest): Program<PageOf<UsageSum>> {
  const group = groups[by];
  const position = startOf(page, by === 'day' ? ['string'] : ['number', 'string']);
  const range = sql`tenant_id = ${tenant} and day >= ${from} and day <= ${to}`;
  const name = by === 'day' ? sql`day` : sql`coalesce(${sql.ref(group)}, '')`;
  const booked = sql<Sums & { name: string }>`(
    select ${name} as name, settlements, ${amountColumns} from ledger_days where ${range}
    union all
    select ${name} as name, 1 as settlements, ${amountColumns} from ledger_entries where ${range} and folded = 0
  )`;
  const rows = yield* query(({ db }) => {
    const sums = db
      .selectFrom(booked.as('booked'))
      .select('name')
      .select((eb) => sumColumns.map((column) => eb.fn.sum<number>(column).as(column)))
      .groupBy('name')
      .as('sums');
    const select = db.selectFrom(sums).selectAll();
    if (by === 'day') {
      const before = position === undefined ? select : select.where('name', '<', String(position[0]));
      return before.orderBy('name', 'desc').limit(page.limit + 1);
    }
    const after =
      position === undefined
        ? select
        : select.where((eb) =>
            eb.or([
              eb('cost_micro_usd', '<', Number(position[0])),
              eb.and([eb('cost_micro_usd', '=', Number(position[0])), eb('name', '>', String(position[1]))]),
            ]),
          );
    return after
      .orderBy('cost_micro_usd', 'desc')
      .orderBy('name')
      .limit(page.limit + 1);
  });
  return cutPage(
    rows as readonly (Sums & { name: string })[], // exactly these columns were selected
    page.limit,
    (row) => ({
      name: row.name,
      settlements: row.settlements,
      amounts: { costMicroUsd: row.cost_micro_usd, tokens: row.tokens, toolCalls: row.tool_calls, wallMs: row.wall_ms },
    }),
    (row) => (by === 'day' ? [row.name] : [row.cost_micro_usd, row.name]),
  );
}
