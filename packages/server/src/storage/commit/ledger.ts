import type { BudgetRefusal } from '@nexus-agent/protocol';
import { type LedgerOutcome, type LedgerRow, type ReservationRow, rowKey, scopeKeyOfRow } from '#ledger';
import { type Program, storable } from '#storage/program';
import {
  type EntryRow,
  entryToRow,
  insertBudgets,
  insertEntries,
  insertReservations,
  lockBudgets,
  lockReservations,
  scopeText,
  updateBudgets,
  updateReservations,
} from '#storage/tables';
import type { Batch, Handler } from './handler.ts';
import { WorkingRows } from './working-rows.ts';

/** Operations on budgets, decided by the ledger's rules on the locked reservations and balances. */
export function ledgerHandler({ tenantId, nowMs, ids, ledgerRules }: Batch): Handler {
  const reservationIds: string[] = [];
  const scopes = new Set<string>();
  const reservations = new WorkingRows<ReservationRow>();
  const balances = new WorkingRows<LedgerRow>();
  const entries: EntryRow[] = [];
  const state = { rows: balances.all, reservations: reservations.all };
  return {
    want({ ledger: operations = [] }) {
      for (const operation of operations) {
        if (operation.type === 'limit') scopes.add(scopeText(operation.scope));
        else reservationIds.push(storable(operation.reservationId, 'reservation id'));
        if (operation.type === 'reserve') for (const scope of operation.scopes) scopes.add(scopeText(scope));
      }
    },
    load: () => (reservationIds.length + scopes.size > 0 ? load(tenantId, reservationIds, scopes, reservations, balances) : undefined),
    decide({ ledger: operations }, draft) {
      if (!operations?.length) return undefined;
      const change = ledgerRules(state, operations, nowMs);
      const refusal = refusalOf(change.outcomes);
      if (refusal) return { type: 'refused', refusal };
      draft.outcomes = change.outcomes;
      const booked = change.entries.map((entry) => entryToRow(tenantId, ids.next('ledgerEntry'), entry, nowMs));
      return () => {
        for (const [id, reservation] of change.reservations) reservations.set(id, reservation);
        for (const [key, row] of change.rows) balances.set(key, row);
        entries.push(...booked);
      };
    },
    write(writes) {
      const [reserved, closed] = [reservations.created(), reservations.changed()];
      if (reserved.length > 0) writes.push(insertReservations(tenantId, reserved));
      if (closed.length > 0) writes.push(updateReservations(tenantId, closed));
      const [opened, moved] = [balances.created(), balances.changed()];
      if (opened.length > 0) writes.push(insertBudgets(tenantId, opened));
      if (moved.length > 0) writes.push(updateBudgets(tenantId, moved));
      if (entries.length > 0) writes.push(insertEntries(entries));
    },
  };
}

/** The balances that a reservation holds something in are known only when it has been read. */
function* load(
  tenantId: string,
  ids: readonly string[],
  scopes: Set<string>,
  reservations: WorkingRows<ReservationRow>,
  balances: WorkingRows<LedgerRow>,
): Program<void> {
  for (const reservation of yield* lockReservations(tenantId, ids)) {
    reservations.load(reservation.reservationId, reservation);
    for (const key of reservation.rows) scopes.add(scopeKeyOfRow(key));
  }
  for (const row of yield* lockBudgets(tenantId, scopes)) balances.load(rowKey(row.scope, row.unit, row.window), row);
}

function refusalOf(outcomes: readonly LedgerOutcome[]): BudgetRefusal | undefined {
  for (const outcome of outcomes) if (outcome.type === 'refused') return outcome.refusal;
  return undefined;
}
