import { type Clock, NexusError, type Timers } from '#core';
import { isUnwritable } from '#runs/steps';
import type { Logger } from '#telemetry';

export interface PatienceOptions {
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly timers: Pick<Timers, 'sleep'>;
  readonly logger: Logger;
  readonly runId: string;
  /** Whether this process may still have the run, so long after the work was begun. */
  readonly mayGoOn: (elapsedMs: number) => boolean;
}

/** Does work with the store again for as long as an outage may pass, and rejects with its last error when that is over. */
export type Patience = <T>(work: () => Promise<T>) => Promise<T>;

/**
 * What a driven run has in its memory was paid for, so that an outage of the store is waited out. The work is repeated as it is: it
 * must be harmless to do twice, as what is read is, and what is written behind a fence.
 */
export function createPatience({ clock, timers, logger, runId, mayGoOn }: PatienceOptions): Patience {
  return async (work) => {
    const startedMs = clock.monotonic();
    for (let failures = 1; ; failures++) {
      try {
        return await work();
      } catch (error) {
        if (isUnwritable(error) || isFull(error) || !mayGoOn(clock.monotonic() - startedMs)) throw error;
        if (failures === 1) logger.warn({ runId, err: error }, 'the store does not answer a run; trying again');
        await timers.sleep(pauseAfter(failures));
      }
    }
  };
}

/**
 * Whether the tenant has no room for what was to be written, and no single call is to blame. That may last as long as people take, and the
 * run may be cancelled or drained meanwhile: what is to be written then is something else.
 */
export function isFull(error: unknown): error is NexusError {
  return error instanceof NexusError && error.code === 'quota_exceeded' && error.details?.callId === undefined;
}

function pauseAfter(failures: number): number {
  return Math.min(1_000, 25 * 2 ** failures);
}
