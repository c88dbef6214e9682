import type {
  BudgetRow,
  BudgetScope,
  BudgetScopeKind,
  BudgetUnit,
  BudgetWindow,
  Page,
  SetBudgetRequest,
  TenantId,
  UsageRow,
} from '@nexus-agent/protocol';
import { TenantId as TenantIdSchema } from '@nexus-agent/protocol';
import { type Clock, NexusError } from '#core';
import type { Principal } from '#identity';
import { everyUser, type LedgerRow, rowKey, scopeKey } from '#ledger';
import type { AgentSource } from '#runs';
import {
  type CommitResult,
  type CommitStore,
  type IdentityStore,
  type LedgerStore,
  type PageRequest,
  type UsageQuery,
  viewPage,
} from '#storage';
import { type KnownScopes, requireKnownScope } from './budget-scopes.ts';

/** Limits, and what was spent of them. */
export interface Budgets {
  /** Balances by scope; of a user who is named also those that have yet to begin under the limit of every user. */
  list(principal: Principal, filter: BudgetListFilter, page: PageRequest): Promise<Page<BudgetRow>>;
  /** Sets the limit of a scope, unit and window at once; what was spent in the window counts. Throws `not_found` for a scope that there is not. */
  set(principal: Principal, request: SetBudgetRequest): Promise<BudgetRow>;
  /**
   * Takes the limit away: the balance goes on counting, that of a user under the limit of every user. Throws `not_found` where the
   * scope has none of its own.
   */
  remove(principal: Principal, of: LimitName): Promise<void>;
  /** What was charged, summed by the database: days newest first, others by what cost most. */
  usage(principal: Principal, query: UsageQuery, page: PageRequest, signal?: AbortSignal): Promise<Page<UsageRow>>;
}

export interface LimitName {
  readonly scope: BudgetScope;
  readonly unit: BudgetUnit;
  readonly window: BudgetWindow;
  /** Of an owner: another tenant's. */
  readonly tenant?: TenantId | undefined;
}

export interface BudgetListFilter {
  readonly scope?: BudgetScope;
  readonly kinds?: readonly BudgetScopeKind[];
  /** Of an owner: another tenant's. */
  readonly tenant?: TenantId | undefined;
}

export interface BudgetsDependencies {
  readonly store: CommitStore &
    Pick<IdentityStore, 'listKeys'> &
    Pick<LedgerStore, 'listBudgets' | 'spentIn' | 'usage'> &
    KnownScopes['store'];
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
    return ({ limit: own, inherited, owned, ...balance }) => {
      const limit = inherited === true ? (limitOf.get(rowKey(everyUser, balance.unit, balance.window)) ?? null) : own;
      const marks = { ...(inherited === true ? { inherited } : {}), ...(owned === true ? { owned } : {}) };
      return { ...balance, ...(limit === null ? {} : { limit, ...marks }) };
    };
  }

  /** Limits of every user for one who has no balance there yet, as none was asked for since: it will begin with what was spent. */
  async function yetToBegin(
    principal: Principal,
    scope: BudgetScope,
    own: readonly Pick<LedgerRow, 'unit' | 'window'>[],
  ): Promise<BudgetRow[]> {
    if (scope.kind !== everyUser.kind || scope.id === everyUser.id) return [];
    const rows: BudgetRow[] = [];
    for (const { unit, window, period, limit } of await rowsOf(principal, everyUser)) {
      if (limit === null || own.some((row) => row.unit === unit && row.window === window)) continue;
      const spent = await store.spentIn(principal.tenantId, scope, window, clock.now());
      rows.push({ scope, unit, window, period, limit, inherited: true, spent: spent[unit], reserved: 0 });
    }
    return rows;
  }

  /** Why there is nothing to take away. */
  async function withoutLimit(principal: Principal, { scope, unit, window }: LimitName): Promise<string> {
    const own = (await rowsOf(principal, scope)).filter(({ limit }) => limit !== null);
    const isUser = scope.kind === everyUser.kind && scope.id !== everyUser.id;
    const forAll = isUser ? (await rowsOf(principal, everyUser)).find((row) => row.unit === unit && row.window === window) : undefined;
    return [
      `${scopeKey(scope)} has no limit of its own in ${limitText({ unit, window })}`,
      ...(typeof forAll?.limit === 'number'
        ? [`it is under that of ${scopeKey(everyUser)}, from which a limit of null frees it: nexus budgets set ${scopeKey(scope)} none`]
        : []),
      ...(own.length > 0 ? [`it has one in ${own.map(limitText).join(' and in ')}`] : []),
    ].join('; ');
  }

  return {
    async list(caller, { scope, kinds, tenant }, page) {
      const principal = inTenantOf(caller, { scope, tenant });
      const filter = { ...(scope === undefined ? {} : { scopes: [scope] }), ...(kinds === undefined ? {} : { kinds }) };
      const rows = await store.listBudgets(principal.tenantId, filter, clock.now(), page);
      const view = viewPage(rows, await viewOf(principal, rows.items));
      if (scope === undefined || view.nextCursor !== null) return view;
      const own = page.cursor === undefined ? view.data : await rowsOf(principal, scope);
      return { ...view, data: [...view.data, ...(await yetToBegin(principal, scope, own))] };
    },
    async set(caller, { scope, unit, window, limit, tenant }) {
      const principal = inTenantOf(caller, { scope, tenant });
      await requireKnownTenant(store, caller, principal);
      await requireKnownScope({ store, agents }, principal, scope);
      if (scope.id.includes('*') && scopeKey(scope) !== scopeKey(everyUser)) {
        const named = `${scopeKey(scope)} would be the limit of one whose name is written like that`;
        throw new NexusError(
          'invalid_request',
          `${named}: only user:* is a pattern, for each user; name every other ${scope.kind} in full`,
        );
      }
      const operation = { type: 'limit', scope, unit, window, limit, byOwner: isOwner(caller) } as const;
      requireChanged(await store.commit({ tenantId: principal.tenantId, ledger: [operation] }), operation);
      const rows = await rowsOf(principal, scope);
      const row = rows.find((item) => item.unit === unit && item.window === window);
      if (row === undefined) throw new NexusError('internal', 'the budget was written and is not there');
      return (await viewOf(principal, rows))(row);
    },
    async remove(caller, { scope, unit, window, tenant }) {
      const principal = inTenantOf(caller, { scope, tenant });
      const operation = { type: 'unlimit', scope, unit, window, byOwner: isOwner(caller) } as const;
      const result = await store.commit({ tenantId: principal.tenantId, ledger: [operation] });
      requireChanged(result, operation);
      const [outcome] = result.type === 'committed' ? result.outcomes : [];
      if (outcome?.type !== 'limited') throw new NexusError('not_found', await withoutLimit(principal, { scope, unit, window }));
    },
    async usage({ tenantId }, query, page, signal) {
      return viewPage(await store.usage(tenantId, query, page, signal), ({ name, settlements, amounts }) => ({
        [query.by]: name === '' ? null : name,
        settlements,
        ...amounts,
      }));
    },
  };
}

function isOwner({ roles }: Principal): boolean {
  return roles.includes('owner');
}

/** The principal as one of the tenant that is spoken of: an owner limits every tenant, whose name may be that of the scope. */
function inTenantOf(
  principal: Principal,
  about: { readonly scope?: BudgetScope | undefined; readonly tenant?: TenantId | undefined },
): Principal {
  const { scope, tenant } = about;
  if (tenant !== undefined && tenant !== principal.tenantId && !isOwner(principal))
    throw new NexusError('forbidden', `only an owner limits another tenant; this key is of tenant ${principal.tenantId}`);
  if (tenant !== undefined) return { ...principal, tenantId: tenant };
  if (scope?.kind !== 'tenant' || !isOwner(principal)) return principal;
  const named = TenantIdSchema.safeParse(scope.id);
  return named.success ? { ...principal, tenantId: named.data } : principal;
}

/** A tenant is there once a key was made for it: a limit of another name would hold nothing. */
async function requireKnownTenant(
  store: Pick<IdentityStore, 'listKeys'>,
  { tenantId: own }: Principal,
  { tenantId }: Principal,
): Promise<void> {
  if (tenantId === own) return;
  const { items } = await store.listKeys(tenantId, { limit: 1 });
  if (items.length === 0) throw new NexusError('not_found', `there is no tenant ${tenantId}: no key was made for it`);
}

function requireChanged(result: CommitResult, { scope, unit, window }: LimitName): void {
  const [outcome] = result.type === 'committed' ? result.outcomes : [];
  if (outcome?.type !== 'kept') return;
  const stands = outcome.limit === null ? 'no limit' : `the limit of ${outcome.limit}`;
  const whose =
    scopeKey(outcome.scope) === scopeKey(scope) ? scopeKey(scope) : `${scopeKey(outcome.scope)}, which holds for ${scopeKey(scope)}`;
  throw new NexusError(
    'forbidden',
    `an owner set ${stands} ${limitText({ unit, window })} of ${whose}; only an owner raises it or takes it away, and you may set a lower one`,
  );
}

function limitText({ unit, window }: Pick<LimitName, 'unit' | 'window'>): string {
  return `${unit} ${window === 'total' ? 'in total' : `a ${window}`}`;
}
