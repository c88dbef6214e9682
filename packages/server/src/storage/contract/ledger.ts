import type { BudgetScope, BudgetScopeKind, BudgetUnit, BudgetWindow, RunId, TenantId } from '@nexus-agent/protocol';
import type { LedgerEntry, LedgerRow, ReservationRow } from '#ledger';
import type { PageOf, PageRequest } from './pages.ts';

export interface UsageQuery {
  readonly by: 'day' | 'user' | 'agent' | 'model' | 'project';
  /** UTC days, such as `2026-11-22`; both are in it. */
  readonly from: string;
  readonly to: string;
}

/** What was booked of one day, user, agent, model or project. */
export interface UsageSum {
  /** '' where nobody was named. */
  readonly name: string;
  readonly settlements: number;
  readonly amounts: Readonly<Record<BudgetUnit, number>>;
}

export interface BudgetFilter {
  readonly scopes?: readonly BudgetScope[];
  readonly kinds?: readonly BudgetScopeKind[];
}

/** The books. They are written by commits. */
export interface LedgerStore {
  /** Balances, rolled to the current period: those of the scopes or kinds of scopes that are named, else of the whole tenant. */
  listBudgets(tenantId: TenantId, filter: BudgetFilter, nowMs: number, page: PageRequest): Promise<PageOf<LedgerRow>>;
  /** Open reservations of all tenants that expired before `nowMs`, those that expired first foremost. */
  listExpiredReservations(nowMs: number, limit: number): Promise<readonly { tenantId: TenantId; reservation: ReservationRow }[]>;
  listReservations(tenantId: TenantId, filter: { runId?: RunId; state?: ReservationRow['state'] }): Promise<readonly ReservationRow[]>;
  listLedgerEntries(
    tenantId: TenantId,
    filter: { runId?: RunId; after?: number },
    page: PageRequest,
  ): Promise<PageOf<LedgerEntry & { entryId: string; at: number }>>;
  /** What was booked of a scope in the current period of a window, by unit, whether or not it has a balance. */
  spentIn(tenantId: TenantId, scope: BudgetScope, window: BudgetWindow, nowMs: number): Promise<Readonly<Record<BudgetUnit, number>>>;
  /** Sums that the database makes: days newest first, others by what cost most. */
  usage(tenantId: TenantId, query: UsageQuery, page: PageRequest, signal?: AbortSignal): Promise<PageOf<UsageSum>>;
}
