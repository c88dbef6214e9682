import type { RunId, TenantId } from '@nexus-agent/protocol';
import type { RunRow } from './runs.ts';

/** A run as it was claimed. */
export interface ClaimedRun extends RunRow {
  /** When the lease of whoever drove it had ended; null where it was given up, or that is not known. */
  readonly lostAt: number | null;
}

/** Who drives which run. Times are compared by the database's clock. */
export interface Queue {
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
   * lease ended, or lies further ahead than it is long. Each gets `workerId` as owner, epoch + 1 and status `running`. Two workers never get the same epoch.
   */
  claimRuns(workerId: string, limit: number): Promise<readonly ClaimedRun[]>;
  /** Running runs whose owner this worker is: what it may have claimed without hearing of it. */
  ownedRuns(workerId: string): Promise<readonly { readonly tenantId: TenantId; readonly runId: RunId; readonly epoch: number }[]>;
  /** Ends the worker's lease at once, so that others take over without waiting. */
  retireWorker(workerId: string): Promise<void>;
}
