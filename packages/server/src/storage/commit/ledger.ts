import { type LedgerRow, type ReservationRow, rowKey, scopeKeyOfRow } from '#ledger';
import { type Program, storable } from '#storage/program';
import {
  closeReservations,
  type EntryRow,
  entryToRow,
  insertBudgets,
  insertEntries,
  insertReservations,
  lockBudgets,
  lockOpenReservations,
  lockReservations,
  scopeText,
  updateBudgets,
  updateReservations,
} from '#storage/tables';
import type { Batch, Handler } from './handler.ts';
import { WorkingRows } from './working-rows.ts';

/** What the operations of a batch need, as far as they say. */
interface Wanted {
  readonly reservationIds: string[];
  readonly scopes: Set<string>;
  /** Rows that may come to be in scopes where work may be in flight. */
  readonly limits: Set<string>;
}

/** Operations on budgets, decided by the ledger's rules on the locked reservations and balances. */
export function ledgerHandler({ tenantId, nowMs, ids, ledgerRules }: Batch): Handler {
  const wanted: Wanted = { reservationIds: [], scopes: new Set(), limits: new Set() };
  const reservations = new WorkingRows<ReservationRow>();
  const balances = new WorkingRows<LedgerRow>();
  const entries: EntryRow[] = [];
  /** Only where a limit may be new is it asked who pays for what. */
  const paid = new Map<string, Set<string>>();
  const index = ({ reservationId, scopes = [], rows }: ReservationRow) => {
    for (const scope of [...scopes, ...rows.map(scopeKeyOfRow)]) {
      const ids = paid.get(scope);
      if (ids) ids.add(reservationId);
      else paid.set(scope, new Set([reservationId]));
    }
  };
  const state = { rows: balances.all, reservations: reservations.all, paidBy: (scope: string) => paid.get(scope) ?? [] };
  return {
    want({ ledger: operations = [] }) {
      const { reservationIds, scopes, limits } = wanted;
      const wantReservation = (id: string) => reservationIds.push(storable(id, 'reservation id'));
      for (const operation of operations) {
        if (operation.type === 'limit') {
          scopes.add(scopeText(operation.scope));
          if (!operation.fresh) limits.add(rowKey(operation.scope, operation.unit, operation.window));
          continue;
        }
        wantReservation(operation.reservationId);
        if (operation.type === 'reserve') {
          for (const scope of operation.scopes) scopes.add(scopeText(scope));
          for (const id of operation.beside ?? []) wantReservation(id);
        } else if ('heir' in operation && operation.heir !== undefined) wantReservation(operation.heir);
      }
    },
    load: () =>
      wanted.reservationIds.length + wanted.scopes.size > 0 ? load(tenantId, wanted, { reservations, balances, index }) : undefined,
    decide({ ledger: operations }, draft) {
      if (!operations?.length) return undefined;
      const change = ledgerRules(state, operations, nowMs);
      const refused = change.outcomes.find((outcome) => outcome.type === 'refused');
      if (refused) return refused;
      draft.outcomes = change.outcomes;
      const booked = change.entries.map((entry) => entryToRow(tenantId, ids.next('ledgerEntry'), entry, nowMs));
      return () => {
        for (const [id, reservation] of change.reservations) {
          reservations.set(id, reservation);
          if (wanted.limits.size > 0) index(reservation);
        }
        for (const [key, row] of change.rows) balances.set(key, row);
        entries.push(...booked);
      };
    },
    write(writes) {
      const [reserved, changed] = [reservations.created(), reservations.changed()];
      const isOpen = ({ state }: ReservationRow) => state === 'open';
      const [held, closed] = [changed.filter(isOpen), changed.filter((reservation) => !isOpen(reservation))];
      if (reserved.length > 0) writes.push(insertReservations(tenantId, reserved));
      if (held.length > 0) writes.push(updateReservations(tenantId, held));
      if (closed.length > 0) writes.push(closeReservations(tenantId, closed));
      const [opened, moved] = [balances.created(), balances.changed()];
      if (opened.length > 0) writes.push(insertBudgets(tenantId, opened));
      if (moved.length > 0) writes.push(updateBudgets(tenantId, moved));
      if (entries.length > 0) writes.push(insertEntries(entries));
    },
  };
}

/** The balances that a reservation holds something in are known only when it has been read; for a new limit, all that are open. */
function* load(
  tenantId: string,
  { reservationIds, scopes, limits }: Wanted,
  {
    reservations,
    balances,
    index,
  }: {
    readonly reservations: WorkingRows<ReservationRow>;
    readonly balances: WorkingRows<LedgerRow>;
    readonly index: (reservation: ReservationRow) => void;
  },
): Program<void> {
  for (const reservation of yield* lockReservations(tenantId, reservationIds)) {
    reservations.load(reservation.reservationId, reservation);
    for (const scope of reservation.scopes ?? []) scopes.add(scope);
    for (const key of reservation.rows) scopes.add(scopeKeyOfRow(key));
  }
  for (const row of yield* lockBudgets(tenantId, scopes)) balances.load(rowKey(row.scope, row.unit, row.window), row);
  if ([...limits].every((key) => balances.all.has(key))) return;
  for (const reservation of yield* lockOpenReservations(tenantId))
    if (!reservations.all.has(reservation.reservationId)) reservations.load(reservation.reservationId, reservation);
  for (const reservation of reservations.all.values()) index(reservation);
}
