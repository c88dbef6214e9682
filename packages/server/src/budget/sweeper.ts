import type { TenantId } from '@nexus-agent/protocol';
import type { Clock } from '#core';
import type { LedgerOperation, Store } from '#storage';

interface SweeperDependencies {
  readonly store: Pick<Store, 'commit' | 'listExpiredReservations'>;
  readonly clock: Clock;
  readonly logger: {
    info(fields: object, message: string): void;
    error(fields: object, message: string): void;
  };
  readonly intervalMs: number;
}

interface ReservationSweeper {
  start(): void;
  /** Ends the timer and waits for a sweep that is under way. */
  stop(): Promise<void>;
  /** Closes everything that has expired by now; returns how many. Throws what the store throws. */
  sweep(): Promise<number>;
}

const pageSize = 500;
const commitSize = 100;

/**
 * Closes reservations whose holder is gone: charged in full when the work may have started, else released. Many are
 * closed by one commit, sorted by id, so that a sweep takes locks in the same order as every other commit.
 */
export function createReservationSweeper({ store, clock, logger, intervalMs }: SweeperDependencies): ReservationSweeper {
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<void> | undefined;

  async function sweep(): Promise<number> {
    let closed = 0;
    for (;;) {
      const expired = await store.listExpiredReservations(clock.now(), pageSize);
      const byTenant = new Map<TenantId, string[]>();
      for (const { tenantId, reservation } of expired) {
        const ids = byTenant.get(tenantId);
        if (ids) ids.push(reservation.reservationId);
        else byTenant.set(tenantId, [reservation.reservationId]);
      }
      let closedNow = 0;
      for (const [tenantId, ids] of byTenant) {
        ids.sort();
        for (let start = 0; start < ids.length; start += commitSize) {
          const ledger = ids.slice(start, start + commitSize).map((reservationId): LedgerOperation => ({ type: 'expire', reservationId }));
          const result = await store.commit({ tenantId, ledger });
          if (result.type === 'committed') closedNow += result.outcomes.filter((outcome) => outcome.type === 'settled').length;
        }
      }
      closed += closedNow;
      // A full page in which nothing could be closed would come back for ever.
      if (expired.length < pageSize || closedNow === 0) return closed;
    }
  }

  async function tick(): Promise<void> {
    try {
      const closed = await sweep();
      if (closed > 0) logger.info({ closed }, 'expired reservations closed');
    } catch (error) {
      logger.error({ err: error }, 'sweep of expired reservations failed; it is tried again');
    }
  }

  return {
    sweep,
    start() {
      timer ??= setInterval(() => {
        running ??= tick().finally(() => {
          running = undefined;
        });
      }, intervalMs).unref();
    },
    async stop() {
      clearInterval(timer);
      timer = undefined;
      await running;
    },
  };
}
