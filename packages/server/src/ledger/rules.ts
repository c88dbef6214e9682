import type { BudgetAmounts, BudgetRefusal, BudgetScope, BudgetUnit, BudgetWindow } from '@nexus-agent/protocol';
import { budgetUnits } from '@nexus-agent/protocol';
import { checked, checkRange, tokensForCost, withRanges } from './amounts.ts';
import type {
  LedgerChange,
  LedgerEntry,
  LedgerOperation,
  LedgerOutcome,
  LedgerRow,
  LedgerRowKey,
  LedgerRules,
  LedgerState,
  ReservationRow,
  ReservationState,
  ReserveOperation,
} from './contract.ts';
import { everyUser, rowKey, scopeKey, scopeKeyOfRow, scopeOfKey, subjectOf } from './keys.ts';
import { periodAt } from './windows.ts';

const windows: readonly BudgetWindow[] = ['total', 'day', 'month'];
/** What follows the scope in the keys of all rows that a scope may have. */
const accounts = windows.flatMap((window) => budgetUnits.map((unit) => ({ unit, window, suffix: `|${unit}|${window}` })));

/** A view of the state with the changes of this call laid over it. */
interface Draft {
  readonly nowMs: number;
  readonly rows: Map<LedgerRowKey, LedgerRow>;
  readonly reservations: Map<string, ReservationRow>;
  readonly entries: LedgerEntry[];
  counted(key: LedgerRowKey): number;
  row(key: LedgerRowKey): LedgerRow | undefined;
  reservation(id: string): ReservationRow | undefined;
}

/** The ledger's arithmetic. Pure: the store calls it under the locks of all rows that the operations may touch. */
export const ledgerRules: LedgerRules = (state, operations, nowMs) => {
  const draft = createDraft(state, nowMs);
  const outcomes: LedgerOutcome[] = [];
  for (const operation of operations) {
    const outcome = apply(draft, operation);
    if (outcome.type === 'refused') return nothing(outcome);
    outcomes.push(outcome);
  }
  return { outcomes, rows: draft.rows, reservations: draft.reservations, entries: draft.entries };
};

function apply(draft: Draft, operation: LedgerOperation): LedgerOutcome {
  switch (operation.type) {
    case 'reserve':
      return reserve(draft, operation);
    case 'settle':
      return settle(draft, operation.reservationId, checked(operation.actual));
    case 'release':
      return close(draft, operation.reservationId, 'released');
    case 'charge':
      return close(draft, operation.reservationId, 'charged');
    case 'limit': {
      const { scope, unit, window, limit } = operation;
      const row = draft.row(rowKey(scope, unit, window)) ?? newRow(draft, scope, unit, window);
      draft.rows.set(rowKey(scope, unit, window), { ...row, limit, inherited: false });
      return { type: 'limited' };
    }
    case 'unlimit': {
      const { scope, unit, window } = operation;
      const row = draft.row(rowKey(scope, unit, window));
      if (row === undefined) return { type: 'ignored', reason: 'unknown' };
      draft.rows.set(rowKey(scope, unit, window), { ...row, limit: null, inherited: scope.kind === 'user' && scope.id !== everyUser.id });
      return { type: 'limited' };
    }
    default:
      return operation satisfies never;
  }
}

/** A row as it begins: with what was spent in its period before it was there. */
function newRow(draft: Draft, scope: BudgetScope, unit: BudgetUnit, window: BudgetWindow): LedgerRow {
  const spent = draft.counted(rowKey(scope, unit, window));
  return { scope, unit, window, period: periodAt(window, draft.nowMs), limit: null, spent, reserved: 0 };
}

/** The row of a scope that pays. One of a user comes to be when there is a limit for every user. */
function payingRow(draft: Draft, scope: BudgetScope, unit: BudgetUnit, window: BudgetWindow, key: LedgerRowKey): LedgerRow | undefined {
  const row = draft.row(key);
  if (row !== undefined || scope.kind !== 'user') return row;
  const forAll = draft.row(rowKey(everyUser, unit, window));
  if (forAll === undefined || forAll.limit === null) return undefined;
  const created = { ...newRow(draft, scope, unit, window), inherited: true };
  draft.rows.set(key, created);
  return created;
}

function limitOf(draft: Draft, { limit, inherited, unit, window }: LedgerRow): number | null {
  return inherited === true ? (draft.row(rowKey(everyUser, unit, window))?.limit ?? null) : limit;
}

function reserve(draft: Draft, operation: ReserveOperation): LedgerOutcome {
  const earlier = draft.reservation(operation.reservationId);
  if (earlier !== undefined) return granted(earlier, true);
  const fixed = checked(operation.fixed);
  const { tokens, wallMs } = operation;
  if (tokens !== undefined) checkRange(tokens.min, tokens.max, tokens.costMicroUsdPerMillion);
  if (wallMs !== undefined) checkRange(wallMs.min, wallMs.max, 0);
  const least = withRanges(fixed, tokens && { count: tokens.min, price: tokens.costMicroUsdPerMillion }, wallMs?.min);

  const held: LedgerRowKey[] = [];
  let maxTokens = tokens?.max ?? 0;
  let maxWallMs = wallMs?.max ?? 0;
  for (const scope of operation.scopes) {
    const prefix = scopeKey(scope);
    for (const { unit, window, suffix } of accounts) {
      const key = prefix + suffix;
      const row = payingRow(draft, scope, unit, window, key);
      if (row === undefined || held.includes(key)) continue;
      held.push(key);
      const limit = limitOf(draft, row);
      if (limit === null) continue;
      const available = limit - row.spent - row.reserved;
      const asked = least[unit] ?? 0;
      if (asked > 0 && asked > available) return refuse(row, limit, asked, available);
      const spare = available - (fixed[unit] ?? 0);
      if (unit === 'wallMs') maxWallMs = Math.min(maxWallMs, spare);
      if (unit === 'tokens') maxTokens = Math.min(maxTokens, spare);
      if (unit === 'costMicroUsd' && tokens) maxTokens = Math.min(maxTokens, tokensForCost(spare, tokens.costMicroUsdPerMillion));
    }
  }
  const grantedTokens = tokens ? Math.max(maxTokens, tokens.min) : null;
  const grantedWallMs = wallMs ? Math.max(maxWallMs, wallMs.min) : null;
  const amounts = withRanges(
    fixed,
    tokens && grantedTokens !== null ? { count: grantedTokens, price: tokens.costMicroUsdPerMillion } : undefined,
    grantedWallMs ?? undefined,
  );
  for (const key of held) addTo(draft, key, amounts, 1, undefined);
  const reservation: ReservationRow = {
    reservationId: operation.reservationId,
    runId: operation.runId,
    state: 'open',
    amounts,
    subject: subjectOf(operation.scopes, operation.model ?? null),
    rows: held,
    grantedTokens,
    grantedWallMs,
    expiresAt: operation.expiresAt,
    charged: null,
    closedAt: null,
  };
  draft.reservations.set(reservation.reservationId, reservation);
  return granted(reservation, false);
}

function settle(draft: Draft, id: string, actual: BudgetAmounts): LedgerOutcome {
  const reservation = draft.reservation(id);
  if (reservation === undefined) return { type: 'ignored', reason: 'unknown' };
  if (reservation.state === 'open') {
    const overrun = budgetUnits.some((unit) => (actual[unit] ?? 0) > (reservation.amounts[unit] ?? 0));
    for (const key of reservation.rows) addTo(draft, key, reservation.amounts, -1, actual);
    record(draft, reservation, overrun ? 'overrun' : 'settlement', actual, reservation.rows);
    finish(draft, reservation, 'settled', actual);
    return { type: 'settled', amounts: actual, outcome: overrun ? 'overrun' : 'settled' };
  }
  return reservation.state === 'charged' ? correct(draft, reservation, actual) : { type: 'ignored', reason: 'already_final' };
}

/** Books the difference between what was charged while the use was unknown and what the work really used. */
function correct(draft: Draft, reservation: ReservationRow, actual: BudgetAmounts): LedgerOutcome {
  const late: Partial<Record<BudgetUnit, number>> = {};
  const unused: Partial<Record<BudgetUnit, number>> = {};
  for (const unit of budgetUnits) {
    const difference = (actual[unit] ?? 0) - (reservation.charged?.[unit] ?? 0);
    if (difference > 0) late[unit] = difference;
    if (difference < 0) unused[unit] = difference;
  }
  const isLate = budgetUnits.some((unit) => late[unit] !== undefined);
  if (isLate) {
    for (const key of reservation.rows) addTo(draft, key, {}, 0, late);
    record(draft, reservation, 'late_usage', late, reservation.rows);
  }
  if (budgetUnits.some((unit) => unused[unit] !== undefined)) {
    // A window that has ended since keeps its charge: giving it back to the next one would raise that one's limit.
    const same = reservation.rows.filter((key) => {
      const row = draft.row(key);
      return row !== undefined && row.period === periodAt(row.window, reservation.closedAt ?? draft.nowMs);
    });
    for (const key of same) addTo(draft, key, {}, 0, unused);
    record(draft, reservation, 'reconciliation', unused, same, reservation.closedAt ?? draft.nowMs);
  }
  finish(draft, reservation, 'settled', actual);
  return { type: 'settled', amounts: actual, outcome: isLate ? 'late_usage' : 'settled' };
}

function close(draft: Draft, id: string, how: 'released' | 'charged'): LedgerOutcome {
  const reservation = draft.reservation(id);
  if (reservation === undefined) return { type: 'ignored', reason: 'unknown' };
  if (reservation.state !== 'open') return { type: 'ignored', reason: 'already_final' };
  const amounts = how === 'charged' ? reservation.amounts : {};
  for (const key of reservation.rows) addTo(draft, key, reservation.amounts, -1, amounts);
  if (how === 'charged') record(draft, reservation, 'charged_maximum', amounts, reservation.rows);
  finish(draft, reservation, how, amounts);
  return { type: 'settled', amounts, outcome: how === 'charged' ? 'charged_maximum' : 'released' };
}

function createDraft(state: LedgerState, nowMs: number): Draft {
  const rows = new Map<LedgerRowKey, LedgerRow>();
  const reservations = new Map<string, ReservationRow>();
  return {
    nowMs,
    rows,
    reservations,
    entries: [],
    counted: (key) => state.counted?.get(key) ?? 0,
    reservation: (id) => reservations.get(id) ?? state.reservations.get(id),
    row(key) {
      const row = rows.get(key) ?? state.rows.get(key);
      if (row === undefined || row.window === 'total') return row;
      const period = periodAt(row.window, nowMs);
      // Forward only: a clock that lags behind around midnight must not reopen the window that has ended.
      return period > row.period ? { ...row, period, spent: 0 } : row;
    },
  };
}

/** Changes one row: `sign` times `reserved` on its reserved side, `spent` on its spent side. */
function addTo(draft: Draft, key: LedgerRowKey, reserved: BudgetAmounts, sign: number, spent: BudgetAmounts | undefined): void {
  const row = draft.row(key);
  if (row === undefined) return;
  const reservedBy = sign * (reserved[row.unit] ?? 0);
  const spentBy = spent?.[row.unit] ?? 0;
  if (reservedBy !== 0 || spentBy !== 0) draft.rows.set(key, { ...row, reserved: row.reserved + reservedBy, spent: row.spent + spentBy });
}

function record(
  draft: Draft,
  reservation: ReservationRow,
  kind: LedgerEntry['kind'],
  amounts: BudgetAmounts,
  keys: readonly LedgerRowKey[],
  countsAt = draft.nowMs,
): void {
  if (budgetUnits.every((unit) => (amounts[unit] ?? 0) === 0)) return;
  const rows = keys.flatMap((key) => {
    const row = draft.row(key);
    return row !== undefined && (amounts[row.unit] ?? 0) !== 0 ? [{ key, period: row.period }] : [];
  });
  const { reservationId, runId } = reservation;
  const subject = reservation.subject ?? subjectOf(reservation.rows.map(scopeKeyOfRow).map(scopeOfKey), null);
  draft.entries.push({ kind, reservationId, runId, amounts, subject, day: periodAt('day', countsAt), rows });
}

function finish(draft: Draft, reservation: ReservationRow, state: ReservationState, charged: BudgetAmounts): void {
  draft.reservations.set(reservation.reservationId, { ...reservation, state, charged, closedAt: draft.nowMs });
}

function granted(reservation: ReservationRow, duplicate: boolean): LedgerOutcome {
  const { amounts, grantedTokens, grantedWallMs } = reservation;
  return { type: 'reserved', amounts, maxTokens: grantedTokens, wallMs: grantedWallMs, duplicate };
}

function refuse(row: LedgerRow, limit: number, asked: number, available: number): LedgerOutcome {
  const { scope, unit, window } = row;
  const refusal: BudgetRefusal = { scope, unit, window, limit, asked, available: Math.max(0, available) };
  return { type: 'refused', refusal };
}

function nothing(outcome: LedgerOutcome): LedgerChange {
  return { outcomes: [outcome], rows: new Map(), reservations: new Map(), entries: [] };
}
