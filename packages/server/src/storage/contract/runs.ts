import type {
  BudgetLimits,
  ErrorInfo,
  JournalEventType,
  PolicyShortForm,
  RunId,
  RunStatus,
  RunTotals,
  SessionId,
  TenantId,
  WaitReason,
} from '@nexus-agent/protocol';
import type { PageOf, PageRequest } from './pages.ts';

export interface SessionRow {
  readonly tenantId: TenantId;
  readonly sessionId: SessionId;
  readonly status: 'active' | 'closed';
  readonly agent: string;
  readonly agentVersion: string;
  readonly policy: PolicyShortForm | null;
  readonly user: string | null;
  readonly project: string | null;
  readonly metadata: Record<string, string> | null;
  readonly createdAt: number;
}

/**
 * What a run waits for. Null unless its status is `waiting`, or it is queued behind the work of its session (`session`), in
 * which case it may be due only to be cancelled or at its deadline.
 */
export interface Waiting {
  readonly reason: WaitReason | 'session';
  /** The run of the session behind which it is queued. */
  readonly behind?: RunId;
  readonly approvals?: readonly string[];
  readonly childRuns?: readonly string[];
  readonly clientCalls?: readonly string[];
  readonly until?: string;
}

/**
 * A run as the dispatcher and the API see it: a summary of its journal, plus the lease. `leaseOwner` is a worker; the
 * lease stands while that worker's own row has not expired, so that one heartbeat renews all leases of a process.
 */
export interface RunRow {
  readonly tenantId: TenantId;
  readonly runId: RunId;
  readonly sessionId: SessionId;
  readonly agent: string;
  readonly agentVersion: string;
  readonly model: string | null;
  readonly parentRunId: RunId | null;
  readonly status: RunStatus;
  readonly waiting: Waiting | null;
  readonly step: number;
  readonly lastSeq: number;
  readonly totals: RunTotals;
  readonly output: string | null;
  readonly error: ErrorInfo | null;
  readonly resumable: boolean;
  readonly epoch: number;
  readonly leaseOwner: string | null;
  /** A queued or waiting run may be claimed from this time on; null: only after somebody wakes it. */
  readonly dueAt: number | null;
  readonly cancelRequested: string | null;
  readonly budget: BudgetLimits | null;
  readonly traceId: string | null;
  /** For whom it works and pays, as it was asked or its session says; null for an earlier version's, which its session says. */
  readonly user: string | null;
  readonly project: string | null;
  readonly createdAt: number;
  readonly updatedAt: number;
}

export type RunPatch = Partial<
  Pick<RunRow, 'status' | 'waiting' | 'step' | 'totals' | 'output' | 'error' | 'resumable' | 'leaseOwner' | 'dueAt'>
>;

/** An event as stored: `data` is JSON text, so that reading for a stream needs no parsing. */
export interface StoredEvent {
  readonly seq: number;
  readonly type: JournalEventType;
  readonly at: number;
  readonly data: string;
}

/** With its length, in bytes as it is stored; `data` is empty where that is more than was asked for. */
export interface SizedEvent extends StoredEvent {
  readonly chars: number;
}

/** Sessions, runs and their journals. They are written by commits. */
export interface RunStore {
  getRun(tenantId: TenantId, runId: RunId): Promise<RunRow | null>;
  listRuns(
    tenantId: TenantId,
    /** `parentRunId` null: what is nobody's sub-agent. */
    filter: { sessionId?: SessionId; status?: RunStatus; parentRunId?: RunId | null },
    page: PageRequest,
  ): Promise<PageOf<RunRow>>;
  /** The runs of a session that have not ended, those of sub-agents too. */
  listOpenRuns(tenantId: TenantId, sessionId: SessionId): Promise<readonly RunId[]>;
  /** Events with `seq > after`, oldest first. */
  readEvents(tenantId: TenantId, runId: RunId, range: { after: number; limit: number }): Promise<readonly StoredEvent[]>;
  /**
   * The same for readers, whose memory is bounded: no further event once they have `maxChars` bytes together, and one that has more
   * by itself without its data.
   */
  readEventsWithin(
    tenantId: TenantId,
    runId: RunId,
    range: { after: number; limit: number; maxChars: number },
  ): Promise<readonly SizedEvent[]>;
  /**
   * The number of the newest event, null without such a run. What is asked at the same time is one query, so that many readers may
   * look for news by it.
   */
  lastSeqOf(tenantId: TenantId, runId: RunId): Promise<number | null>;
  /** `chars` characters of the data of an event, as the database counts them; empty behind its end, null when the event is gone. */
  readEventData(tenantId: TenantId, runId: RunId, piece: { seq: number; from: number; chars: number }): Promise<string | null>;

  getSession(tenantId: TenantId, sessionId: SessionId): Promise<SessionRow | null>;
  listSessions(tenantId: TenantId, page: PageRequest): Promise<PageOf<SessionRow>>;
  /**
   * Ends the session, asks all that is open in it to cancel, and withdraws the questions of what failed there, at once. False when there
   * was no such active session.
   */
  closeSession(tenantId: TenantId, sessionId: SessionId, reason?: string): Promise<boolean>;
}
