import type { ClaimedRun, Queue } from '#storage';
import type { Logger } from '#telemetry';
import type { Lease } from './lease.ts';
import type { Places } from './places.ts';
import type { RunClaim } from './port.ts';

/** Most runs that one claim takes. */
const maxClaim = 100;

export interface Claims {
  /** Looks into the queue soon; asked several times at once, it looks once more afterwards. */
  claimSoon(): void;
  /** There is room for another run: looks into the queue if there was none when it was to be looked into. */
  madeRoom(): void;
  /** Claims nothing from now on, and resolves when what is being claimed has been taken up. */
  stop(): Promise<void>;
}

export interface ClaimsOptions {
  readonly store: Pick<Queue, 'claimRuns' | 'ownedRuns'>;
  readonly lease: Lease;
  readonly workerId: string;
  readonly logger: Logger;
  readonly places: Places;
  /** Nothing is to be driven here beside what is. */
  readonly isClosed: () => boolean;
  /** How long work is left to processes that drive far fewer runs. */
  readonly restMs: number;
  /** Takes a claimed run up. Never rejects. */
  readonly take: (row: ClaimedRun) => Promise<void>;
  /** A run of this worker that it may not have heard of, or may drive at an earlier epoch. */
  readonly found: (claim: RunClaim) => void;
}

/** Claims what nobody drives: queued, due, or owned by a worker whose lease ended. */
export function createClaims({ store, lease, workerId, logger, places, isClosed, restMs, take, found }: ClaimsOptions): Claims {
  let again = false;
  /** The queue was to be looked into, and nothing could be taken. */
  let full = false;
  let stopped = false;
  /** A claim failed: it may have happened all the same, and its runs belong to this worker unheard of. */
  let inDoubt = false;
  let claiming: Promise<void> | null = null;

  async function loop(): Promise<void> {
    while (again && !stopped) {
      again = false;
      const limit = isClosed() ? 0 : Math.min(places.free, maxClaim);
      full = limit <= 0;
      if (full) return;
      let leave = places.hold(limit);
      try {
        // A worker that was paused must not find its own lease ended and its own runs lost.
        if (lease.isLate()) await lease.beat();
        const rows = await claim(limit);
        const taking = places.hold(rows.length);
        leave();
        leave = taking;
        await Promise.all(rows.map(take));
        if (rows.length === limit) again = true;
      } catch (error) {
        logger.warn({ err: error }, 'the queue could not be read; trying again');
        return;
      } finally {
        leave();
      }
    }
  }

  async function claim(limit: number): Promise<readonly ClaimedRun[]> {
    if (inDoubt) for (const owned of await store.ownedRuns(workerId)) found(owned);
    inDoubt = true;
    const rows = await store.claimRuns(workerId, limit, lease.isBusier() ? restMs : 0);
    inDoubt = false;
    return rows;
  }

  function claimSoon(): void {
    if (stopped) return;
    again = true;
    // In a turn of its own, so that who asks while it begins finds it under way.
    claiming ??= Promise.resolve()
      .then(loop)
      .finally(() => {
        claiming = null;
        if (again) claimSoon(); // asked after the loop had ended, and before this
      });
  }

  return {
    claimSoon,
    madeRoom() {
      if (full) claimSoon();
    },
    async stop() {
      stopped = true;
      await claiming;
    },
  };
}
