import type { RunId } from '@nexus-agent/protocol';
import type { IdSource } from '#core';
import type { LedgerOutcome, LedgerRules } from '#ledger';
import type { Commit, CommitResult, Placed, Quotas, StoredEvent } from '#storage/contract';
import type { Program } from '#storage/program';

/** What all handlers of a batch know. */
export interface Batch {
  readonly tenantId: string;
  readonly nowMs: number;
  readonly ids: IdSource;
  readonly ledgerRules: LedgerRules;
  readonly quotas: Quotas;
  readonly books: {
    /** The batch has the books of its tenant for itself, and may count what was spent. Its handlers load one after the other. */
    readonly alone: boolean;
    /** Some of it can be decided only when it has. */
    mustBeAlone: boolean;
  };
}

/** What the handlers have made of a commit so far, for those that come after them and for its answer. */
export interface Draft {
  outcomes: readonly LedgerOutcome[];
  events: readonly StoredEvent[];
  placed?: Placed;
  /** Found by the last change, when all others are made. */
  next?: RunId;
}

/** A change of the working set that is made once every handler agrees; or the end of the commit; or nothing. */
export type Verdict = (() => void) | Exclude<CommitResult, { readonly type: 'committed' }> | undefined;

/**
 * One kind of change in one batch, with what the batch has loaded and changed of it: the working set. Rows are locked in
 * the order of the handlers; each commit is then decided by all of them in that order, and what came of it is written.
 */
export interface Handler {
  /** Notes the keys that the commit needs. When it throws, the commit fails and no other. */
  want?(commit: Commit): void;
  /**
   * Reads what was noted, locking in the order of its keys what the batch may change: all of it with the first request, unless the batch
   * has the books alone, as others ask for their locks beside it. The generator function stands in the
   * file and not in the handler: one that is made for each batch survives many collections of garbage.
   */
  load?(): Program<void> | undefined;
  /** Whatever may throw or refuse happens here, and changes nothing: the verdict does, and cannot fail. */
  decide?(commit: Commit, draft: Draft): Verdict;
  /** Adds what writes the changes, if there are any. The programs of all handlers are sent together, in their order. */
  write?(writes: Program<unknown>[]): void;
}
