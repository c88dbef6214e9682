import type { Clock } from '#core';
import type { CommitStore, RunStore } from '#storage';
import type { Logger } from '#telemetry';
import { type RunKey, runKey } from './keys.ts';
import type { RunClaim } from './port.ts';

export interface UndrivenRuns {
  /** Remembers a run that this worker may own without driving it; it is given back with the next {@link retry}. */
  add(claim: RunClaim): void;
  /** Gives the run back to the queue now, unless it is driven here at that epoch; tried again when the store cannot be reached. Never rejects. */
  giveBack(claim: RunClaim): Promise<void>;
  retry(): Promise<void>;
}

export interface UndrivenOptions {
  readonly store: CommitStore & Pick<RunStore, 'getRun'>;
  readonly clock: Clock;
  readonly workerId: string;
  readonly logger: Logger;
  readonly isDriven: (claim: RunClaim) => boolean;
  /** How long a run rests in the queue that is given back. */
  readonly restMs: () => number;
}

/**
 * Runs that this worker owns and does not drive: they would wait for as long as its heartbeat goes on, so they go back into
 * the queue.
 */
export function createUndrivenRuns({ store, clock, workerId, logger, isDriven, restMs }: UndrivenOptions): UndrivenRuns {
  const claims = new Map<RunKey, RunClaim>();

  async function requeue({ tenantId, runId, epoch }: RunClaim): Promise<void> {
    const row = await store.getRun(tenantId, runId);
    if (row === null || row.leaseOwner !== workerId || row.epoch !== epoch || row.status !== 'running') return;
    const patch = { status: 'queued' as const, leaseOwner: null, dueAt: clock.now() + restMs() };
    await store.commit({ tenantId, run: { runId, epoch, owner: workerId, lastSeq: row.lastSeq, patch } });
  }

  /** What is told of an earlier epoch does not make the later one be forgotten. */
  function remember(claim: RunClaim): void {
    const known = claims.get(runKey(claim));
    if (known === undefined || known.epoch <= claim.epoch) claims.set(runKey(claim), claim);
  }

  function forget(claim: RunClaim): void {
    if (claims.get(runKey(claim))?.epoch === claim.epoch) claims.delete(runKey(claim));
  }

  async function giveBack(claim: RunClaim): Promise<void> {
    if (isDriven(claim)) return forget(claim);
    remember(claim);
    try {
      await requeue(claim);
      forget(claim);
    } catch (error) {
      logger.warn({ runId: claim.runId, err: error }, 'a run could not be given back to the queue; trying again');
    }
  }

  return {
    add: remember,
    giveBack,
    async retry() {
      await Promise.all([...claims.values()].map(giveBack));
    },
  };
}
