import {
  bookedIn,
  everyUser,
  type LedgerOperation,
  type LedgerRow,
  type LedgerRowKey,
  type ReservationRow,
  rowKey,
  scopeKey,
  scopeKeyOfRow,
  scopeOfKey,
} from '#ledger';
import { databaseNow, type Program, storable, together } from '#storage/program';
import {
  addUsage,
  closeReservations,
  type EntryRow,
  entryToRow,
  insertBudgets,
  insertEntries,
  insertReservations,
  lockBudgets,
  lockOpenReservations,
  lockReservations,
  newestDay,
  readBudgets,
  scopeText,
  spentSoFar,
  updateBudgets,
  updateReservations,
} from '#storage/tables';
import type { Batch, Handler } from './handler.ts';
import { requireBooks } from './invariants.ts';
import { WorkingRows } from './working-rows.ts';

type NewLimit = Extract<LedgerOperation, { type: 'limit' }>;

/** What the operations of a batch need, as far as they say. */
interface Wanted {
  readonly reservationIds: string[];
  readonly scopes: Set<string>;
  /** Those of the scopes that are users: each may be under the limit of {@link everyUser}. */
  readonly users: Set<string>;
  /** In scopes where something may have been spent or be in flight. */
  readonly limits: NewLimit[];
  /** Reservations of calls without a run: nobody but the sweeper ends one whose process has died. */
  isSwept: boolean;
}

/** Operations on budgets, decided by the ledger's rules on the locked reservations and balances. */
export function ledgerHandler(batch: Batch): Handler {
  const { tenantId, nowMs, ids, ledgerRules } = batch;
  const wanted: Wanted = { reservationIds: [], scopes: new Set(), users: new Set(), limits: [], isSwept: false };
  const reservations = new WorkingRows<ReservationRow>();
  const balances = new WorkingRows<LedgerRow>();
  const entries: EntryRow[] = [];
  const counted = new Map<LedgerRowKey, number>();
  const open = createOpenIndex();
  /** A balance that comes to be does not begin in a window before one that the books have begun: this clock may lag behind. */
  const begun = { ms: nowMs };
  /** The time by the clock of the database, where it was asked. */
  const database = { nowMs };
  const state = { rows: balances.all, reservations: reservations.all, counted, paidBy: open.paidBy };
  return {
    want({ ledger: operations = [] }) {
      const { reservationIds, scopes, users, limits } = wanted;
      const wantReservation = (id: string) => reservationIds.push(storable(id, 'reservation id'));
      for (const operation of operations) {
        if (operation.type === 'limit' || operation.type === 'unlimit') {
          scopes.add(scopeText(operation.scope));
          // An owner's limit for every user holds for this one too.
          if (operation.scope.kind === everyUser.kind) scopes.add(scopeText(everyUser));
          if (operation.type === 'limit' && !operation.fresh) limits.push(operation);
          continue;
        }
        wantReservation(operation.reservationId);
        if (operation.type === 'reserve') {
          wanted.isSwept ||= operation.runId === null && operation.lifeMs !== undefined;
          for (const scope of operation.scopes) {
            scopes.add(scopeText(scope));
            if (scope.kind === 'user') users.add(scopeText(scope));
          }
          for (const id of operation.beside ?? []) wantReservation(id);
        } else if ('heir' in operation && operation.heir !== undefined) wantReservation(operation.heir);
      }
    },
    load: () =>
      wanted.reservationIds.length + wanted.scopes.size > 0
        ? load(batch, wanted, { reservations, balances, counted, open, begun, database })
        : undefined,
    decide({ ledger: given }, draft) {
      if (!given?.length) return undefined;
      const operations = wanted.isSwept ? given.map((operation) => expiring(operation, database.nowMs)) : given;
      const change = ledgerRules(state, operations, begun.ms);
      const refused = change.outcomes.find((outcome) => outcome.type === 'refused');
      if (refused) return refused;
      requireBooks(tenantId, state, operations, change);
      draft.outcomes = change.outcomes;
      const booked = change.entries.map((entry) => entryToRow(tenantId, ids.next('ledgerEntry'), entry, nowMs));
      return () => {
        for (const [id, reservation] of change.reservations) {
          reservations.set(id, reservation);
          open.add(reservation);
        }
        for (const [key, row] of change.rows) balances.set(key, row);
        entries.push(...booked);
        // A balance may yet come to be in this batch.
        for (const entry of change.entries) {
          const reservation = reservations.all.get(entry.reservationId);
          if (reservation === undefined) continue;
          for (const [key, before] of counted) {
            if (!balances.all.has(key)) counted.set(key, before + bookedIn(entry, reservation, key, begun.ms));
          }
        }
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
      if (entries.length > 0) writes.push(insertEntries(entries), addUsage(tenantId, entries));
    },
  };
}

/** A call without a run expires by the clock of the database: that of this process may just have been set to another day, and the process die. */
function expiring(operation: LedgerOperation, databaseNowMs: number): LedgerOperation {
  if (operation.type !== 'reserve' || operation.runId !== null || operation.lifeMs === undefined) return operation;
  return { ...operation, expiresAt: databaseNowMs + operation.lifeMs };
}

/** Who pays for what that is open. It is asked only where a row may be new, and only then is it kept. */
function createOpenIndex() {
  const paid = new Map<string, Set<string>>();
  let kept = false;
  return {
    paidBy: (scope: string): Iterable<string> => paid.get(scope) ?? [],
    keep() {
      kept = true;
    },
    add({ reservationId, scopes = [], rows }: ReservationRow) {
      if (!kept) return;
      for (const scope of [...scopes, ...rows.map(scopeKeyOfRow)]) {
        const ids = paid.get(scope);
        if (ids) ids.add(reservationId);
        else paid.set(scope, new Set([reservationId]));
      }
    },
  };
}

/**
 * The balances that a reservation holds something in are known only when it has been read. One that comes to be here begins with what was
 * spent before, and with all that is open in its scope.
 */
function* load(
  batch: Batch,
  wanted: Wanted,
  found: {
    readonly reservations: WorkingRows<ReservationRow>;
    readonly balances: WorkingRows<LedgerRow>;
    readonly counted: Map<LedgerRowKey, number>;
    readonly open: ReturnType<typeof createOpenIndex>;
    readonly begun: { ms: number };
    readonly database: { nowMs: number };
  },
): Program<void> {
  const { tenantId, books } = batch;
  const { scopes, users } = wanted;
  const { reservations, balances, open } = found;
  const forAll = scopeKey(everyUser);
  const [locked, defaults] = yield* together([
    lockReservations(tenantId, wanted.reservationIds),
    // Whoever changes them has the books alone.
    readBudgets(tenantId, users.size > 0 && !scopes.has(forAll) ? [forAll] : []),
  ]);
  if (wanted.isSwept) found.database.nowMs = yield* databaseNow();
  for (const reservation of locked) {
    reservations.load(reservation.reservationId, reservation);
    for (const scope of reservation.scopes ?? []) scopes.add(scope);
    for (const key of reservation.rows) scopes.add(scopeKeyOfRow(key));
  }
  const rows = yield* lockBudgets(tenantId, scopes);
  for (const row of [...defaults, ...rows]) balances.load(rowKey(row.scope, row.unit, row.window), row);
  const begins: Omit<NewLimit, 'type' | 'limit'>[] = [...wanted.limits];
  for (const { scope, unit, window, limit } of [...balances.all.values(), ...wanted.limits]) {
    if (limit === null || scopeKey(scope) !== forAll) continue;
    for (const user of users) begins.push({ scope: scopeOfKey(user), unit, window });
  }
  const fresh = begins.filter(({ scope, unit, window }) => !balances.all.has(rowKey(scope, unit, window)));
  if (fresh.length === 0) return;
  if (!books.alone) {
    books.mustBeAlone = true;
    return;
  }
  const day = yield* newestDay(tenantId);
  if (day !== null) found.begun.ms = Math.max(found.begun.ms, Date.parse(day));
  for (const { scope, unit, window } of fresh) {
    found.counted.set(rowKey(scope, unit, window), (yield* spentSoFar(tenantId, scope, window, found.begun.ms))[unit]);
  }
  const scopesOfFresh = [...new Set(fresh.map(({ scope }) => scopeKey(scope)))];
  for (const reservation of yield* lockOpenReservations(tenantId, scopesOfFresh))
    if (!reservations.all.has(reservation.reservationId)) reservations.load(reservation.reservationId, reservation);
  open.keep();
  for (const reservation of reservations.all.values()) open.add(reservation);
}
