import { type BudgetScope, type BudgetUnit, type BudgetWindow, dictionary } from '@nexus-agent/protocol';
import { type Expression, sql } from 'kysely';
import { periodAt } from '#ledger';
import type { PageOf, PageRequest, UsageQuery, UsageSum } from '#storage/contract';
import { addMany, cutPage, defineTable, type Program, queriesOn, type Row, startOf } from '#storage/program';
import { ledgerEntries } from './reservations.ts';
import { runs } from './runs.ts';

/** Sums of what was booked, by day and by whom it was for; `name` is '' where nobody was named. They outlive the entries. */
export const usageDays = defineTable('usage_days', {
  tenant_id: 'text',
  /** `tenant` has one row for each day. */
  dimension: 'text',
  day: 'text',
  name: 'text',
  settlements: 'int',
  cost_micro_usd: 'int',
  tokens: 'int',
  tool_calls: 'int',
  wall_ms: 'int',
});

const { query } = queriesOn(usageDays, ledgerEntries, runs);

export type UsageDay = Row<typeof usageDays>;
type Sums = Pick<UsageDay, 'settlements' | 'cost_micro_usd' | 'tokens' | 'tool_calls' | 'wall_ms'>;
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

/** The newest day that something was booked on; null where nothing was. */
export function* newestDay(tenant: string): Program<string | null> {
  const sums = yield* query(({ db }) =>
    db
      .selectFrom('usage_days')
      .select('day')
      .where('tenant_id', '=', tenant)
      .where('dimension', '=', 'tenant')
      .orderBy('day', 'desc')
      .limit(1),
  );
  const unfolded = yield* query(({ db }) =>
    db
      .selectFrom('ledger_entries')
      .select('day')
      .where('tenant_id', '=', tenant)
      .where('folded', '=', sql.lit(0))
      .orderBy('day', 'desc')
      .limit(1),
  );
  return [...sums, ...unfolded].reduce<string | null>((newest, { day }) => (newest === null || day > newest ? day : newest), null);
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
      return bookedOf(tenant, inPeriod, { dimension: kind, name: '' });
    default:
      return bookedOf(tenant, inPeriod, { dimension: kind, name: id });
  }
}

/** The sums, and what an earlier version booked that is not in them yet. */
function bookedOf(
  tenant: string,
  inPeriod: Expression<unknown>,
  { dimension, name }: { readonly dimension: Dimension; readonly name: string },
) {
  const whose = dimension === 'tenant' ? sql`1 = 1` : sql`${sql.ref(entryColumns[dimension])} = ${name}`;
  return sql`select ${amountColumns} from usage_days
      where tenant_id = ${tenant} and dimension = ${dimension} and name = ${name} and ${inPeriod}
    union all
    select ${amountColumns} from ledger_entries where tenant_id = ${tenant} and folded = 0 and ${inPeriod} and ${whose}`;
}

/** By what sums are kept, and where an entry says it. */
const entryColumns = dictionary({ user: 'user_name', project: 'project', agent: 'agent', model: 'model' } as const);
type Named = keyof typeof entryColumns;
type Dimension = 'tenant' | Named;
const named = Object.keys(entryColumns) as Named[]; // its own keys

/** What of an entry of the ledger goes into the sums. */
export type Booked = Pick<Row<typeof ledgerEntries>, 'day' | Exclude<keyof Sums, 'settlements'> | (typeof entryColumns)[Named]>;

/** Adds entries of one tenant to the sums of their days. All who do so lock the rows in one order. */
export function addUsage(tenant: string, entries: readonly Booked[]): Program<number> {
  const sums = new Map<string, UsageDay>();
  for (const entry of entries) {
    addTo(sums, tenant, 'tenant', '', entry);
    for (const dimension of named) addTo(sums, tenant, dimension, entry[entryColumns[dimension]] ?? '', entry);
  }
  const rows = [...sums].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, row]) => row);
  return addMany(usageDays, ['tenant_id', 'dimension', 'day', 'name'], sumColumns, rows);
}

function addTo(sums: Map<string, UsageDay>, tenant: string, dimension: Dimension, name: string, entry: Booked): void {
  const key = `${dimension} ${entry.day} ${name}`;
  let row = sums.get(key);
  if (row === undefined) {
    row = { tenant_id: tenant, dimension, day: entry.day, name, settlements: 0, cost_micro_usd: 0, tokens: 0, tool_calls: 0, wall_ms: 0 };
    sums.set(key, row);
  }
  row.settlements += 1;
  row.cost_micro_usd += entry.cost_micro_usd;
  row.tokens += entry.tokens;
  row.tool_calls += entry.tool_calls;
  row.wall_ms += entry.wall_ms;
}

/** Whether an earlier version booked something that is not in the sums. */
export function* hasUnfolded(tenant: string): Program<boolean> {
  const rows = yield* query(({ db }) =>
    db.selectFrom('ledger_entries').select('entry_id').where('tenant_id', '=', tenant).where('folded', '=', sql.lit(0)).limit(1),
  );
  return rows.length > 0;
}

type Range = Omit<UsageQuery, 'by'>;

/** Sums of days, newest first. */
export function* usageByDay(tenant: string, { from, to }: Range, page: PageRequest): Program<PageOf<UsageSum>> {
  const position = startOf(page, ['string']);
  const rows = yield* query(({ db }) => {
    let select = db
      .selectFrom('usage_days')
      .selectAll()
      .where('tenant_id', '=', tenant)
      .where('dimension', '=', 'tenant')
      .where('day', '>=', from)
      .where('day', '<=', to);
    if (position !== undefined) select = select.where('day', '<', String(position[0]));
    return select.orderBy('day', 'desc').limit(page.limit + 1);
  });
  return cutPage(
    rows,
    page.limit,
    (row) => sumFromRow({ ...row, name: row.day }),
    (row) => [row.day],
  );
}

/** Days on which anything was booked, in their order: each has a row of the tenant itself. */
export function* bookedDays(tenant: string, { from, to }: Range): Program<readonly string[]> {
  const rows = yield* query(({ db }) =>
    db
      .selectFrom('usage_days')
      .select('day')
      .where('tenant_id', '=', tenant)
      .where('dimension', '=', 'tenant')
      .where('day', '>=', from)
      .where('day', '<=', to)
      .orderBy('day'),
  );
  return rows.map(({ day }) => day);
}

/** Sums of a day by name, in the order of names, from the one after `after` on. */
export function usageOfDay(
  tenant: string,
  dimension: Exclude<UsageQuery['by'], 'day'>,
  day: string,
  { after, limit }: { readonly after: string | null; readonly limit: number },
): Program<readonly UsageDay[]> {
  return query(({ db }) => {
    const select = db
      .selectFrom('usage_days')
      .selectAll()
      .where('tenant_id', '=', tenant)
      .where('dimension', '=', dimension)
      .where('day', '=', day);
    return (after === null ? select : select.where('name', '>', after)).orderBy('name').limit(limit);
  });
}

export function sumFromRow(row: Sums & { readonly name: string }): UsageSum {
  return {
    name: row.name,
    settlements: row.settlements,
    amounts: { costMicroUsd: row.cost_micro_usd, tokens: row.tokens, toolCalls: row.tool_calls, wallMs: row.wall_ms },
  };
}
