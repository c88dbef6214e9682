import type { TenantId } from '@nexus-agent/protocol';
import type { Cancel, Clock, Timers } from '#core';
import type { LedgerOperation } from '#ledger';
import type { CommitStore, LedgerStore } from '#storage';

interface SweeperDependencies {
  readonly store: CommitStore & Pick<LedgerStore, 'listExpiredReservations'>;
  readonly clock: Clock;
  readonly timers: Pick<Timers, 'every'>;
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

/** Charges reservations whose holder is gone: the work that they pay for may have been done. Many are closed by one commit. */
export function createReservationSweeper({ store, clock, timers, logger, intervalMs }: SweeperDependencies): ReservationSweeper {
  let cancel: Cancel | undefined;
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
        for (let start = 0; start < ids.length; start += commitSize) {
          const ledger = ids.slice(start, start + commitSize).map((reservationId): LedgerOperation => ({ type: 'charge', reservationId }));
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
      cancel ??= timers.every(intervalMs, () => {
        running ??= tick().finally(() => {
          running = undefined;
        });
      });
    },
    async stop() {
      cancel?.();
      cancel = undefined;
      await running;
    },
  };
}
