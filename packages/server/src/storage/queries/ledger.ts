import type { BudgetRow, BudgetScope, RunId, TenantId } from '@nexus-agent/protocol';
import { sql } from 'kysely';
import type { LedgerEntry, ReservationRow } from '../ledger-types.ts';
import { beyond, decodeCursor, pageOf } from '../paging.ts';
import { periodAt } from '../period.ts';
import { type Program, query, run, statement } from '../program.ts';
import { entryFromRow, ledgerRowFromRow, reservationFromRow, scopeText } from '../rows.ts';
import type { PageOf, PageRequest } from '../types.ts';

/** In the order of scope, unit, window. A balance of a period that has ended reads as the next write will leave it: nothing spent. */
export function* listBudgets(
  tenant: string,
  filter: { scopes?: readonly BudgetScope[] },
  nowMs: number,
  page: PageRequest,
): Program<PageOf<BudgetRow & { limited: boolean }>> {
  if (filter.scopes?.length === 0) return { items: [], nextCursor: null };
  const position = page.cursor === undefined ? undefined : decodeCursor(page.cursor, ['string', 'string', 'string']);
  const rows = yield* query(({ db }) => {
    let select = db.selectFrom('budgets').selectAll().where('tenant_id', '=', tenant);
    if (filter.scopes !== undefined) select = select.where('scope', 'in', filter.scopes.map(scopeText));
    if (position) {
      const [scope, unit, window] = position.map(String);
      select = select.where((eb) =>
        eb(eb.refTuple('scope', 'unit', 'budget_window'), '>', eb.tuple(scope ?? '', unit ?? '', window ?? '')),
      );
    }
    return select
      .orderBy('scope')
      .orderBy('unit')
      .orderBy('budget_window')
      .limit(page.limit + 1);
  });
  return pageOf(
    rows,
    page.limit,
    (row) => {
      const { limit, ...balance } = ledgerRowFromRow(row);
      const period = periodAt(balance.window, nowMs);
      const current = period > balance.period ? { ...balance, period, spent: 0 } : balance;
      return { ...current, limit: limit ?? 0, limited: limit !== null };
    },
    (row) => [row.scope, row.unit, row.budget_window],
  );
}

// `open` is a literal and not a parameter: only then does the planner see that the index of open reservations applies.
const expiredReservations = statement('expired_reservations', ({ db }, params: { now: number; limit: number }) =>
  db
    .selectFrom('reservations')
    .selectAll()
    .where('expires_at', '<', params.now)
    .where('state', '=', sql.lit('open'))
    .orderBy('expires_at')
    .limit(params.limit),
);

export function* listExpiredReservations(
  now: number,
  limit: number,
): Program<readonly { tenantId: TenantId; reservation: ReservationRow }[]> {
  const rows = yield* run(expiredReservations, { now, limit });
  // written from a branded id
  return rows.map((row) => ({ tenantId: row.tenant_id as TenantId, reservation: reservationFromRow(row) }));
}

export function* listReservations(
  tenant: string,
  filter: { runId?: RunId; state?: ReservationRow['state'] },
): Program<readonly ReservationRow[]> {
  const rows = yield* query(({ db }) => {
    let select = db.selectFrom('reservations').selectAll().where('tenant_id', '=', tenant);
    if (filter.runId !== undefined) select = select.where('run_id', '=', filter.runId);
    if (filter.state !== undefined) select = select.where('state', '=', filter.state);
    return select.orderBy('reservation_id');
  });
  return rows.map(reservationFromRow);
}

/** Oldest first. `after` leaves out entries up to and including that time. */
export function* listLedgerEntries(
  tenant: string,
  filter: { runId?: RunId; after?: number },
  page: PageRequest,
): Program<PageOf<LedgerEntry & { entryId: string; at: number }>> {
  const position = page.cursor === undefined ? undefined : decodeCursor(page.cursor, ['number', 'string']);
  const { runId, after } = filter;
  const rows = yield* query(({ db }) => {
    let select = db.selectFrom('ledger_entries').selectAll().where('tenant_id', '=', tenant);
    if (runId !== undefined) select = select.where('run_id', '=', runId);
    if (after !== undefined) select = select.where('at', '>', after);
    if (position) select = select.where(beyond(['at', 'entry_id'], position, 'asc'));
    return select
      .orderBy('at')
      .orderBy('entry_id')
      .limit(page.limit + 1);
  });
  return pageOf(rows, page.limit, entryFromRow, (row) => [row.at, row.entry_id]);
}
