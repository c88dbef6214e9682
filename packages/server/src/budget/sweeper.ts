import type { TenantId } from '@nexus-agent/protocol';
import { type Cancel, type Clock, NexusError, type Timers } from '#core';
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
  /**
   * Closes everything that has expired by now; returns how many. What cannot be closed is logged and holds up no other. Throws
   * when the store cannot be reached.
   */
  sweep(): Promise<number>;
}

const pageSize = 500;
const commitSize = 100;

/** Charges reservations whose holder is gone: the work that they pay for may have been done. Many are closed by one commit. */
export function createReservationSweeper({ store, clock, timers, logger, intervalMs }: SweeperDependencies): ReservationSweeper {
  let cancel: Cancel | undefined;
  let running: Promise<void> | undefined;

  /** Together, or one at a time when that fails, so that a broken one fails alone. */
  async function close(tenantId: TenantId, ids: readonly string[]): Promise<number> {
    const ledger = ids.map((reservationId): LedgerOperation => ({ type: 'charge', reservationId }));
    try {
      const result = await store.commit({ tenantId, ledger });
      return result.type === 'committed' ? result.outcomes.filter((outcome) => outcome.type === 'settled').length : 0;
    } catch (error) {
      if (error instanceof NexusError && error.code === 'storage_unavailable') throw error;
      if (ids.length === 1) {
        logger.error({ tenantId, reservationId: ids[0], err: error }, 'an expired reservation cannot be closed');
        return 0;
      }
    }
    let closed = 0;
    for (const id of ids) closed += await close(tenantId, [id]);
    return closed;
  }

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
          closedNow += await close(tenantId, ids.slice(start, start + commitSize));
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
