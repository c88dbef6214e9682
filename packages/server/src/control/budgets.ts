import type { BudgetRow, BudgetScope, BudgetUnit, BudgetWindow, Page, SetBudgetRequest, UsageRow } from '@nexus-agent/protocol';
import { type Clock, NexusError } from '#core';
import type { Principal } from '#identity';
import { everyUser, type LedgerRow, rowKey } from '#ledger';
import type { AgentSource } from '#runs';
import { type CommitStore, type LedgerStore, type PageRequest, type UsageQuery, viewPage } from '#storage';
import { type KnownScopes, requireKnownScope } from './budget-scopes.ts';

/** Limits, and what was spent of them. */
export interface Budgets {
  list(principal: Principal, filter: { scope?: BudgetScope }, page: PageRequest): Promise<Page<BudgetRow>>;
  /** Sets the limit of a scope, unit and window at once; what was spent in the window counts. Throws `not_found` for a scope that there is not. */
  set(principal: Principal, request: SetBudgetRequest): Promise<BudgetRow>;
  /** Takes the limit away: the balance goes on counting, that of a user under the limit of every user. Throws `not_found`. */
  remove(
    principal: Principal,
    of: { readonly scope: BudgetScope; readonly unit: BudgetUnit; readonly window: BudgetWindow },
  ): Promise<void>;
  /** What was charged, summed by the database: days newest first, others by what cost most. */
  usage(principal: Principal, query: UsageQuery, page: PageRequest): Promise<Page<UsageRow>>;
}

export interface BudgetsDependencies {
  readonly store: CommitStore & Pick<LedgerStore, 'listBudgets' | 'usage'> & KnownScopes['store'];
  readonly agents: AgentSource;
  readonly clock: Clock;
}

export function createBudgets({ store, agents, clock }: BudgetsDependencies): Budgets {
  async function rowsOf({ tenantId }: Principal, scope: BudgetScope): Promise<readonly LedgerRow[]> {
    return (await store.listBudgets(tenantId, { scopes: [scope] }, clock.now(), { limit: 100 })).items;
  }
  /** Rows of users who have no limit of their own are shown with the one that holds for them. */
  async function viewOf(principal: Principal, rows: readonly LedgerRow[]): Promise<(row: LedgerRow) => BudgetRow> {
    const defaults = rows.some(({ inherited }) => inherited) ? await rowsOf(principal, everyUser) : [];
    const limitOf = new Map(defaults.map((row) => [rowKey(everyUser, row.unit, row.window), row.limit]));
    return ({ limit: own, inherited, ...balance }) => {
      const limit = inherited === true ? (limitOf.get(rowKey(everyUser, balance.unit, balance.window)) ?? null) : own;
      return { ...balance, ...(limit === null ? {} : { limit, ...(inherited === true ? { inherited } : {}) }) };
    };
  }

  return {
    async list(principal, { scope }, page) {
      const rows = await store.listBudgets(principal.tenantId, scope === undefined ? {} : { scopes: [scope] }, clock.now(), page);
      return viewPage(rows, await viewOf(principal, rows.items));
    },
    async set(principal, { scope, unit, window, limit }) {
      await requireKnownScope({ store, agents }, principal, scope);
      if (scope.id === everyUser.id && scope.kind !== everyUser.kind)
        throw new NexusError('invalid_request', `there is no limit for every ${scope.kind}: only user:* stands for all of its kind`);
      await store.commit({ tenantId: principal.tenantId, ledger: [{ type: 'limit', scope, unit, window, limit }] });
      const rows = await rowsOf(principal, scope);
      const row = rows.find((item) => item.unit === unit && item.window === window);
      if (row === undefined) throw new NexusError('internal', 'the budget was written and is not there');
      return (await viewOf(principal, rows))(row);
    },
    async remove(principal, { scope, unit, window }) {
      const result = await store.commit({ tenantId: principal.tenantId, ledger: [{ type: 'unlimit', scope, unit, window }] });
      const [outcome] = result.type === 'committed' ? result.outcomes : [];
      if (outcome?.type !== 'limited') throw new NexusError('not_found', `${rowKey(scope, unit, window)} has no balance, and so no limit`);
    },
    async usage({ tenantId }, query, page) {
      return viewPage(await store.usage(tenantId, query, page), ({ name, settlements, amounts }) => ({
        [query.by]: name === '' ? null : name,
        settlements,
        ...amounts,
      }));
    },
  };
}
