import type { BudgetRow, BudgetScope, Page, SetBudgetRequest, UsageRow } from '@nexus-agent/protocol';
import { limitOperations } from '#budget';
import { type Clock, NexusError } from '#core';
import type { Principal } from '#identity';
import type { LedgerRow } from '#ledger';
import type { AgentSource } from '#runs';
import { type CommitStore, type LedgerStore, type PageRequest, viewPage } from '#storage';
import { type KnownScopes, requireKnownScope } from './budget-scopes.ts';
import { usageByDay } from './usage.ts';

/** Limits, and what was spent of them. */
export interface Budgets {
  list(principal: Principal, filter: { scope?: BudgetScope }, page: PageRequest): Promise<Page<BudgetRow>>;
  /** Sets the limit of a scope, unit and window at once; what was spent stays. Throws `not_found` for a scope that there is not. */
  set(principal: Principal, request: SetBudgetRequest): Promise<BudgetRow>;
  /** What was charged per UTC day, newest first, of the last `days` days. */
  usage(principal: Principal, days: number): Promise<readonly UsageRow[]>;
}

export interface BudgetsDependencies {
  readonly store: CommitStore & Pick<LedgerStore, 'listBudgets' | 'listLedgerEntries'> & KnownScopes['store'];
  readonly agents: AgentSource;
  readonly clock: Clock;
}

export function createBudgets({ store, agents, clock }: BudgetsDependencies): Budgets {
  return {
    async list(principal, { scope }, page) {
      const filter = scope === undefined ? {} : { scopes: [scope] };
      return viewPage(await store.listBudgets(principal.tenantId, filter, clock.now(), page), budgetRow);
    },
    async set(principal, { scope, unit, window, limit }) {
      await requireKnownScope({ store, agents }, principal, scope);
      await store.commit({
        tenantId: principal.tenantId,
        ledger: limitOperations(scope, { [unit]: limit }, { window, unlimited: 'ignore' }),
      });
      const { items } = await store.listBudgets(principal.tenantId, { scopes: [scope] }, clock.now(), { limit: 100 });
      const row = items.find((item) => item.unit === unit && item.window === window);
      if (row === undefined) throw new NexusError('internal', 'the budget was written and is not there');
      return budgetRow(row);
    },
    usage: (principal, days) => usageByDay(store, principal.tenantId, clock.now(), days),
  };
}

function budgetRow({ limit, ...balance }: LedgerRow): BudgetRow {
  return limit === null ? balance : { ...balance, limit };
}
