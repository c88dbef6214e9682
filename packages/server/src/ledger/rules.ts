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

/** Scopes whose keys are remembered: a run asks for those of its scopes with each reservation. */
const mostScopes = 2_000;
const keysByScope = new Map<string, readonly LedgerRowKey[]>();

/** The keys of all rows that a scope may have, in the order of {@link accounts}. */
function keysOf(scope: string): readonly LedgerRowKey[] {
  let keys = keysByScope.get(scope);
  if (keys === undefined) {
    if (keysByScope.size >= mostScopes) keysByScope.clear(); // those in use return at once
    keys = accounts.map(({ suffix }) => scope + suffix);
    keysByScope.set(scope, keys);
  }
  return keys;
}

/** A view of the state with the changes of this call laid over it. */
interface Draft {
  readonly nowMs: number;
  readonly rows: Map<LedgerRowKey, LedgerRow>;
  readonly reservations: Map<string, ReservationRow>;
  readonly entries: LedgerEntry[];
  counted(key: LedgerRowKey): number;
  row(key: LedgerRowKey): LedgerRow | undefined;
  reservation(id: string): ReservationRow | undefined;
  /** Open reservations that a scope pays for. */
  openIn(scopeKey: string): Iterable<ReservationRow>;
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
      return settle(draft, operation, checked(operation.actual));
    case 'release':
      return release(draft, operation);
    case 'charge':
      return charge(draft, operation);
    case 'bound': {
      const reservation = draft.reservation(operation.reservationId);
      if (reservation?.state !== 'open') return closed(reservation);
      draft.reservations.set(reservation.reservationId, { ...reservation, bound: checked(operation.atMost) });
      return { type: 'bounded' };
    }
    case 'unlimit': {
      const { scope, unit, window } = operation;
      const row = draft.row(rowKey(scope, unit, window));
      if (row === undefined) return { type: 'ignored', reason: 'unknown' };
      const underAll = scope.kind === 'user' && scope.id !== everyUser.id;
      // There is none of its own; `null` is one for a user, whom it frees from that of every user.
      if (row.owned === true && operation.byOwner !== true) return { type: 'kept', scope, limit: row.limit };
      if (row.limit === null && (row.inherited === true || !underAll)) return { type: 'ignored', reason: 'unknown' };
      draft.rows.set(rowKey(scope, unit, window), { ...row, limit: null, inherited: underAll, owned: false });
      return { type: 'limited' };
    }
    case 'limit':
      return setLimit(draft, operation);
    default:
      return operation satisfies never;
  }
}

/** A limit covers what was spent in its period before it was there, and what is in flight. */
function setLimit(draft: Draft, operation: Extract<LedgerOperation, { type: 'limit' }>): LedgerOutcome {
  const { scope, unit, window, limit, fresh = false, byOwner = false } = operation;
  checked({ [unit]: limit ?? 0 });
  const key = rowKey(scope, unit, window);
  const kept = byOwner ? undefined : ownersLimit(draft, operation);
  if (kept !== undefined && kept.limit !== null && (limit === null || limit > kept.limit))
    return { type: 'kept', scope: kept.scope, limit: kept.limit };
  const row = draft.row(key) ?? newRow(draft, { scope, unit, window, fresh });
  draft.rows.set(key, { ...row, limit, inherited: false, owned: byOwner || row.owned === true });
  return { type: 'limited' };
}

/** The owner's limit that holds for a scope: its own, or of a user that of every user. */
function ownersLimit(draft: Draft, { scope, unit, window }: Pick<LedgerRow, 'scope' | 'unit' | 'window'>): LedgerRow | undefined {
  const own = draft.row(rowKey(scope, unit, window));
  if (own?.owned === true || scope.kind !== everyUser.kind) return own?.owned === true ? own : undefined;
  const forAll = draft.row(rowKey(everyUser, unit, window));
  return forAll?.owned === true ? forAll : undefined;
}

interface NewRow extends Pick<LedgerRow, 'scope' | 'unit' | 'window'> {
  /** Nothing can have been spent or reserved in the scope. */
  readonly fresh: boolean;
}

/** A row as it begins: with what was spent in its period, and what open reservations hold in its scope, which are settled with it. */
function newRow(draft: Draft, { scope, unit, window, fresh }: NewRow): LedgerRow {
  const key = rowKey(scope, unit, window);
  let reserved = 0;
  if (!fresh) {
    for (const reservation of draft.openIn(scopeKey(scope))) {
      reserved += reservation.amounts[unit] ?? 0;
      if (!reservation.rows.includes(key))
        draft.reservations.set(reservation.reservationId, { ...reservation, rows: [...reservation.rows, key] });
    }
  }
  return {
    scope,
    unit,
    window,
    period: periodAt(window, draft.nowMs),
    limit: null,
    spent: draft.counted(key) + bookedBefore(draft, key),
    reserved,
  };
}

/** What operations before this one, in the same change, have booked that a row which comes to be now has to begin with. */
function bookedBefore(draft: Draft, key: LedgerRowKey): number {
  let sum = 0;
  for (const entry of draft.entries) {
    const reservation = draft.reservation(entry.reservationId);
    if (reservation !== undefined) sum += bookedIn(entry, reservation, key, draft.nowMs);
  }
  return sum;
}

/** What an entry adds to the balance of a row in its current period, whether or not there was the row when it was booked. */
export function bookedIn(entry: LedgerEntry, reservation: ReservationRow, key: LedgerRowKey, nowMs: number): number {
  const scope = scopeKeyOfRow(key);
  const account = accounts.find(({ suffix }) => scope + suffix === key);
  if (account === undefined || !scopesOf(reservation).includes(scope)) return 0;
  return entry.day.startsWith(periodAt(account.window, nowMs)) ? (entry.amounts[account.unit] ?? 0) : 0;
}

/** The row of a scope that pays. One of a user comes to be when there is a limit for every user. */
function payingRow(draft: Draft, scope: BudgetScope, unit: BudgetUnit, window: BudgetWindow, key: LedgerRowKey): LedgerRow | undefined {
  const row = draft.row(key);
  if (row !== undefined || scope.kind !== 'user') return row;
  const forAll = draft.row(rowKey(everyUser, unit, window));
  if (forAll === undefined || forAll.limit === null) return undefined;
  const created = { ...newRow(draft, { scope, unit, window, fresh: false }), inherited: true };
  draft.rows.set(key, created);
  return created;
}

function limitOf(draft: Draft, { limit, inherited, unit, window }: LedgerRow): number | null {
  return inherited === true ? (draft.row(rowKey(everyUser, unit, window))?.limit ?? null) : limit;
}

function scopesOf({ scopes, rows }: ReservationRow): readonly string[] {
  return scopes ?? [...new Set(rows.map(scopeKeyOfRow))];
}

function reserve(draft: Draft, operation: ReserveOperation): LedgerOutcome {
  const earlier = draft.reservation(operation.reservationId);
  if (earlier !== undefined) return granted(earlier, true);
  const fixed = checked(operation.fixed);
  const { tokens, wallMs: wholeWallMs, beside = [], whole = false } = operation;
  if (tokens !== undefined) checkRange(tokens.min, tokens.max, tokens.costMicroUsdPerMillion);
  if (wholeWallMs !== undefined) checkRange(wholeWallMs.min, wholeWallMs.max, 0);
  const paidMs = Math.min(wholeWallMs?.max ?? 0, timePaidBeside(draft, beside));
  const wallMs = wholeWallMs && { min: Math.max(0, wholeWallMs.min - paidMs), max: wholeWallMs.max - paidMs };
  const price = tokens?.costMicroUsdPerMillion ?? 0;
  const least = withRanges(fixed, tokens && { count: tokens.min, price }, wallMs?.min);

  const held: LedgerRowKey[] = [];
  let maxTokens = tokens?.max ?? 0;
  let maxWallMs = wallMs?.max ?? 0;
  /** As many as there would be without what others hold, and the row that has the least now. */
  let freeTokens = maxTokens;
  let scarce: { readonly row: LedgerRow; readonly limit: number } | null = null;
  for (const scope of operation.scopes) {
    const keys = keysOf(scopeKey(scope));
    for (let at = 0; at < keys.length; at++) {
      const [key, account] = [keys[at], accounts[at]];
      if (key === undefined || account === undefined) continue;
      const { unit, window } = account;
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
      if (tokens === undefined || (unit !== 'tokens' && unit !== 'costMicroUsd')) continue;
      const affords = (amount: number) => (unit === 'tokens' ? amount : tokensForCost(amount, price));
      freeTokens = Math.min(freeTokens, affords(spare + row.reserved));
      if (affords(spare) >= maxTokens) continue;
      maxTokens = affords(spare);
      scarce = { row, limit };
    }
  }
  if (whole && scarce !== null && freeTokens > maxTokens) {
    const { row, limit } = scarce;
    const asked = withRanges(fixed, { count: freeTokens, price }, undefined)[row.unit] ?? 0;
    return refuse(row, limit, asked, limit - row.spent - row.reserved);
  }
  const grantedTokens = tokens ? Math.max(maxTokens, tokens.min) : null;
  const takenMs = wallMs && Math.max(maxWallMs, wallMs.min);
  const amounts = withRanges(fixed, grantedTokens === null ? undefined : { count: grantedTokens, price }, takenMs);
  for (const key of held) addTo(draft, key, amounts, 1, undefined);
  const grantedWallMs = takenMs === undefined ? null : paidMs + takenMs;
  const reservation: ReservationRow = {
    reservationId: operation.reservationId,
    runId: operation.runId,
    state: 'open',
    amounts,
    subject: subjectOf(operation.scopes, operation.model ?? null),
    scopes: [...new Set(operation.scopes.map(scopeKey))],
    rows: held,
    grantedTokens,
    grantedWallMs,
    ...(grantedWallMs === null ? {} : { wallUntil: draft.nowMs + grantedWallMs }),
    expiresAt: operation.expiresAt,
    charged: null,
    closedAt: null,
  };
  draft.reservations.set(reservation.reservationId, reservation);
  return granted(reservation, false);
}

/** So long from now is paid for by work of the same run that goes on. */
function timePaidBeside(draft: Draft, beside: readonly string[]): number {
  let paidMs = 0;
  for (const id of beside) {
    const other = draft.reservation(id);
    if (other?.state === 'open') paidMs = Math.max(paidMs, (other.wallUntil ?? 0) - draft.nowMs);
  }
  return paidMs;
}

function settle(
  draft: Draft,
  { reservationId, heir }: { readonly reservationId: string; readonly heir?: string },
  actual: BudgetAmounts,
): LedgerOutcome {
  const reservation = draft.reservation(reservationId);
  if (reservation?.state === 'charged') return correct(draft, reservation, actual);
  if (reservation?.state !== 'open') return closed(reservation);
  const overrun = budgetUnits.some((unit) => (actual[unit] ?? 0) > (reservation.amounts[unit] ?? 0));
  giveBack(draft, reservation, actual, heir);
  record(draft, reservation, overrun ? 'overrun' : 'settlement', actual, reservation.rows);
  finish(draft, reservation, 'settled', actual);
  return { type: 'settled', amounts: actual, outcome: overrun ? 'overrun' : 'settled' };
}

/** Ends what a reservation holds and books what was used; time that is left goes to the heir, in the same rows. */
function giveBack(draft: Draft, reservation: ReservationRow, used: BudgetAmounts, heirId: string | undefined): void {
  let { amounts } = reservation;
  const heir = heirId === undefined || heirId === reservation.reservationId ? undefined : draft.reservation(heirId);
  const leftMs = (amounts.wallMs ?? 0) - (used.wallMs ?? 0);
  if (heir?.state === 'open' && leftMs > 0 && isHeldAlike(heir, reservation)) {
    amounts = { ...amounts, wallMs: (amounts.wallMs ?? 0) - leftMs };
    draft.reservations.set(heir.reservationId, {
      ...heir,
      amounts: { ...heir.amounts, wallMs: (heir.amounts.wallMs ?? 0) + leftMs },
      wallUntil: Math.max(heir.wallUntil ?? 0, reservation.wallUntil ?? 0),
    });
  }
  for (const key of reservation.rows) addTo(draft, key, amounts, -1, used);
}

function isHeldAlike(one: ReservationRow, other: ReservationRow): boolean {
  return one.rows.length === other.rows.length && one.rows.every((key) => other.rows.includes(key));
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
  // Also where a limit was set since it was charged: that began with the charge.
  const paying = rowsOf(draft, reservation);
  if (isLate) {
    for (const key of paying) addTo(draft, key, {}, 0, late);
    record(draft, reservation, 'late_usage', late, paying);
  }
  if (budgetUnits.some((unit) => unused[unit] !== undefined)) {
    // A window that has ended since keeps its charge: giving it back to the next one would raise that one's limit.
    const same = paying.filter((key) => {
      const row = draft.row(key);
      return row !== undefined && row.period === periodAt(row.window, reservation.closedAt ?? draft.nowMs);
    });
    for (const key of same) addTo(draft, key, {}, 0, unused);
    record(draft, reservation, 'reconciliation', unused, same, reservation.closedAt ?? draft.nowMs);
  }
  finish(draft, reservation, 'settled', actual);
  return { type: 'settled', amounts: actual, outcome: isLate ? 'late_usage' : 'settled' };
}

function rowsOf(draft: Draft, reservation: ReservationRow): readonly LedgerRowKey[] {
  const all = scopesOf(reservation).flatMap((scope) => accounts.map(({ suffix }) => scope + suffix));
  return all.filter((key) => draft.row(key) !== undefined);
}

/** After a charge it is known that nothing was used, which is a correction like any other. */
function release(draft: Draft, { reservationId, heir }: Extract<LedgerOperation, { type: 'release' }>): LedgerOutcome {
  const reservation = draft.reservation(reservationId);
  if (reservation?.state === 'charged') {
    correct(draft, reservation, {});
    return { type: 'settled', amounts: {}, outcome: 'released' };
  }
  if (reservation?.state !== 'open') return closed(reservation);
  giveBack(draft, reservation, {}, heir);
  finish(draft, reservation, 'released', {});
  return { type: 'settled', amounts: {}, outcome: 'released' };
}

function charge(draft: Draft, { reservationId, atMost = {} }: Extract<LedgerOperation, { type: 'charge' }>): LedgerOutcome {
  const reservation = draft.reservation(reservationId);
  if (reservation?.state !== 'open') return closed(reservation);
  const amounts: Partial<Record<BudgetUnit, number>> = {};
  const bound = reservation.bound ?? {};
  checked(atMost);
  for (const unit of budgetUnits) {
    const whole = reservation.amounts[unit];
    if (whole !== undefined) amounts[unit] = Math.min(whole, bound[unit] ?? whole, atMost[unit] ?? whole);
  }
  if (amounts.wallMs !== undefined) amounts.wallMs = Math.min(amounts.wallMs, elapsedMs(draft, reservation));
  giveBack(draft, reservation, amounts, undefined);
  record(draft, reservation, 'charged_maximum', amounts, reservation.rows);
  finish(draft, reservation, 'charged', amounts);
  return { type: 'settled', amounts, outcome: 'charged_maximum' };
}

/** What the clocks of whoever works and whoever charges may differ by. */
const clockSlackMs = 1_000;

/** The time since it was made, where it holds neither another's time nor shares it. */
function elapsedMs({ nowMs }: Draft, { amounts, grantedWallMs, wallUntil }: ReservationRow): number {
  if (wallUntil === undefined || grantedWallMs === null || amounts.wallMs !== grantedWallMs) return Number.POSITIVE_INFINITY;
  return Math.max(0, nowMs - (wallUntil - grantedWallMs)) + clockSlackMs;
}

/** What is said of an operation that comes too late. */
function closed(reservation: ReservationRow | undefined): LedgerOutcome {
  if (reservation === undefined) return { type: 'ignored', reason: 'unknown' };
  const { state, charged } = reservation;
  return { type: 'ignored', reason: 'already_final', ...(state === 'charged' && charged !== null ? { charged } : {}) };
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
    *openIn(scope) {
      const stored = state.paidBy?.(scope) ?? state.reservations.keys();
      for (const id of new Set([...stored, ...reservations.keys()])) {
        const reservation = reservations.get(id) ?? state.reservations.get(id);
        if (reservation?.state === 'open' && scopesOf(reservation).includes(scope)) yield reservation;
      }
    },
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

/** Whom it is for, and who pays, is told by its rows alone. */
function isOfEarlierVersion({ scopes, subject }: ReservationRow): boolean {
  return scopes === undefined || subject === null;
}

function finish(draft: Draft, reservation: ReservationRow, state: ReservationState, charged: BudgetAmounts): void {
  // From now on it is there so that nothing is done twice; a correction finds the rows by the scopes.
  const rows = isOfEarlierVersion(reservation) ? reservation.rows : [];
  draft.reservations.set(reservation.reservationId, { ...reservation, state, charged, closedAt: draft.nowMs, rows });
}

function granted(reservation: ReservationRow, duplicate: boolean): LedgerOutcome {
  const { amounts, grantedTokens, grantedWallMs } = reservation;
  return { type: 'reserved', amounts, maxTokens: grantedTokens, wallMs: grantedWallMs, duplicate };
}

function refuse(row: LedgerRow, limit: number, asked: number, available: number): LedgerOutcome {
  const { scope, unit, window } = row;
  // What was spent beyond the limit comes back to nobody.
  const reserved = Math.min(row.reserved, Math.max(0, limit - row.spent));
  const held = reserved > 0 ? { reserved } : {};
  const refusal: BudgetRefusal = { scope, unit, window, limit, asked, available: Math.max(0, available), ...held };
  return { type: 'refused', refusal, ...(asked <= available + row.reserved ? { held: true } : {}) };
}

function nothing(outcome: LedgerOutcome): LedgerChange {
  return { outcomes: [outcome], rows: new Map(), reservations: new Map(), entries: [] };
}
