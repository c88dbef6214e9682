import { TenantId } from '@nexus-agent/protocol';
import { expect, it } from 'vitest';
import { NexusError } from '#core';
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

it('goes on until nothing has expired, a page at a time', async () => {
  const open = new Set(Array.from({ length: 1_203 }, (_, index) => `r${index}`));
  const sweeper = createReservationSweeper({
    ...createManualTime(),
    intervalMs: 1000,
    logger: { info: () => undefined, error: () => undefined },
    store: {
      listExpiredReservations: async (_now, limit) =>
        [...open].slice(0, limit).map((reservationId) => ({ tenantId, reservation: { reservationId } as ReservationRow })), // as above
      async commit({ ledger = [] }) {
        for (const operation of ledger) if ('reservationId' in operation) open.delete(operation.reservationId);
        const outcomes = ledger.map(() => ({ type: 'settled', amounts: {}, outcome: 'charged_maximum' }) as const);
        return { type: 'committed', at: 0, events: [], outcomes };
      },
    },
  });
  expect(await sweeper.sweep()).toBe(1_203);
  expect(open.size).toBe(0);
});

it('closes what can be closed beside a reservation that cannot, and says which', async () => {
  const open = new Map(['a', 'b', 'broken', 'c', 'd'].map((id) => [id, id < 'c' ? tenantId : TenantId.parse('other')]));
  const logged: object[] = [];
  let away = false;
  const sweeper = createReservationSweeper({
    ...createManualTime(),
    intervalMs: 1000,
    logger: { info: () => undefined, error: (fields) => logged.push(fields) },
    store: {
      listExpiredReservations: async () =>
        [...open].map(([reservationId, owner]) => ({ tenantId: owner, reservation: { reservationId } as ReservationRow })), // as above
      async commit({ ledger = [] }) {
        if (away) throw new NexusError('storage_unavailable', 'the database is away');
        const ids = ledger.flatMap((operation) => ('reservationId' in operation ? [operation.reservationId] : []));
        if (ids.includes('broken')) throw new NexusError('internal', 'this row cannot be read');
        for (const id of ids) open.delete(id);
        const outcomes = ids.map(() => ({ type: 'settled', amounts: {}, outcome: 'charged_maximum' }) as const);
        return { type: 'committed', at: 0, events: [], outcomes };
      },
    },
  });
  away = true;
  await expect(sweeper.sweep()).rejects.toMatchObject({ code: 'storage_unavailable' });
  expect(logged).toEqual([]);
  away = false;
  expect(await sweeper.sweep()).toBe(4);
  expect([...open.keys()]).toEqual(['broken']);
  expect(logged).toEqual([{ tenantId, reservationId: 'broken', err: expect.any(NexusError) }]);
});
