import type {
  AgentDefinition,
  ApprovalDecision,
  ApprovalKind,
  BudgetLimits,
  BudgetRefusal,
  BudgetRow,
  BudgetScope,
  DecisionRecord,
  ErrorInfo,
  JournalEventType,
  KeyScope,
  NewEvent,
  PolicyShortForm,
  RunId,
  RunStatus,
  RunTotals,
  SessionId,
  TenantId,
  WaitReason,
} from '@nexus-agent/protocol';
import type { LedgerEntry, LedgerOperation, LedgerOutcome, ReservationRow } from './ledger-types.ts';

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

/** What a run waits for. Null unless its status is `waiting`. */
export interface Waiting {
  readonly reason: WaitReason;
  readonly approvals?: readonly string[];
  readonly childRuns?: readonly string[];
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

export interface ApprovalRow {
  readonly tenantId: TenantId;
  readonly approvalId: string;
  readonly runId: RunId;
  readonly sessionId: SessionId;
  readonly callId: string;
  readonly kind: ApprovalKind;
  readonly status: 'pending' | 'decided' | 'expired' | 'cancelled';
  readonly toolName: string;
  readonly input: unknown;
  readonly question: string | null;
  readonly role: string | null;
  readonly defaultDecision: ApprovalDecision;
  readonly deadlineAt: number;
  readonly decision: ApprovalDecision | null;
  readonly answer: { readonly arguments?: unknown; readonly result?: string; readonly note?: string } | null;
  readonly decidedBy: string | null;
  readonly decidedAt: number | null;
  readonly createdAt: number;
}

export interface AgentVersionRow {
  readonly tenantId: TenantId;
  readonly name: string;
  /** `agv_` and a hash of the content: equal definitions are one version. */
  readonly version: string;
  readonly source: 'file' | 'api' | 'built-in';
  readonly definition: AgentDefinition;
  readonly createdAt: number;
}

export interface KeyRow {
  readonly tenantId: TenantId;
  readonly keyId: string;
  readonly name: string;
  /** HMAC-SHA-256 of the secret, hex. */
  readonly hash: string;
  readonly scopes: readonly KeyScope[];
  readonly createdAt: number;
  readonly expiresAt: number | null;
  readonly revokedAt: number | null;
}

export interface DecisionRow extends DecisionRecord {
  readonly runId: string | null;
  readonly callId: string | null;
  /** SHA-256 of the canonical JSON of the arguments that were decided on. */
  readonly argumentsHash: string | null;
  readonly at: number;
}

/** A POST that creates: the first use of the key wins, a later one learns what was created. */
export interface IdempotencyClaim {
  readonly key: string;
  /** Hash of the request: the same key with another request is a conflict. */
  readonly requestHash: string;
  readonly resourceId: string;
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
  /** Appended to the run above, numbered `lastSeq + 1` and so on. A function is called with the ledger's outcomes, inside the transaction: it must be pure. */
  readonly events?: readonly NewEvent[] | ((outcomes: readonly LedgerOutcome[]) => readonly NewEvent[]);
  readonly ledger?: readonly LedgerOperation[];
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
    }
  /** The run has another epoch, owner or length: this worker no longer holds it. */
  | { readonly type: 'fenced' }
  /** The session that was to be active is closed, or does not exist. */
  | { readonly type: 'closed' }
  | { readonly type: 'refused'; readonly refusal: BudgetRefusal }
  | { readonly type: 'duplicate'; readonly resourceId: string; readonly sameRequest: boolean };

export interface PageRequest {
  readonly limit: number;
  /** Opaque; from the previous page. */
  readonly cursor?: string;
}
export interface PageOf<T> {
  readonly items: readonly T[];
  readonly nextCursor: string | null;
}

export type ApprovalAnswerResult =
  | { readonly type: 'decided'; readonly approval: ApprovalRow }
  | { readonly type: 'not_found' }
  | { readonly type: 'already'; readonly approval: ApprovalRow };

/**
 * Everything that is kept. One contract, two drivers (`node:sqlite`, Postgres), one conformance suite. Each method may
 * throw `storage_unavailable` (retryable); a commit that threw may or may not have happened, which is why reserves,
 * creations and settlements carry ids and appends carry `lastSeq`.
 */
export interface Store {
  readonly dialect: 'sqlite' | 'postgres';
  commit(commit: Commit): Promise<CommitResult>;

  getRun(tenantId: TenantId, runId: RunId): Promise<RunRow | null>;
  listRuns(
    tenantId: TenantId,
    filter: { sessionId?: SessionId; status?: RunStatus; parentRunId?: RunId },
    page: PageRequest,
  ): Promise<PageOf<RunRow>>;
  /** Events with `seq > after`, oldest first. */
  readEvents(tenantId: TenantId, runId: RunId, range: { after: number; limit: number }): Promise<readonly StoredEvent[]>;

  getSession(tenantId: TenantId, sessionId: SessionId): Promise<SessionRow | null>;
  listSessions(tenantId: TenantId, page: PageRequest): Promise<PageOf<SessionRow>>;
  /** False when there was no such active session. */
  closeSession(tenantId: TenantId, sessionId: SessionId): Promise<boolean>;

  /** Inserts the version unless it exists, and makes it the current one of its name. */
  putAgent(row: AgentVersionRow): Promise<void>;
  getAgent(tenantId: TenantId, name: string, version?: string): Promise<AgentVersionRow | null>;
  listAgents(tenantId: TenantId, page: PageRequest): Promise<PageOf<AgentVersionRow>>;

  getApproval(tenantId: TenantId, approvalId: string): Promise<ApprovalRow | null>;
  listApprovals(
    tenantId: TenantId,
    filter: { status?: ApprovalRow['status']; runId?: RunId },
    page: PageRequest,
  ): Promise<PageOf<ApprovalRow>>;
  /** Stores the answer of a pending approval and makes its run due. Once only: a second answer gets `already`. */
  answerApproval(
    tenantId: TenantId,
    approvalId: string,
    answer: { decision: ApprovalDecision; answer: ApprovalRow['answer']; decidedBy: string; at: number },
  ): Promise<ApprovalAnswerResult>;

  /** Balances, rolled to the current period. Without `scope`: those of the whole tenant, paged. */
  listBudgets(
    tenantId: TenantId,
    filter: { scopes?: readonly BudgetScope[] },
    nowMs: number,
    page: PageRequest,
  ): Promise<PageOf<BudgetRow & { limited: boolean }>>;
  /** Open reservations that expired before `nowMs`, oldest first, over all tenants. */
  listExpiredReservations(nowMs: number, limit: number): Promise<readonly { tenantId: TenantId; reservation: ReservationRow }[]>;
  listReservations(tenantId: TenantId, filter: { runId?: RunId; state?: ReservationRow['state'] }): Promise<readonly ReservationRow[]>;
  listLedgerEntries(
    tenantId: TenantId,
    filter: { runId?: RunId; after?: number },
    page: PageRequest,
  ): Promise<PageOf<LedgerEntry & { entryId: string; at: number }>>;

  listDecisions(tenantId: TenantId, filter: { runId?: RunId }, page: PageRequest): Promise<PageOf<DecisionRow>>;

  putKey(row: KeyRow): Promise<void>;
  getKey(keyId: string): Promise<KeyRow | null>;
  listKeys(tenantId: TenantId, page: PageRequest): Promise<PageOf<KeyRow>>;
  revokeKey(tenantId: TenantId, keyId: string, at: number): Promise<boolean>;

  /** Asks for a run to be cancelled and makes it due. False when it has already ended or does not exist. The first reason stays. */
  requestCancel(tenantId: TenantId, runId: RunId, reason: string): Promise<boolean>;
  /** Puts a failed, resumable run back into the queue. False when it is not one. */
  requeueRun(tenantId: TenantId, runId: RunId): Promise<boolean>;

  /** Renews the worker's lease on all its runs, by the database's clock. Says which of its runs were asked to cancel. */
  heartbeat(
    workerId: string,
    leaseMs: number,
  ): Promise<{ cancelRequested: readonly { tenantId: TenantId; runId: RunId; reason: string }[] }>;
  /**
   * Takes over up to `limit` runs that nobody drives: queued and due, waiting and due, or running under a worker whose
   * lease ended. Each gets `workerId` as owner, epoch + 1 and status `running`. Two workers never get the same epoch.
   */
  claimRuns(workerId: string, limit: number): Promise<readonly RunRow[]>;
  /** Running runs whose owner this worker is: what it may have claimed without hearing of it. */
  ownedRuns(workerId: string): Promise<readonly { readonly tenantId: TenantId; readonly runId: RunId; readonly epoch: number }[]>;
  /** Ends the worker's lease at once, so that others take over without waiting. */
  retireWorker(workerId: string): Promise<void>;

  close(): Promise<void>;
}

/** Carries deltas and wake-ups between subscribers, perhaps between processes. Messages may be lost, never reordered within a topic. */
export interface Bus {
  /** True when other processes receive what is published here. */
  readonly spansProcesses: boolean;
  publish(topic: string, message: string): void;
  subscribe(topic: string, listener: (message: string) => void): () => void;
  close(): Promise<void>;
}
