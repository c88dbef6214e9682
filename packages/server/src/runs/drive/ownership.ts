import type { Clock } from '#core';
import type { RunFence } from '#runs/steps';
import type { RunStore } from '#storage';
import type { Patience } from './patience.ts';

/** The sign of life that the leases of all runs of a process hang on. Times are of the monotonic clock. */
export interface RunLease {
  /** Whether nobody else may have taken this process for dead yet. */
  stands(): boolean;
  /** Whether nobody may have, neither now nor at any time since then. */
  stoodSince(monotonicMs: number): boolean;
  /** Gives a sign of life. Rejects when the store does not answer. */
  beat(): Promise<void>;
}

export interface OwnershipOptions {
  readonly store: Pick<RunStore, 'getRun'>;
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly fence: RunFence;
  readonly lease: RunLease;
  readonly patience: Patience;
}

export interface Ownership {
  /** Whether nobody else can have taken the run over since then. */
  isCertain(askedAt: number): boolean;
  /** Looks whether the run is still this worker's, whose lease stands. Rejects with what the store throws in the end. */
  isOurs(): Promise<boolean>;
}

/** A process that stands still again and again is not to drive anything. */
const mostLooks = 3;

/**
 * Whether a run is still this worker's, of which it hears that it wrote what it had asked for a while ago. A process may stand still
 * between what it wrote and hearing of it: by then another one may have taken the run over, and done what was announced. So it is looked
 * up before anything begins, unless the lease stood all the time. Against a process that stands still after that look, and before what it
 * begins has left it, no look can help.
 */
export function createOwnership({ store, clock, fence, lease, patience }: OwnershipOptions): Ownership {
  return {
    isCertain: (askedAt) => lease.stoodSince(askedAt),
    async isOurs() {
      for (let looks = 0; looks < mostLooks; looks++) {
        await patience(() => lease.beat());
        const lookedAt = clock.monotonic();
        const row = await patience(() => store.getRun(fence.tenantId, fence.runId));
        if (row?.epoch !== fence.epoch || row.leaseOwner !== fence.owner) return false;
        if (lease.stoodSince(lookedAt)) return true;
      }
      return false;
    },
  };
}
