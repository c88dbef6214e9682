import type { RunId, TenantId } from '@nexus-agent/protocol';
import { type Clock, NexusError } from '#core';
import type { Queue } from '#storage';
import type { Logger } from '#telemetry';
import type { DispatchSettings } from './port.ts';

export interface Lease {
  /**
   * Renews the lease on all runs of the worker. Asks twice, as what is not heard of for a while may be one connection and not the
   * store. Rejects when the store does not answer; the lease then runs on as it was.
   */
  beat(): Promise<void>;
  /** Whether nobody else may have taken this worker for dead yet. */
  stands(): boolean;
  /** Whether another process drives far fewer runs than this one, as of the last sign of life. */
  isBusier(): boolean;
  /** Whether the last sign of life is so old that a claim must not be made before another one. */
  isLate(): boolean;
}

export interface LeaseOptions {
  readonly store: Pick<Queue, 'heartbeat'>;
  readonly clock: Clock;
  readonly logger: Pick<Logger, 'warn'>;
  readonly workerId: string;
  readonly settings: Pick<DispatchSettings, 'leaseMs' | 'heartbeatMs'>;
  /** How many runs are driven here. */
  readonly liveRuns: () => number;
  /** Hears of each run of this worker that somebody asked to cancel, with each beat again. */
  readonly onCancel: (run: { readonly tenantId: TenantId; readonly runId: RunId; readonly reason: string }) => void;
}

/** A difference of so many runs is none. */
const evenRuns = 4;

/** The sign of life of a worker: one row in the store that every lease of its runs hangs on. */
export function createLease({ store, clock, logger, workerId, settings, liveRuns, onCancel }: LeaseOptions): Lease {
  let lastBeat = { monotonic: Number.NEGATIVE_INFINITY, wall: Number.NEGATIVE_INFINITY };
  let leastElsewhere: number | null = null;
  /** The store was asked in vain since the last sign of life: its outage is told by itself. */
  let failed = false;
  // By both clocks: one stands still while a machine sleeps, the other may be set.
  const sinceBeat = () => Math.max(clock.monotonic() - lastBeat.monotonic, clock.now() - lastBeat.wall);
  async function renew(): Promise<void> {
    // The lease counts from before the request, however long its answer takes.
    const sentAt = { monotonic: clock.monotonic(), wall: clock.now() };
    const wasAway = failed;
    failed = true;
    const heard = await store.heartbeat(workerId, settings.leaseMs, liveRuns());
    failed = false;
    const silentMs = sinceBeat();
    lastBeat = sentAt;
    if (!wasAway && Number.isFinite(silentMs) && silentMs >= settings.leaseMs) {
      logger.warn(
        { silentMs: Math.round(silentMs), leaseMs: settings.leaseMs, runs: liveRuns() },
        'this process gave no sign of life for longer than its lease: others may have taken its runs over',
      );
    }
    leastElsewhere = heard.leastElsewhere;
    for (const run of heard.cancelRequested) onCancel(run);
  }

  return {
    async beat() {
      try {
        await renew();
      } catch (error) {
        if (!(error instanceof NexusError) || !error.retryable) throw error;
        await renew();
      }
    },
    stands: () => sinceBeat() < settings.leaseMs,
    isBusier: () => leastElsewhere !== null && liveRuns() > 2 * leastElsewhere + evenRuns,
    isLate: () => sinceBeat() > settings.heartbeatMs * 2,
  };
}
