import type { BudgetRefusal, NewEvent, RunId, RunTotals, SessionId, TenantId } from '@nexus-agent/protocol';
import type { LedgerOperation, LedgerOutcome } from '#ledger';
import type { ApprovalRow } from './approvals.ts';
import type { ArtifactRow } from './artifacts.ts';
import type { DecisionRow } from './audit.ts';
import type { FilesCommit, FilesCopy } from './files.ts';
import type { RunPatch, RunRow, SessionRow, StoredEvent } from './runs.ts';

/** A POST that creates: the first use of the key wins, a later one learns what was created. */
export interface IdempotencyClaim {
  readonly key: string;
  /** Hash of the request: the same key with another request is a conflict. */
  readonly requestHash: string;
  readonly resourceId: string;
}

/** How a new run takes its place in a session. */
export interface PlaceInLog {
  /** Fence: the newest run so far must be this one, or there must be none. */
  readonly after?: RunId | null;
  /**
   * What happens while others of the session are at work: nothing, the commit is refused as `busy`, or the new run waits,
   * queued, until they have ended or wait themselves. With `interrupt` they are asked to cancel, for the reason that is given.
   */
  readonly whileBusy: 'begin' | 'refuse' | 'wait' | { readonly interrupt: string };
  /** A run that waits is due at this time all the same: its deadline. */
  readonly waitUntil?: number | null;
}

/** Where a new run was placed. */
export interface Placed {
  /** As it is stored. */
  readonly createdAt: number;
  /** The run that it waits for. */
  readonly behind: RunId | null;
  /** The runs that were asked to cancel. */
  readonly interrupted: readonly RunId[];
}

/**
 * One atomic change. Everything in it is written in one transaction or nothing is; commits of one tenant that wait at
 * the same time share a transaction (group commit) without sharing their fate.
 */
export interface Commit {
  readonly tenantId: TenantId;
  readonly idempotency?: IdempotencyClaim;
  readonly sessions?: readonly SessionRow[];
  /** Fence: this session must be active. One that is closed at the same time either comes after the commit or stops it. */
  readonly openSession?: SessionId;
  /**
   * The new run becomes the newest of the log of its session, which this commit holds open: its `createdAt` is moved behind
   * that of the newest one so far if it has to be.
   */
  readonly place?: PlaceInLog;
  /** A run of this session ends or waits with this commit: if nothing works in the session any more, the next that waits for it is due. */
  readonly leaves?: SessionId;
  /** A new run, with `lastSeq` 0; its first events stand in `events`. */
  readonly createRun?: RunRow;
  /** Fence: the run must be at this epoch, with this owner, at `lastSeq`. Needed whenever events are appended to an existing run. */
  readonly run?: {
    readonly runId: RunId;
    readonly epoch: number;
    readonly owner: string;
    readonly lastSeq: number;
    readonly patch: RunPatch;
  };
  /**
   * Appended to the run above, numbered `lastSeq + 1` and so on. A function is called with the ledger's outcomes inside
   * the transaction, and again when that is repeated: it must be pure.
   */
  readonly events?: readonly NewEvent[] | ((outcomes: readonly LedgerOutcome[]) => readonly NewEvent[]);
  /** The totals of the run once these events are appended: of what really came of the ledger. Pure, as `events`. */
  readonly totals?: (events: readonly NewEvent[]) => RunTotals;
  readonly ledger?: readonly LedgerOperation[];
  /** What tool calls changed of files, in order. Their trees exist, and the contents are kept already. */
  readonly files?: readonly FilesCommit[];
  readonly copyFiles?: FilesCopy;
  /**
   * Results of tools that are kept; their contents are kept already. The commit fails with the `artifactId` in the details of its error where the
   * session has no room for one (`quota_exceeded`) or is gone (`not_found`), and where a content is gone (`storage_unavailable`).
   */
  readonly artifacts?: readonly ArtifactRow[];
  readonly decisions?: readonly DecisionRow[];
  readonly approvals?: readonly ApprovalRow[];
  /** Approvals of this run that no longer need an answer. */
  readonly closeApprovals?: readonly { readonly approvalId: string; readonly status: 'expired' | 'cancelled' | 'decided' }[];
  /** Runs that this change makes due (a parent whose child ended). */
  readonly wake?: readonly RunId[];
}

export type CommitResult =
  | {
      readonly type: 'committed';
      readonly at: number;
      readonly events: readonly StoredEvent[];
      readonly outcomes: readonly LedgerOutcome[];
      readonly placed?: Placed;
      /** The run that is due because the session was left. */
      readonly next?: RunId;
    }
  /**
   * The run has another epoch, owner or length: this worker no longer holds it. Where the row says less than the commit knows (an earlier
   * epoch, a shorter journal) it went back, and the commit throws a `BrokenInvariant`, as it does wherever rows contradict each other.
   */
  | { readonly type: 'fenced' }
  /** The session that was to be active is closed, or does not exist. */
  | { readonly type: 'closed' }
  /** Another run has become the newest of the session's log. */
  | { readonly type: 'moved' }
  /** Others of the session are at work, last this one. */
  | { readonly type: 'busy'; readonly runId: RunId }
  /** `held`: others hold what is missing, and may give it back. */
  | { readonly type: 'refused'; readonly refusal: BudgetRefusal; readonly held?: true }
  | { readonly type: 'duplicate'; readonly resourceId: string; readonly sameRequest: boolean };

/** The one way in which runs move, money is booked, and approvals and decisions come to be. */
export interface CommitStore {
  commit(commit: Commit): Promise<CommitResult>;
}
