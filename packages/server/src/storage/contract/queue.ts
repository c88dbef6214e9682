import type { RunId, TenantId } from '@nexus-agent/protocol';
import type { DecisionRow } from './audit.ts';
import type { RunRow } from './runs.ts';

/** A run as it was claimed. */
export interface ClaimedRun extends RunRow {
  /** When the lease of whoever drove it had ended; null where it was given up, or that is not known. */
  readonly lostAt: number | null;
  /** How often its workers died, none of them told to end, since a model or tool call of it had an outcome. */
  readonly deaths: number;
  /** Its last worker died while it drove nothing but this run. */
  readonly diedAlone: boolean;
}

/** What a worker hears when it renews its lease. */
export interface SignOfLife {
  /** Which of its runs were asked to cancel. */
  readonly cancelRequested: readonly { readonly tenantId: TenantId; readonly runId: RunId; readonly reason: string }[];
  /** The fewest runs that another live worker drives; null where there is no other. */
  readonly leastElsewhere: number | null;
}

/** Who drives which run. Times are compared by the database's clock. */
export interface Queue {
  /** Asks for a run to be cancelled and makes it due. False when it has already ended or does not exist. The first reason stays. */
  requestCancel(tenantId: TenantId, runId: RunId, reason: string): Promise<boolean>;
  /**
   * Puts a failed, resumable run back into the queue, with the policy decision that permits it; `not_resumable` when it is not one,
   * `closed` when its session is not active: then nothing is kept. No more than `mostDeaths` of its workers are remembered, by default as
   * many as it takes to be driven alone.
   */
  requeueRun(tenantId: TenantId, runId: RunId, permit?: DecisionRow, mostDeaths?: number): Promise<'requeued' | 'closed' | 'not_resumable'>;

  /** Renews the worker's lease on all its runs, by the database's clock, and says how many runs it drives. */
  heartbeat(workerId: string, leaseMs: number, liveRuns?: number): Promise<SignOfLife>;
  /**
   * Takes over up to `limit` runs that nobody drives: queued and due, waiting and due, or running under a worker whose
   * lease ended, or lies further ahead than it is long. Each gets `workerId` as owner, epoch + 1 and status `running`. Two workers
   * never get the same epoch. Tenants take turns, from one claim to the next: a tenant with work is served by one of as many claims
   * as there are tenants with work, whatever the others have waiting. With `restMs` what became due less than that ago is left to others.
   */
  claimRuns(workerId: string, limit: number, restMs?: number): Promise<readonly ClaimedRun[]>;
  /**
   * The same for the run that became due first among those whose workers died twice, which `claimRuns` leaves out, or null: the worker
   * is to drive nothing else beside it, until it is cleared or a call of it has an outcome. Without `isAlone` it could not help to, and
   * its death will not tell which run it died of. One whose workers died `setAside` times is left out, too.
   */
  claimSuspect(workerId: string, isAlone: boolean, setAside: number): Promise<ClaimedRun | null>;
  /** Whether {@link claimSuspect} would probably find one. */
  hasSuspect(setAside: number): Promise<boolean>;
  /** The worker may drive others beside its suspect from now on: if it dies now, that says nothing of this run. */
  clearSuspect(run: Pick<ClaimedRun, 'tenantId' | 'runId' | 'epoch'>): Promise<void>;
  /** Running runs whose owner this worker is: what it may have claimed without hearing of it. */
  ownedRuns(workerId: string): Promise<readonly { readonly tenantId: TenantId; readonly runId: RunId; readonly epoch: number }[]>;
  /** Ends the worker's lease at once, so that others take over without waiting. */
  retireWorker(workerId: string): Promise<void>;
}
