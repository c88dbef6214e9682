import type { BudgetAmounts, BudgetScope, BudgetUnit, BudgetWindow } from '@nexus-agent/protocol';
import { budgetUnits } from '@nexus-agent/protocol';
import type { LedgerEntry, LedgerOperation, LedgerOutcome, LedgerRow, ReservationRow } from '../../packages/server/src/ledger/index.ts';

type Reserve = Extract<LedgerOperation, { type: 'reserve' }>;
type Mutable<T> = { -readonly [K in keyof T]: T[K] };
type ReservationState = ReservationRow['state'];
type Limit = Extract<LedgerOperation, { type: 'limit' }>;
export type Refused = Extract<LedgerOutcome, { type: 'refused' }>;
type Place = Pick<Account, 'scope' | 'unit' | 'window'>;

/** A scope's unit in a window, from when it was first limited, and the period in which it was last changed. It has no balance: that is a sum. */
export type Account = Mutable<Required<Omit<LedgerRow, 'spent' | 'reserved'>>>;

/** A reservation, and what became of it. */
export type Hold = Mutable<Omit<ReservationRow, 'rows' | 'subject' | 'expiresAt' | 'scopes'>> & { readonly scopes: readonly string[] };

/** What was booked, for whom, and in which period of each account that was there. */
export interface Charge {
  readonly kind: LedgerEntry['kind'];
  readonly hold: string;
  readonly amounts: BudgetAmounts;
  readonly scopes: readonly string[];
  readonly day: string;
  readonly places: ReadonlyMap<string, string>;
  /** The accounts that were there and do not count it: their window has ended since. */
  readonly past: ReadonlySet<string>;
}

const windows: readonly BudgetWindow[] = ['total', 'day', 'month'];
const everyUser: BudgetScope = { kind: 'user', id: '*' };
const nameOf = ({ kind, id }: BudgetScope) => `${kind}:${id}`;
export const accountName = ({ scope, unit, window }: Place) => `${nameOf(scope)}|${unit}|${window}`;
const dayAt = (ms: number) => new Date(ms).toISOString().slice(0, 10);
const periodAt = (window: BudgetWindow, ms: number) => dayAt(ms).slice(0, window === 'total' ? 0 : window === 'day' ? 10 : 7);
const later = (one: string, other: string) => (one > other ? one : other);
const nonZero = (amounts: BudgetAmounts) => Object.fromEntries(Object.entries(amounts).filter(([, amount]) => amount !== 0));

/**
 * The books as they are documented: history, and sums over it. Nothing is kept that can be summed, so that there is nothing to go wrong:
 * what is spent is the sum of the charges of a window, what is reserved that of the open reservations.
 */
export class LedgerModel {
  accounts = new Map<string, Account>();
  holds = new Map<string, Hold>();
  charges: Charge[] = [];
  #now = 0;

  /** All operations or, when one is refused, none. */
  apply(operations: readonly LedgerOperation[], clockMs: number): readonly LedgerOutcome[] | Refused {
    const { accounts, holds, charges } = this;
    const before = structuredClone({ accounts, holds, charges });
    this.#now = this.#begins(operations) ? Math.max(clockMs, ...this.charges.map(({ day }) => Date.parse(day))) : clockMs;
    const outcomes: LedgerOutcome[] = [];
    for (const operation of operations) {
      const outcome = this.#one(operation);
      if (outcome.type === 'refused') {
        Object.assign(this, before);
        return outcome;
      }
      outcomes.push(outcome);
    }
    return outcomes;
  }

  spent({ scope, unit, ...account }: Account, period: string): number {
    const place = accountName({ scope, unit, window: account.window });
    const own = this.charges.filter(({ scopes }) => scopes.includes(nameOf(scope)));
    const counts = own.filter(({ past }) => !past.has(place));
    const inPeriod = counts.filter(({ day, places }) => (places.has(place) ? places.get(place) === period : day.startsWith(period)));
    return inPeriod.reduce((sum, { amounts }) => sum + (amounts[unit] ?? 0), 0);
  }

  reserved({ scope, unit }: Pick<Account, 'scope' | 'unit'>): number {
    const open = [...this.holds.values()].filter(({ state, scopes }) => state === 'open' && scopes.includes(nameOf(scope)));
    return open.reduce((sum, { amounts }) => sum + (amounts[unit] ?? 0), 0);
  }

  currentPeriod({ window, period }: Account, nowMs: number): string {
    return later(period, periodAt(window, nowMs));
  }

  /** The names of the accounts that a reservation holds its amounts in. */
  heldIn({ scopes }: Hold): readonly string[] {
    return [...this.accounts].filter(([, { scope }]) => scopes.includes(nameOf(scope))).map(([name]) => name);
  }

  /** Whether a balance may come to be, which never begins in a window before one that the books have begun. */
  #begins(operations: readonly LedgerOperation[]): boolean {
    const limits = operations.filter((operation): operation is Limit => operation.type === 'limit' && operation.fresh !== true);
    const forAll = [...this.accounts.values(), ...limits].filter(({ scope, limit }) => nameOf(scope) === 'user:*' && limit !== null);
    const users = operations.flatMap((operation) =>
      operation.type === 'reserve' ? operation.scopes.filter(({ kind }) => kind === 'user') : [],
    );
    const places: Place[] = [...limits, ...users.flatMap((scope) => forAll.map(({ unit, window }) => ({ scope, unit, window })))];
    return places.some((place) => !this.accounts.has(accountName(place)));
  }

  #one(operation: LedgerOperation): LedgerOutcome {
    switch (operation.type) {
      case 'reserve':
        return this.#reserve(operation);
      case 'limit':
        return this.#limit(operation);
      case 'unlimit': {
        const account = this.accounts.get(accountName(operation));
        const underAll = operation.scope.kind === 'user' && operation.scope.id !== '*';
        if (account === undefined) return { type: 'ignored', reason: 'unknown' };
        if (account.owned && operation.byOwner !== true) return { type: 'kept', scope: operation.scope, limit: account.limit };
        if (account.limit === null && (account.inherited || !underAll)) return { type: 'ignored', reason: 'unknown' };
        this.#touch(account, { limit: null, inherited: underAll, owned: false });
        return { type: 'limited' };
      }
      default:
        return this.#close(operation);
    }
  }

  /** What happens to a reservation that is there. */
  #close(operation: Exclude<LedgerOperation, { type: 'reserve' | 'limit' | 'unlimit' }>): LedgerOutcome {
    const hold = this.holds.get(operation.reservationId);
    if (hold === undefined) return { type: 'ignored', reason: 'unknown' };
    const corrects = hold.state === 'charged' && (operation.type === 'settle' || operation.type === 'release');
    if (hold.state !== 'open' && !corrects)
      return { type: 'ignored', reason: 'already_final', ...(hold.state === 'charged' && hold.charged ? { charged: hold.charged } : {}) };
    switch (operation.type) {
      case 'bound':
        hold.bound = operation.atMost;
        return { type: 'bounded' };
      case 'charge': {
        const amounts: Partial<Record<BudgetUnit, number>> = {};
        for (const unit of budgetUnits) {
          const held = hold.amounts[unit];
          if (held !== undefined) amounts[unit] = Math.min(held, hold.bound?.[unit] ?? held, operation.atMost?.[unit] ?? held);
        }
        // Time that is nobody else's is charged as far as it has passed, with a second for clocks that differ.
        if (amounts.wallMs !== undefined && hold.wallUntil !== undefined && hold.amounts.wallMs === hold.grantedWallMs)
          amounts.wallMs = Math.min(amounts.wallMs, Math.max(0, this.#now - hold.wallUntil + (hold.grantedWallMs ?? 0)) + 1_000);
        this.#end(hold, 'charged', amounts, 'charged_maximum');
        return { type: 'settled', amounts, outcome: 'charged_maximum' };
      }
      case 'settle': {
        const { actual } = operation;
        if (hold.state === 'charged') return { type: 'settled', amounts: actual, outcome: this.#correct(hold, actual) };
        const overrun = budgetUnits.some((unit) => (actual[unit] ?? 0) > (hold.amounts[unit] ?? 0));
        this.#end(hold, 'settled', actual, overrun ? 'overrun' : 'settlement', operation.heir);
        return { type: 'settled', amounts: actual, outcome: overrun ? 'overrun' : 'settled' };
      }
      case 'release':
        if (hold.state === 'charged') this.#correct(hold, {});
        else this.#end(hold, 'released', {}, 'settlement', operation.heir);
        return { type: 'settled', amounts: {}, outcome: 'released' };
    }
  }

  #end(hold: Hold, state: ReservationState, used: BudgetAmounts, kind: Charge['kind'], heirId?: string): void {
    const heir = heirId === undefined || heirId === hold.reservationId ? undefined : this.holds.get(heirId);
    const leftMs = (hold.amounts.wallMs ?? 0) - (used.wallMs ?? 0);
    const alike = heir !== undefined && this.heldIn(heir).join() === this.heldIn(hold).join();
    if (heir?.state === 'open' && alike && leftMs > 0) {
      heir.amounts = { ...heir.amounts, wallMs: (heir.amounts.wallMs ?? 0) + leftMs };
      heir.wallUntil = Math.max(heir.wallUntil ?? 0, hold.wallUntil ?? 0);
    }
    for (const name of this.heldIn(hold)) {
      const account = this.accounts.get(name);
      const inherits = account?.unit === 'wallMs' && heir?.state === 'open' && alike && leftMs > 0;
      const frees = account === undefined ? 0 : (hold.amounts[account.unit] ?? 0) - (inherits ? leftMs : 0);
      if (account !== undefined && (frees !== 0 || (used[account.unit] ?? 0) !== 0)) this.#touch(account);
    }
    Object.assign(hold, { state, charged: used, closedAt: this.#now });
    this.#charge(hold, kind, used, this.heldIn(hold), this.#now);
  }

  /** The difference between what was charged while the use was unknown, and the use. */
  #correct(hold: Hold, actual: BudgetAmounts): 'late_usage' | 'settled' {
    const difference = (unit: BudgetUnit) => (actual[unit] ?? 0) - (hold.charged?.[unit] ?? 0);
    const part = (sign: 1 | -1) => Object.fromEntries(budgetUnits.map((unit) => [unit, Math.max(0, sign * difference(unit)) * sign]));
    const isLate = budgetUnits.some((unit) => difference(unit) > 0);
    this.#charge(hold, 'late_usage', part(1), this.heldIn(hold), this.#now);
    // A window that has ended since keeps its charge.
    const chargedAt = hold.closedAt ?? this.#now;
    const same = this.heldIn(hold).filter((name) => {
      const account = this.accounts.get(name);
      return account !== undefined && this.currentPeriod(account, this.#now) === periodAt(account.window, chargedAt);
    });
    this.#charge(hold, 'reconciliation', part(-1), same, chargedAt);
    Object.assign(hold, { state: 'settled', charged: actual, closedAt: this.#now });
    return isLate ? 'late_usage' : 'settled';
  }

  #charge(hold: Hold, kind: Charge['kind'], amounts: BudgetAmounts, names: readonly string[], atMs: number): void {
    if (budgetUnits.every((unit) => (amounts[unit] ?? 0) === 0)) return;
    const places = new Map<string, string>();
    for (const name of names) {
      const account = this.accounts.get(name);
      if (account === undefined || (amounts[account.unit] ?? 0) === 0) continue;
      this.#touch(account);
      places.set(name, account.period);
    }
    const past = new Set(this.heldIn(hold).filter((name) => !names.includes(name)));
    this.charges.push({ kind, hold: hold.reservationId, amounts: nonZero(amounts), scopes: hold.scopes, day: dayAt(atMs), places, past });
  }

  #touch(account: Account, change: Partial<Account> = {}): void {
    Object.assign(account, change, { period: this.currentPeriod(account, this.#now) });
  }

  #begin({ scope, unit, window }: Place, fields: Partial<Account>): Account {
    const period = periodAt(window, this.#now);
    const account: Account = { scope, unit, window, limit: null, inherited: false, owned: false, period, ...fields };
    this.accounts.set(accountName(account), account);
    return account;
  }

  #limit(operation: Limit): LedgerOutcome {
    const { scope, unit, window, limit, byOwner = false } = operation;
    const own = this.accounts.get(accountName(operation));
    const forAll = scope.kind === 'user' ? this.accounts.get(accountName({ scope: everyUser, unit, window })) : undefined;
    const owners = own?.owned === true ? own : forAll?.owned === true ? forAll : undefined;
    const raises = owners !== undefined && owners.limit !== null && (limit === null || limit > owners.limit);
    if (owners !== undefined && raises && !byOwner) return { type: 'kept', scope: owners.scope, limit: owners.limit };
    this.#touch(own ?? this.#begin(operation, {}), { limit, inherited: false, owned: byOwner || own?.owned === true });
    return { type: 'limited' };
  }

  /** Each account that pays, in the order in which a refusal names the first: narrowest scope, then window, then unit. */
  #paying(scopes: readonly BudgetScope[]): readonly Account[] {
    const places = scopes.flatMap((scope) => windows.flatMap((window) => budgetUnits.map((unit) => ({ scope, unit, window }))));
    return places.flatMap((place) => {
      const account = this.accounts.get(accountName(place));
      if (account !== undefined || place.scope.kind !== 'user') return account ?? [];
      const forAll = this.accounts.get(accountName({ ...place, scope: everyUser }));
      return forAll === undefined || forAll.limit === null ? [] : this.#begin(place, { inherited: true });
    });
  }

  #reserve(operation: Reserve): LedgerOutcome {
    const { reservationId: id, runId, scopes, fixed, tokens, wallMs, beside = [], whole = false } = operation;
    const earlier = this.holds.get(id);
    if (earlier !== undefined) return granted(earlier, true);
    const price = tokens?.costMicroUsdPerMillion ?? 0;
    const open = beside.flatMap((other) => this.holds.get(other) ?? []).filter(({ state }) => state === 'open');
    const paidMs = Math.min(wallMs?.max ?? 0, Math.max(0, ...open.map(({ wallUntil }) => (wallUntil ?? 0) - this.#now)));
    const leastMs = wallMs === undefined ? undefined : Math.max(0, wallMs.min - paidMs);
    const withTokens = (count: number): BudgetAmounts => ({
      ...fixed,
      ...(tokens === undefined
        ? {}
        : { tokens: (fixed.tokens ?? 0) + count, costMicroUsd: (fixed.costMicroUsd ?? 0) + Math.ceil((count * price) / 1_000_000) }),
    });
    const withTime = (amounts: BudgetAmounts, ms: number | undefined) =>
      ms === undefined ? amounts : { ...amounts, wallMs: (fixed.wallMs ?? 0) + ms };
    /** The most tokens that fit into so much of a unit. */
    const most = (unit: BudgetUnit, room: number) => {
      if (unit !== 'tokens' && unit !== 'costMicroUsd') return tokens?.max ?? 0;
      for (let count = tokens?.max ?? 0; count > 0; count--) {
        const asked = withTokens(count)[unit] ?? 0;
        if (asked === 0 || asked <= room) return count;
      }
      return 0;
    };
    const least = withTime(withTokens(tokens?.min ?? 0), leastMs);
    const limited = this.#paying(scopes).flatMap((account) => {
      const forAll = this.accounts.get(accountName({ ...account, scope: everyUser }));
      const limit = account.inherited ? (forAll?.limit ?? null) : account.limit;
      if (limit === null) return [];
      const free = limit - this.spent(account, this.currentPeriod(account, this.#now));
      const held = this.reserved(account);
      return { account, limit, held, free, count: most(account.unit, free - held) };
    });
    const refuse = ({ account, limit, held, free }: (typeof limited)[number], asked: number): Refused => {
      const { scope, unit, window } = account;
      // What may come back: no more than what is not spent.
      const reserved = Math.max(0, Math.min(held, free));
      const refusal = { scope, unit, window, limit, asked, available: Math.max(0, free - held), ...(reserved > 0 ? { reserved } : {}) };
      return { type: 'refused', refusal, ...(asked <= free ? { held: true as const } : {}) };
    };
    for (const each of limited) {
      const asked = least[each.account.unit] ?? 0;
      if (asked > 0 && asked > each.free - each.held) return refuse(each, asked);
    }
    const count = Math.min(tokens?.max ?? 0, ...limited.map((each) => each.count));
    const unheld = Math.min(tokens?.max ?? 0, ...limited.map(({ account, free }) => most(account.unit, free)));
    const scarce = limited.find((each) => each.count === count && count < (tokens?.max ?? 0));
    if (whole && scarce !== undefined && unheld > count) return refuse(scarce, withTokens(unheld)[scarce.account.unit] ?? 0);
    const times = limited.filter(({ account }) => account.unit === 'wallMs').map(({ free, held }) => free - held - (fixed.wallMs ?? 0));
    const takenMs = wallMs === undefined ? undefined : Math.max(leastMs ?? 0, Math.min(wallMs.max - paidMs, ...times));
    const hold: Hold = {
      ...{ reservationId: id, runId, scopes: [...new Set(scopes.map(nameOf))], state: 'open', charged: null, closedAt: null },
      amounts: withTime(withTokens(Math.max(count, tokens?.min ?? 0)), takenMs),
      grantedTokens: tokens === undefined ? null : Math.max(count, tokens.min),
      grantedWallMs: takenMs === undefined ? null : paidMs + takenMs,
      ...(takenMs === undefined ? {} : { wallUntil: this.#now + paidMs + takenMs }),
    };
    this.holds.set(id, hold);
    for (const name of this.heldIn(hold)) {
      const account = this.accounts.get(name);
      if (account !== undefined && (hold.amounts[account.unit] ?? 0) !== 0) this.#touch(account);
    }
    return granted(hold, false);
  }
}

function granted({ amounts, grantedTokens, grantedWallMs }: Hold, duplicate: boolean): LedgerOutcome {
  return { type: 'reserved', amounts, maxTokens: grantedTokens, wallMs: grantedWallMs, duplicate };
}
