import type { RunId, TenantId } from '@nexus-agent/protocol';
import { type Clock, NexusError } from '#core';
import type { Queue } from '#storage';
import type { Logger } from '#telemetry';
import type { DispatchSettings } from './port.ts';

export interface Lease {
  /**
   * Renews the lease on all runs of the worker. Asks twice, as what is not heard of for a while may be one connection and not the
   * store; who asks at nearly the same time hears of the same. Rejects when the store does not answer; the lease then runs on as it was.
   */
  beat(): Promise<void>;
  /** Whether nobody else may have taken this worker for dead yet. */
  stands(): boolean;
  /** Whether nobody may have, neither now nor at any time since then, by the monotonic clock. */
  stoodSince(monotonicMs: number): boolean;
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
  /** It gave no sign of life for longer than its lease: others may have taken any of its runs over. Called once it has given one again. */
  readonly onGap: () => void;
  /** How many runs are driven here. */
  readonly liveRuns: () => number;
  /** Hears of each run of this worker that somebody asked to cancel, with each beat again. */
  readonly onCancel: (run: { readonly tenantId: TenantId; readonly runId: RunId; readonly reason: string }) => void;
}

/** By both clocks. */
interface Moment {
  readonly monotonic: number;
  readonly wall: number;
}

/** A difference of so many runs is none. */
const evenRuns = 4;

/** The sign of life of a worker: one row in the store that every lease of its runs hangs on. */
export function createLease({ store, clock, logger, workerId, settings, liveRuns, onCancel, onGap }: LeaseOptions): Lease {
  let lastBeat: Moment = { monotonic: Number.NEGATIVE_INFINITY, wall: Number.NEGATIVE_INFINITY };
  /** Since then it has given a sign of life in time, again and again. */
  let unbrokenSince = Number.POSITIVE_INFINITY;
  let beating: { readonly sentAt: Moment; readonly heard: Promise<void> } | null = null;
  let leastElsewhere: number | null = null;
  /** The store was asked in vain since the last sign of life: its outage is told by itself. */
  let failed = false;
  // By both clocks: one stands still while a machine sleeps, the other may be set.
  const since = ({ monotonic, wall }: Moment) => Math.max(clock.monotonic() - monotonic, clock.now() - wall);
  const sinceBeat = () => since(lastBeat);
  async function renew(): Promise<void> {
    // The lease counts from before the request, however long its answer takes.
    const sentAt = { monotonic: clock.monotonic(), wall: clock.now() };
    const wasAway = failed;
    failed = true;
    const heard = await store.heartbeat(workerId, settings.leaseMs, liveRuns());
    failed = false;
    const silentMs = sinceBeat();
    const hasBeaten = Number.isFinite(lastBeat.monotonic);
    lastBeat = sentAt;
    // Up to the answer: when in between the store heard of it is not known.
    const isGap = silentMs >= settings.leaseMs;
    if (isGap) unbrokenSince = clock.monotonic();
    if (isGap && hasBeaten) onGap();
    if (!wasAway && hasBeaten && isGap) {
      logger.warn(
        { silentMs: Math.round(silentMs), leaseMs: settings.leaseMs, runs: liveRuns() },
        'this process gave no sign of life for longer than its lease: others may have taken its runs over',
      );
    }
    leastElsewhere = heard.leastElsewhere;
    for (const run of heard.cancelRequested) onCancel(run);
  }

  async function renewTwice(): Promise<void> {
    try {
      await renew();
    } catch (error) {
      if (!(error instanceof NexusError) || !error.retryable) throw error;
      await renew();
    }
  }

  const stands = () => sinceBeat() < settings.leaseMs;
  return {
    beat() {
      if (beating === null || since(beating.sentAt) >= settings.heartbeatMs) {
        const beat = { sentAt: { monotonic: clock.monotonic(), wall: clock.now() }, heard: renewTwice() };
        const over = () => {
          if (beating === beat) beating = null;
        };
        beat.heard.then(over, over);
        beating = beat;
      }
      return beating.heard;
    },
    stands,
    stoodSince: (monotonicMs) => stands() && monotonicMs >= unbrokenSince,
    isBusier: () => leastElsewhere !== null && liveRuns() > 2 * leastElsewhere + evenRuns,
    isLate: () => sinceBeat() > settings.heartbeatMs * 2,
  };
}
