import type { BudgetLimits, BudgetScope, BudgetWindow, RunId, SessionId, TenantId } from '@nexus-agent/protocol';
import { budgetUnits } from '@nexus-agent/protocol';
import type { LedgerOperation } from '#ledger';

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

/** The scopes that pay for a piece of work, from its run to its tenant: the narrowest that cannot is the one that a refusal names. */
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
 * be shown: pass `unlimited: 'ignore'` to leave such units out of the ledger altogether. `fresh`: the scope comes to be with the
 * same change, so that nothing can be reserved in it yet.
 */
export function limitOperations(
  scope: BudgetScope,
  limits: BudgetLimits,
  options: { readonly window?: BudgetWindow; readonly unlimited?: 'count' | 'ignore'; readonly fresh?: boolean } = {},
): readonly LedgerOperation[] {
  const { window = 'total', unlimited = 'count', fresh = false } = options;
  return budgetUnits.flatMap((unit) => {
    const limit = limits[unit] ?? null;
    return limit === null && unlimited === 'ignore'
      ? []
      : [{ type: 'limit' as const, scope, unit, window, limit, ...(fresh ? { fresh } : {}) }];
  });
}
