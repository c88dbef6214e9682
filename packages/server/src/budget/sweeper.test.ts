import { TenantId } from '@nexus-agent/protocol';
import { expect, it } from 'vitest';
import { createManualTime } from '#core/testing';
import type { ReservationRow } from '#ledger';
import { createReservationSweeper } from './index.ts';

const tenantId = TenantId.parse('acme');
const reservation = { reservationId: 'a' } as ReservationRow; // the sweeper reads the id alone

it('sweeps at each interval until it is stopped, and survives a sweep that fails', async () => {
  const { clock, timers, advance } = createManualTime();
  let sweeps = 0;
  const logged: string[] = [];
  const sweeper = createReservationSweeper({
    clock,
    timers,
    intervalMs: 1000,
    logger: { info: (_, message) => logged.push(message), error: (_, message) => logged.push(message) },
    store: {
      async listExpiredReservations() {
        sweeps += 1;
        if (sweeps === 1) throw new Error('no database');
        return sweeps === 2 ? [{ tenantId, reservation }] : [];
      },
      async commit({ ledger }) {
        expect(ledger).toEqual([{ type: 'charge', reservationId: 'a' }]);
        return { type: 'committed', at: 0, events: [], outcomes: [{ type: 'settled', amounts: {}, outcome: 'charged_maximum' }] };
      },
    },
  });
  sweeper.start();
  sweeper.start();
  await advance(999);
  expect(sweeps).toBe(0);
  await advance(2001);
  expect(sweeps).toBe(3);
  expect(logged).toEqual(['sweep of expired reservations failed; it is tried again', 'expired reservations closed']);
  await sweeper.stop();
  await advance(5000);
  expect(sweeps).toBe(3);
});
