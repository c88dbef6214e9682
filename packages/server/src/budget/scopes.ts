import type {
  BudgetAmounts,
  BudgetLimits,
  BudgetScope,
  BudgetUnit,
  BudgetView,
  BudgetWindow,
  RunId,
  SessionId,
  TenantId,
} from '@nexus-agent/protocol';
import { budgetUnits } from '@nexus-agent/protocol';
import type { LedgerOperation, LedgerRow } from '#storage';

interface ScopeNames {
  readonly tenantId: TenantId;
  readonly project?: string | null;
  readonly agent?: string | null;
  readonly user?: string | null;
  readonly session?: SessionId | null;
  readonly run?: RunId | null;
  /** Runs that this one works for, nearest first: it spends their budgets too. */
  readonly parentRuns?: readonly RunId[];
}

/** The scopes that pay for a piece of work, coldest (its run) to hottest (its tenant). */
export function scopesOf(names: ScopeNames): readonly BudgetScope[] {
  const scopes: BudgetScope[] = [];
  const add = (kind: BudgetScope['kind'], id: string | null | undefined) => {
    if (id !== null && id !== undefined) scopes.push({ kind, id });
  };
  add('run', names.run);
  for (const parent of names.parentRuns ?? []) add('run', parent);
  add('session', names.session);
  add('user', names.user);
  add('agent', names.agent);
  add('project', names.project);
  add('tenant', names.tenantId);
  return scopes;
}

/**
 * Operations that give a scope its rows. A unit without a limit is counted but not limited, so that what was spent can
 * be shown: pass `unlimited: 'ignore'` to leave such units out of the ledger altogether.
 */
export function limitOperations(
  scope: BudgetScope,
  limits: BudgetLimits,
  options: { readonly window?: BudgetWindow; readonly unlimited?: 'count' | 'ignore' } = {},
): readonly LedgerOperation[] {
  const { window = 'total', unlimited = 'count' } = options;
  return budgetUnits.flatMap((unit) => {
    const limit = limits[unit] ?? null;
    return limit === null && unlimited === 'ignore' ? [] : [{ type: 'limit' as const, scope, unit, window, limit }];
  });
}

/** A balance as the store keeps it, or as it lists it. */
type Balance = Pick<LedgerRow, 'unit' | 'window' | 'spent' | 'reserved'> & { readonly limit: number | null; readonly limited?: boolean };

/** What a person is shown of one scope: its totals by unit. Rows of other windows are left out. */
export function budgetView(rows: Iterable<Balance>): BudgetView {
  const limit: Partial<Record<BudgetUnit, number>> = {};
  const spent: Partial<Record<BudgetUnit, number>> = {};
  const reserved: Partial<Record<BudgetUnit, number>> = {};
  for (const row of rows) {
    if (row.window !== 'total') continue;
    if (row.limit !== null && row.limited !== false) limit[row.unit] = row.limit;
    spent[row.unit] = row.spent;
    reserved[row.unit] = row.reserved;
  }
  return { limit, spent, reserved };
}

/** Sum by unit. */
export function addAmounts(...all: readonly BudgetAmounts[]): BudgetAmounts {
  const sum: Partial<Record<BudgetUnit, number>> = {};
  for (const amounts of all) {
    for (const unit of budgetUnits) {
      const amount = amounts[unit];
      if (amount !== undefined) sum[unit] = (sum[unit] ?? 0) + amount;
    }
  }
  return sum;
}
