import type { BudgetRefusal } from '@nexus-agent/protocol';
import { type LedgerOutcome, type LedgerRow, type ReservationRow, rowKey, scopeKeyOfRow } from '#ledger';
import { storable } from '#storage/program';
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
import { createWorkingRows } from './working-rows.ts';

/** Operations on budgets, decided by the ledger's rules on the locked reservations and balances. */
export function ledger({ tenantId, nowMs, ids, ledgerRules }: Batch): Handler {
  const reservationIds: string[] = [];
  const scopes = new Set<string>();
  const reservations = createWorkingRows<ReservationRow>();
  const balances = createWorkingRows<LedgerRow>();
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
    *load() {
      for (const reservation of yield* lockReservations(tenantId, reservationIds)) {
        reservations.load(reservation.reservationId, reservation);
        for (const key of reservation.rows) scopes.add(scopeKeyOfRow(key));
      }
      for (const row of yield* lockBudgets(tenantId, scopes)) balances.load(rowKey(row.scope, row.unit, row.window), row);
    },
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
    write: () => [
      insertReservations(tenantId, reservations.created()),
      updateReservations(tenantId, reservations.changed()),
      insertBudgets(tenantId, balances.created()),
      updateBudgets(tenantId, balances.changed()),
      insertEntries(entries),
    ],
  };
}

function refusalOf(outcomes: readonly LedgerOutcome[]): BudgetRefusal | undefined {
  for (const outcome of outcomes) if (outcome.type === 'refused') return outcome.refusal;
  return undefined;
}
