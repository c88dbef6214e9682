import type { TenantId } from '@nexus-agent/protocol';

/** A process of somebody's own that serves tools, as long as it is connected to one of our nodes. */
export interface ToolWorkerRow {
  readonly tenantId: TenantId;
  readonly workerId: string;
  /** Workers of one pool serve the same tools: whichever has room takes a call. */
  readonly pool: string;
  /** The node that holds its connection. */
  readonly nodeId: string;
  /** JSON for people: its version, its host, how much it takes at once. */
  readonly about: unknown;
  readonly connectedAt: number;
  readonly seenAt: number;
}

/** A call that a worker is to do, is doing, or has done. */
export interface WorkerCallRow {
  readonly tenantId: TenantId;
  /** The idempotency key of the call: one row however often it is asked for. */
  readonly callKey: string;
  readonly pool: string;
  readonly status: 'queued' | 'held' | 'done';
  /** JSON: what the worker is told. */
  readonly request: unknown;
  /** JSON: what it answered; null until it is done. */
  readonly answer: unknown;
  /** The worker that holds it, for as long as its lease lasts. */
  readonly holder: string | null;
  /** How often it was given to a worker; the fence of reports. */
  readonly delivery: number;
  readonly leaseUntil: number | null;
  /** Whoever asked does not want it any more. */
  readonly cancelled: boolean;
  readonly createdAt: number;
  /** From then on nobody asks for it, and it may be forgotten. */
  readonly expiresAt: number;
}

export type WorkerCallState = Pick<WorkerCallRow, 'callKey' | 'status' | 'answer' | 'holder' | 'delivery' | 'leaseUntil' | 'cancelled'>;

export interface HeldCall {
  readonly callKey: string;
  readonly delivery: number;
}

/**
 * The queue between runs and the workers of tools. Times are by the clock that all processes share. A call is done once: the first
 * answer under its current delivery counts, and no other.
 */
export interface ToolCallStore {
  /** Puts the call, unless there is one of its key: then that one comes back, whatever has become of it. */
  offerToolCall(row: WorkerCallRow): Promise<WorkerCallRow>;
  /** Gives up to `limit` queued calls of the pool to the worker, oldest first. */
  takeToolCalls(
    of: { readonly tenantId: TenantId; readonly pool: string; readonly workerId: string },
    options: { readonly limit: number; readonly nowMs: number; readonly leaseMs: number },
  ): Promise<readonly WorkerCallRow[]>;
  /** Renews what the worker still holds; the rest is not its own any more. `cancelled` says what nobody wants. */
  renewToolCalls(
    of: { readonly tenantId: TenantId; readonly workerId: string },
    held: readonly HeldCall[],
    leaseUntil: number,
  ): Promise<readonly (HeldCall & { readonly cancelled: boolean })[]>;
  /** False when the call is done already, or was given to another since, or is not there, or is not the worker's. */
  endToolCall(of: { readonly tenantId: TenantId; readonly workerId: string }, held: HeldCall, answer: unknown): Promise<boolean>;
  /** Ends what was lost with its worker, where it is still at this delivery and its lease is over at `nowMs`. */
  endLostToolCall(tenantId: TenantId, held: HeldCall, nowMs: number, answer: unknown): Promise<boolean>;
  /** Queued anew where it is done under this delivery, as another attempt wants it: for what no worker did. */
  reopenToolCall(tenantId: TenantId, held: HeldCall, until: { readonly nowMs: number; readonly expiresAt: number }): Promise<boolean>;
  /** Queued again, by the worker that holds it and did not begin it. */
  returnToolCall(of: { readonly tenantId: TenantId; readonly workerId: string }, held: HeldCall): Promise<boolean>;
  /** Queued again for any worker, where it is still at this delivery and its lease is over at `nowMs`. */
  requeueToolCall(tenantId: TenantId, held: HeldCall, nowMs: number): Promise<boolean>;
  /** One that nobody holds is done by this, with `answer`; one that a worker holds is marked. `gone` where it is done already. */
  cancelToolCall(tenantId: TenantId, callKey: string, answer: unknown): Promise<'ended' | 'marked' | 'gone'>;
  /** One that nobody holds is done by this, with `answer`; false for any other, which stays as it is. */
  withdrawToolCall(tenantId: TenantId, callKey: string, answer: unknown): Promise<boolean>;
  /** What a worker that comes back holds. */
  heldToolCalls(tenantId: TenantId, workerId: string): Promise<readonly WorkerCallRow[]>;
  toolCallStates(tenantId: TenantId, callKeys: readonly string[]): Promise<readonly WorkerCallState[]>;
  /** Pools with queued calls, of these tenants' pools; for a node whose bus lost the news. */
  queuedToolPools(
    pools: readonly { readonly tenantId: TenantId; readonly pool: string }[],
  ): Promise<readonly { tenantId: TenantId; pool: string }[]>;
  pruneToolCalls(nowMs: number, limit: number): Promise<number>;

  putToolWorker(row: ToolWorkerRow): Promise<void>;
  /** Unless it is connected to another node by now: what ends there late must not hide it. */
  deleteToolWorker(tenantId: TenantId, workerId: string, nodeId: string): Promise<void>;
  /** Says of all workers of a node that they are connected. */
  touchToolWorkers(nodeId: string, nowMs: number): Promise<void>;
  /** Those that were seen since, at most `limit`, the newest first. */
  listToolWorkers(tenantId: TenantId, seenSince: number, limit: number): Promise<readonly ToolWorkerRow[]>;
  pruneToolWorkers(seenBefore: number, limit: number): Promise<number>;
}
