import type { BudgetScope, BudgetUnit, RunId, TenantId } from '@nexus-agent/protocol';
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

/** The books. They are written by commits. */
export interface LedgerStore {
  /** Balances, rolled to the current period. Without `scope`: those of the whole tenant, paged. */
  listBudgets(
    tenantId: TenantId,
    filter: { scopes?: readonly BudgetScope[] },
    nowMs: number,
    page: PageRequest,
  ): Promise<PageOf<LedgerRow>>;
  /** Open reservations of all tenants that expired before `nowMs`, those that expired first foremost. */
  listExpiredReservations(nowMs: number, limit: number): Promise<readonly { tenantId: TenantId; reservation: ReservationRow }[]>;
  listReservations(tenantId: TenantId, filter: { runId?: RunId; state?: ReservationRow['state'] }): Promise<readonly ReservationRow[]>;
  listLedgerEntries(
    tenantId: TenantId,
    filter: { runId?: RunId; after?: number },
    page: PageRequest,
  ): Promise<PageOf<LedgerEntry & { entryId: string; at: number }>>;
  /** Sums that the database makes: days newest first, others by what cost most. */
  usage(tenantId: TenantId, query: UsageQuery, page: PageRequest): Promise<PageOf<UsageSum>>;
}
