import { type BudgetRefusal, BudgetWindow, budgetUnits } from '@nexus-agent/protocol';
import {
  everyUser,
  type LedgerOperation,
  type LedgerOutcome,
  type LedgerRow,
  type LedgerRowKey,
  periodAt,
  type ReservationRow,
  rowKey,
  scopeKey,
  scopeKeyOfRow,
  scopeOfKey,
} from '#ledger';
import { type Program, storable, together } from '#storage/program';
import {
  type EntryRow,
  entryToRow,
  insertBudgets,
  insertEntries,
  insertReservations,
  lockBudgets,
  lockReservations,
  readBudgets,
  scopeText,
  spentSoFar,
  updateBudgets,
  updateReservations,
} from '#storage/tables';
import type { Batch, Handler } from './handler.ts';
import { WorkingRows } from './working-rows.ts';

/** Operations on budgets, decided by the ledger's rules on the locked reservations and balances. */
export function ledgerHandler(batch: Batch): Handler {
  const { tenantId, nowMs, ids, ledgerRules } = batch;
  const reservationIds: string[] = [];
  const scopes = new Set<string>();
  const reservations = new WorkingRows<ReservationRow>();
  const balances = new WorkingRows<LedgerRow>();
  const entries: EntryRow[] = [];
  const limits: CountedLimit[] = [];
  const users = new Set<string>();
  const counted = new Map<LedgerRowKey, number>();
  const state = { rows: balances.all, reservations: reservations.all, counted };
  return {
    want({ ledger: operations = [] }) {
      for (const operation of operations) {
        if (operation.type === 'limit' || operation.type === 'unlimit') scopes.add(scopeText(operation.scope));
        else reservationIds.push(storable(operation.reservationId, 'reservation id'));
        if (operation.type === 'limit' && !operation.fresh) limits.push(operation);
        if (operation.type !== 'reserve') continue;
        for (const scope of operation.scopes) {
          scopes.add(scopeText(scope));
          if (scope.kind === 'user') users.add(scopeText(scope));
        }
      }
    },
    load: () =>
      reservationIds.length + scopes.size > 0
        ? load(batch, { reservationIds, scopes, users, limits }, { reservations, balances, counted })
        : undefined,
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
        // The balance of a user may yet come to be in this batch.
        for (const { subject, amounts, day } of change.entries) {
          if (subject.user === null || counted.size === 0) continue;
          for (const unit of budgetUnits) {
            for (const window of windows) {
              const key = rowKey({ kind: 'user', id: subject.user }, unit, window);
              const before = counted.get(key);
              if (before !== undefined && !balances.all.has(key) && day.startsWith(periodAt(window, nowMs)))
                counted.set(key, before + (amounts[unit] ?? 0));
            }
          }
        }
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

const windows = BudgetWindow.options;

type CountedLimit = Extract<LedgerOperation, { type: 'limit' }>;

/** The balances that a reservation holds something in are known only when it has been read. */
function* load(
  batch: Batch,
  wanted: {
    readonly reservationIds: readonly string[];
    readonly scopes: Set<string>;
    readonly users: ReadonlySet<string>;
    readonly limits: readonly CountedLimit[];
  },
  found: {
    readonly reservations: WorkingRows<ReservationRow>;
    readonly balances: WorkingRows<LedgerRow>;
    readonly counted: Map<LedgerRowKey, number>;
  },
): Program<void> {
  const { tenantId, books } = batch;
  const { scopes, users } = wanted;
  const { reservations, balances } = found;
  const forAll = scopeKey(everyUser);
  const [locked, defaults] = yield* together([
    lockReservations(tenantId, wanted.reservationIds),
    // Whoever changes them has the books alone.
    readBudgets(tenantId, users.size > 0 && !scopes.has(forAll) ? [forAll] : []),
  ]);
  for (const reservation of locked) {
    reservations.load(reservation.reservationId, reservation);
    for (const key of reservation.rows) scopes.add(scopeKeyOfRow(key));
  }
  const rows = yield* lockBudgets(tenantId, scopes);
  for (const row of [...defaults, ...rows]) balances.load(rowKey(row.scope, row.unit, row.window), row);
  // Balances that may come to be here, and begin with what was spent before.
  const begins: Omit<CountedLimit, 'type' | 'limit'>[] = [...wanted.limits];
  for (const { scope, unit, window, limit } of [...balances.all.values(), ...wanted.limits]) {
    if (limit === null || scopeKey(scope) !== forAll) continue;
    for (const user of users) begins.push({ scope: scopeOfKey(user), unit, window });
  }
  for (const { scope, unit, window } of begins) {
    const key = rowKey(scope, unit, window);
    if (balances.all.has(key)) continue;
    if (books.alone) found.counted.set(key, (yield* spentSoFar(tenantId, scope, window, batch.nowMs))[unit]);
    else books.mustBeAlone = true;
  }
}

function refusalOf(outcomes: readonly LedgerOutcome[]): BudgetRefusal | undefined {
  for (const outcome of outcomes) if (outcome.type === 'refused') return outcome.refusal;
  return undefined;
}
