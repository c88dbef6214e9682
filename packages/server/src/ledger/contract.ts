import type { BudgetAmounts, BudgetRefusal, BudgetScope, BudgetUnit, BudgetWindow } from '@nexus-agent/protocol';

/**
 * One row of the ledger: a (scope, unit, window) with its balance. A scope's unit is accounted for exactly when it has
 * a row. `limit` null means counted but not limited. `period` is '' for a total, else the UTC day (`2026-11-22`) or
 * month (`2026-11`) that `spent` counts; it moves forward when a row is first touched in a later period.
 */
export interface LedgerRow {
  readonly scope: BudgetScope;
  readonly unit: BudgetUnit;
  readonly window: BudgetWindow;
  readonly period: string;
  readonly limit: number | null;
  /** The row of a user who has no limit of their own: its limit is that of the row of {@link everyUser}, whatever that is by then. */
  readonly inherited?: boolean;
  /** An owner set the limit: nobody else raises it or takes it away. */
  readonly owned?: boolean;
  readonly spent: number;
  readonly reserved: number;
}

/** Whose charge it is, besides the run: each null where it does not apply. `user` null also where nobody was named. */
export interface Subject {
  readonly session: string | null;
  readonly user: string | null;
  readonly project: string | null;
  readonly agent: string | null;
  /** `provider/model` of a model call. */
  readonly model: string | null;
}

/** Where an amount was reserved or charged: `<scope kind>:<scope id>|<unit>|<window>`, see `rowKey`. */
export type LedgerRowKey = string;

export type ReservationState = 'open' | 'settled' | 'released' | 'charged';

export interface ReservationRow {
  readonly reservationId: string;
  readonly runId: string | null;
  readonly state: ReservationState;
  readonly amounts: BudgetAmounts;
  /** Whom it is for, whether or not they have rows; null for one that was made before that was kept. */
  readonly subject: Subject | null;
  /** Keys of all scopes that pay, whether or not they had rows. Absent for one of an earlier version: those of its `rows`. */
  readonly scopes?: readonly string[];
  /** The rows it holds `amounts` in: while it is open, all rows of its scopes, and none afterwards. */
  readonly rows: readonly LedgerRowKey[];
  /** What a reserve with a range was granted; a duplicate reserve gets the same answer. */
  readonly grantedTokens: number | null;
  readonly grantedWallMs: number | null;
  /** Until when its time, with that of the work beside it, is paid for. Absent without a range of time. */
  readonly wallUntil?: number;
  /** The most that the work can have used although its holder may be lost: a charge takes no more. */
  readonly bound?: BudgetAmounts;
  readonly expiresAt: number;
  /** What was charged in the end, null while open. */
  readonly charged: BudgetAmounts | null;
  /** When it ceased to be open, null while open: a later correction gives nothing back to a window that has ended since. */
  readonly closedAt: number | null;
}

/**
 * Takes money before the work. All scopes or none. `fixed` is needed in any case; `tokens` and `wallMs` are ranges: the
 * largest value that every scope affords is granted, and the caller must then hold the call to it (`max_tokens`,
 * deadline). Less than `min` affordable refuses the whole.
 */
export interface ReserveOperation {
  readonly type: 'reserve';
  readonly reservationId: string;
  readonly runId: string | null;
  /** All that pay. A refusal names the first of them that cannot. */
  readonly scopes: readonly BudgetScope[];
  /** `provider/model` of a model call, for the accounts. */
  readonly model?: string;
  readonly fixed: BudgetAmounts;
  readonly tokens?: { readonly min: number; readonly max: number; readonly costMicroUsdPerMillion: number };
  readonly wallMs?: { readonly min: number; readonly max: number };
  /**
   * Open reservations of work of the same run that goes on beside this. Its time is theirs: only what goes beyond what they
   * hold is taken, and whoever ends first leaves what it holds to another (`heir`).
   */
  readonly beside?: readonly string[];
  /** Refuses, as `held`, rather than to grant fewer tokens only because others hold reservations. */
  readonly whole?: boolean;
  /** When the sweeper may charge it, because whoever holds it is gone. */
  readonly expiresAt: number;
  /** The same in milliseconds from when it is granted: without a run it goes by the clock of the database, whatever this process takes the time for. */
  readonly lifeMs?: number;
}

export type LedgerOperation =
  | ReserveOperation
  /**
   * Charges what the work really used. After a `charge` the difference is booked and flagged. The time that it held and did
   * not use goes to the `heir`, where one is named that is still open.
   */
  | { readonly type: 'settle'; readonly reservationId: string; readonly actual: BudgetAmounts; readonly heir?: string }
  /** Gives everything back: the work never started. */
  | { readonly type: 'release'; readonly reservationId: string; readonly heir?: string }
  /** Charges the least that is known to be enough: the work may have started and its use is unknown. At most the whole, `bound` and `atMost`. */
  | { readonly type: 'charge'; readonly reservationId: string; readonly atMost?: BudgetAmounts }
  /** Says what the work can have used at most from now on, should its holder be lost. Stands in place of what was said before. */
  | { readonly type: 'bound'; readonly reservationId: string; readonly atMost: BudgetAmounts }
  /**
   * Creates the row or changes its limit. A limit below what is spent and reserved only stops further reserves. A new row
   * counts what was spent and is reserved in its scope; `fresh` says that the scope comes to be with this change, so that nothing can have been.
   */
  | {
      readonly type: 'limit';
      readonly scope: BudgetScope;
      readonly unit: BudgetUnit;
      readonly window: BudgetWindow;
      readonly limit: number | null;
      readonly fresh?: boolean;
      /** Of whoever owns the installation: it is then theirs to change. */
      readonly byOwner?: boolean;
    }
  /** Takes the limit away. The row goes on counting; that of a user is again under the limit of {@link everyUser}. */
  | {
      readonly type: 'unlimit';
      readonly scope: BudgetScope;
      readonly unit: BudgetUnit;
      readonly window: BudgetWindow;
      readonly byOwner?: boolean;
    };

export type LedgerOutcome =
  | {
      readonly type: 'reserved';
      readonly amounts: BudgetAmounts;
      readonly maxTokens: number | null;
      readonly wallMs: number | null;
      readonly duplicate: boolean;
    }
  /** `held`: others hold what is missing, and may give it back. */
  | { readonly type: 'refused'; readonly refusal: BudgetRefusal; readonly held?: true }
  | {
      readonly type: 'settled';
      readonly amounts: BudgetAmounts;
      readonly outcome: 'settled' | 'released' | 'charged_maximum' | 'late_usage' | 'overrun';
    }
  /** The id was settled, released or charged before, or never existed: nothing was changed. `charged` is what a charge took that came first. */
  | { readonly type: 'ignored'; readonly reason: 'already_final' | 'unknown'; readonly charged?: BudgetAmounts }
  | { readonly type: 'bounded' }
  | { readonly type: 'limited' }
  /** An owner's limit stands, which only an owner raises or takes away. Nothing was changed. */
  | { readonly type: 'kept'; readonly scope: BudgetScope; readonly limit: number | null };

/** An entry of the ledger: one charge, and the rows (with their period) that it was added to. */
export interface LedgerEntry {
  readonly kind: 'settlement' | 'charged_maximum' | 'late_usage' | 'reconciliation' | 'overrun';
  readonly reservationId: string;
  readonly runId: string | null;
  readonly amounts: BudgetAmounts;
  readonly subject: Subject;
  /** The UTC day that it counts in: that of the charge, for a correction which gives back. */
  readonly day: string;
  readonly rows: readonly { readonly key: LedgerRowKey; readonly period: string }[];
}

/** What the rules may read and change: the store loads it under locks and writes the changes back. */
export interface LedgerState {
  readonly rows: ReadonlyMap<LedgerRowKey, LedgerRow>;
  /** What the ledger says was spent so far in the period of rows that do not exist. */
  readonly counted?: ReadonlyMap<LedgerRowKey, number>;
  /** Those that the operations name; for a row that may come to be in a scope that is not `fresh`, also all that are open in it. */
  readonly reservations: ReadonlyMap<string, ReservationRow>;
  /** Ids of those among them that a scope pays for, and maybe others; all of them are looked through where this is absent. */
  readonly paidBy?: (scopeKey: string) => Iterable<string>;
}

export interface LedgerChange {
  readonly outcomes: readonly LedgerOutcome[];
  readonly rows: ReadonlyMap<LedgerRowKey, LedgerRow>;
  readonly reservations: ReadonlyMap<string, ReservationRow>;
  readonly entries: readonly LedgerEntry[];
}

/**
 * The arithmetic of budgets as a pure function, applied by the store inside the transaction that holds the rows' locks. All operations of one call succeed together: when a reserve is refused the
 * change holds only that refusal (`rows`, `reservations` and `entries` are empty).
 */
export type LedgerRules = (state: LedgerState, operations: readonly LedgerOperation[], nowMs: number) => LedgerChange;
