import type { BudgetScope, BudgetUnit, BudgetWindow } from '@nexus-agent/protocol';
import { type LedgerRow, periodAt, scopeKey, scopeOfKey } from '#ledger';
import type { BudgetFilter, PageOf, PageRequest } from '#storage/contract';
import {
  cutPage,
  defineTable,
  insertMany,
  type Program,
  queriesOn,
  type Row,
  selectMany,
  startOf,
  storable,
  updateMany,
} from '#storage/program';

export const budgets = defineTable('budgets', {
  tenant_id: 'text',
  scope: 'text',
  unit: 'text',
  budget_window: 'text',
  period: 'text',
  limit_amount: 'int?',
  inherited: 'int',
  owned: 'int',
  spent: 'int',
  reserved: 'int',
});
type Stored = Row<typeof budgets>;
type Balance = Omit<Stored, 'tenant_id'>;

function ledgerRowFromRow(row: Balance): LedgerRow {
  return {
    scope: scopeOfKey(row.scope),
    unit: row.unit as BudgetUnit,
    window: row.budget_window as BudgetWindow,
    period: row.period,
    limit: row.limit_amount,
    inherited: row.inherited === 1,
    owned: row.owned === 1,
    spent: row.spent,
    reserved: row.reserved,
  };
}

function ledgerRowToRow(tenantId: string, row: LedgerRow): Stored {
  return {
    tenant_id: tenantId,
    scope: scopeKey(row.scope),
    unit: row.unit,
    budget_window: row.window,
    period: row.period,
    limit_amount: row.limit,
    inherited: row.inherited === true ? 1 : 0,
    owned: row.owned === true ? 1 : 0,
    spent: row.spent,
    reserved: row.reserved,
  };
}

/** A scope as its column. Throws when it cannot be one. */
export function scopeText(scope: BudgetScope): string {
  return storable(scopeKey(scope), 'budget scope');
}

const { query } = queriesOn(budgets);

/** In the order of scope, unit, window. A balance of a period that has ended reads as the next write will leave it: nothing spent. */
export function* listBudgets(tenant: string, filter: BudgetFilter, nowMs: number, page: PageRequest): Program<PageOf<LedgerRow>> {
  const { scopes, kinds } = filter;
  if (scopes?.length === 0 || kinds?.length === 0) return { items: [], nextCursor: null };
  const after = startOf(page, ['string', 'string', 'string'])?.map(String);
  const rows: Stored[] = [];
  // Kind by kind, in the order of their scopes, so that millions of sessions are passed over.
  const ranges = kinds === undefined ? [null] : [...new Set(kinds)].sort();
  for (const kind of ranges) {
    const limit = page.limit + 1 - rows.length;
    if (limit > 0) rows.push(...(yield* balancesOf(tenant, { scopes, kind, after }, limit)));
  }
  return cutPage(
    rows,
    page.limit,
    (row) => {
      const balance = ledgerRowFromRow(row);
      const period = periodAt(balance.window, nowMs);
      return period > balance.period ? { ...balance, period, spent: 0 } : balance;
    },
    (row) => [row.scope, row.unit, row.budget_window],
  );
}

interface BalanceRange {
  readonly scopes: BudgetFilter['scopes'] | undefined;
  readonly kind: string | null;
  /** Scope, unit and window of the last row of the page before. */
  readonly after: readonly string[] | undefined;
}

function balancesOf(tenant: string, { scopes, kind, after }: BalanceRange, limit: number): Program<readonly Stored[]> {
  return query(({ db }) => {
    let select = db.selectFrom('budgets').selectAll().where('tenant_id', '=', tenant);
    if (scopes !== undefined) select = select.where('scope', 'in', scopes.map(scopeText));
    // A range of the key, `;` being what comes after `:`.
    if (kind !== null) select = select.where('scope', '>=', `${kind}:`).where('scope', '<', `${kind};`);
    if (after !== undefined) {
      const [scope = '', unit = '', window = ''] = after;
      select = select.where((eb) => eb(eb.refTuple('scope', 'unit', 'budget_window'), '>', eb.tuple(scope, unit, window)));
    }
    return select.orderBy('scope').orderBy('unit').orderBy('budget_window').limit(limit);
  });
}

/** All rows of the scopes, locked in the order of scope, unit and window. */
export function* lockBudgets(tenantId: string, scopes: Iterable<string>): Program<readonly LedgerRow[]> {
  return (yield* budgetsOf(tenantId, scopes, true)).map(ledgerRowFromRow);
}

/** The same, not locked: for limits that stand for others, which nobody changes while the books are shared. */
export function* readBudgets(tenantId: string, scopes: Iterable<string>): Program<readonly LedgerRow[]> {
  return (yield* budgetsOf(tenantId, scopes, false)).map(ledgerRowFromRow);
}

function budgetsOf(tenantId: string, scopes: Iterable<string>, lock: boolean): Program<readonly Balance[]> {
  return selectMany(budgets, ['scope', 'unit', 'budget_window', 'period', 'limit_amount', 'inherited', 'owned', 'spent', 'reserved'], {
    tenantId,
    key: 'scope',
    keys: scopes,
    orderBy: ['scope', 'unit', 'budget_window'],
    lock,
  });
}

export function insertBudgets(tenantId: string, rows: readonly LedgerRow[]): Program<number> {
  return insertMany(budgets, rows.map((row) => ledgerRowToRow(tenantId, row)).sort(inKeyOrder));
}

/** Writes balances, limits and periods of rows that were locked. */
export function updateBudgets(tenantId: string, rows: readonly LedgerRow[]): Program<number> {
  return updateMany(
    budgets,
    ['tenant_id', 'scope', 'unit', 'budget_window'],
    ['period', 'limit_amount', 'inherited', 'owned', 'spent', 'reserved'],
    rows.map((row) => ledgerRowToRow(tenantId, row)),
  );
}

function inKeyOrder(a: Stored, b: Stored): number {
  if (a.scope !== b.scope) return a.scope < b.scope ? -1 : 1;
  if (a.unit !== b.unit) return a.unit < b.unit ? -1 : 1;
  return a.budget_window < b.budget_window ? -1 : 1;
}
