import type { BudgetScope, TenantId } from '@nexus-agent/protocol';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { createReservationSweeper, limitOperations } from '../../packages/server/src/budget/index.ts';
import { systemTimers } from '../../packages/server/src/core/index.ts';
import { createManualClock } from '../../packages/server/src/core/testing/index.ts';
import type { LedgerOperation } from '../../packages/server/src/ledger/index.ts';
import type { Store } from '../../packages/server/src/storage/index.ts';
import { all, auditLedger } from '../support/ledger-invariants.ts';
import { newTenant, type StoreSubject } from '../support/stores.ts';
import { verifies } from '../support/verifies.ts';

const logger = { info: () => {}, error: () => {} };

/** Budgets in one process: races, interleavings and the sweeper. */
export function describeLedgerStore(subject: StoreSubject, open: () => Promise<Store>): void {
  let store: Store;
  beforeAll(async () => {
    store = await open();
  });
  const tenantScope = (tenantId: TenantId): BudgetScope => ({ kind: 'tenant', id: tenantId });

  describe('ledger', () => {
    it(`admits exactly 137 of 1,000 concurrent reservations ${verifies('budget.race.exact')}`, async () => {
      const tenantId = newTenant();
      const scopes: BudgetScope[] = [{ kind: 'session', id: 's' }, tenantScope(tenantId)];
      await store.commit({ tenantId, ledger: scopes.flatMap((scope) => limitOperations(scope, { tokens: 137 * 7 + 6 })) });
      const stores = [store, await open(), await open()];
      const results = await Promise.all(
        Array.from({ length: 1000 }, (_, index) =>
          (stores[index % stores.length] ?? store).commit({
            tenantId,
            ledger: [
              {
                type: 'reserve',
                reservationId: `r${index}`,
                runId: null,
                scopes,
                fixed: { tokens: 7 },
                expiresAt: Date.now() + 60_000,
              },
            ],
          }),
        ),
      );
      expect(results.filter((result) => result.type === 'committed')).toHaveLength(137);
      const refused = results.filter((result) => result.type === 'refused');
      expect(refused).toHaveLength(863);
      expect(refused.at(-1)?.refusal).toEqual({
        scope: scopes[0],
        unit: 'tokens',
        window: 'total',
        limit: 137 * 7 + 6,
        asked: 7,
        available: 6,
        reserved: 137 * 7,
      });
      expect(await store.listReservations(tenantId, {})).toHaveLength(137);
      expect(await auditLedger(store, tenantId)).toEqual([]);
    });

    it(`reserves an id once and settles it once, whoever repeats it ${verifies('budget.idempotent')}`, async () => {
      const tenantId = newTenant();
      const scope = tenantScope(tenantId);
      await store.commit({ tenantId, ledger: limitOperations(scope, { tokens: 100 }) });
      const stores = [store, await open()];
      const onAll = (operation: LedgerOperation) =>
        Promise.all(Array.from({ length: 10 }, (_, index) => (stores[index % 2] ?? store).commit({ tenantId, ledger: [operation] })));
      const reserved = await onAll({
        type: 'reserve',
        reservationId: 'same',
        runId: null,
        scopes: [scope],
        fixed: { toolCalls: 1 },
        tokens: { min: 1, max: 60, costMicroUsdPerMillion: 1_500_000 },
        expiresAt: Date.now() + 60_000,
      });
      const outcomes = reserved.map((result) => (result.type === 'committed' ? result.outcomes[0] : undefined));
      expect(outcomes.filter((outcome) => outcome?.type === 'reserved' && !outcome.duplicate)).toHaveLength(1);
      for (const outcome of outcomes) {
        expect(outcome).toMatchObject({ type: 'reserved', maxTokens: 60, amounts: { toolCalls: 1, tokens: 60, costMicroUsd: 90 } });
      }
      const settled = await onAll({ type: 'settle', reservationId: 'same', actual: { tokens: 12 } });
      const settlements = settled.map((result) => (result.type === 'committed' ? result.outcomes[0]?.type : undefined));
      expect(settlements.filter((type) => type === 'settled')).toHaveLength(1);
      expect(settlements.filter((type) => type === 'ignored')).toHaveLength(9);
      expect(await auditLedger(store, tenantId)).toEqual([]);
      const [row] = (await store.listBudgets(tenantId, { scopes: [scope] }, Date.now(), { limit: 10 })).items.filter(
        ({ unit }) => unit === 'tokens',
      );
      expect(row).toMatchObject({ limit: 100, spent: 12, reserved: 0 });
    });

    it(`charges everything that has expired ${verifies('budget.expiry.charged')}`, async () => {
      const clock = createManualClock(Date.now());
      const timed = await subject.open(clock);
      const tenantId = newTenant();
      const scope = tenantScope(tenantId);
      await timed.commit({ tenantId, ledger: limitOperations(scope, { tokens: 100_000 }) });
      const reserve = (index: number): LedgerOperation => ({
        type: 'reserve',
        reservationId: `r${index}`,
        runId: null,
        scopes: [scope],
        fixed: { tokens: 3 },
        expiresAt: clock.now() + 1000,
      });
      await timed.commit({ tenantId, ledger: Array.from({ length: 1201 }, (_, index) => reserve(index)) });
      const sweeper = createReservationSweeper({ store: timed, clock, timers: systemTimers, logger, intervalMs: 1000 });
      await sweeper.sweep(); // what other tests on this database left open
      expect(await sweeper.sweep()).toBe(0);
      clock.advance(1001);
      expect(await sweeper.sweep()).toBe(1201);
      expect(await timed.listReservations(tenantId, { state: 'open' })).toEqual([]);
      expect(await timed.listReservations(tenantId, { state: 'charged' })).toHaveLength(1201);
      expect(await auditLedger(timed, tenantId, clock.now())).toEqual([]);
      await timed.close();
    });

    it('lists what expired first foremost, whichever tenant it belongs to', async () => {
      const [one, two] = [newTenant(), newTenant()];
      const reserve = (tenantId: TenantId, reservationId: string, expiresAt: number) =>
        store.commit({
          tenantId,
          ledger: [{ type: 'reserve', reservationId, runId: null, scopes: [tenantScope(tenantId)], fixed: { tokens: 1 }, expiresAt }],
        });
      // Earlier than anything that other tests on this database leave open.
      await reserve(one, 'third', -1);
      await reserve(two, 'second', -2);
      await reserve(one, 'first', -3);
      const list = async (nowMs: number, limit: number) =>
        (await store.listExpiredReservations(nowMs, limit)).map(({ tenantId, reservation }) => [tenantId, reservation.reservationId]);
      expect(await list(0, 2)).toEqual([
        [one, 'first'],
        [two, 'second'],
      ]);
      expect(await list(-1, 3)).toHaveLength(2);
      for (const [tenantId, reservationId] of [
        [one, 'first'],
        [one, 'third'],
        [two, 'second'],
      ] as const) {
        await store.commit({ tenantId, ledger: [{ type: 'release', reservationId }] });
      }
      expect(await list(0, 3)).toEqual([]);
    });

    it(`starts a day anew at midnight UTC and carries over what is reserved ${verifies('budget.window.rolls')}`, async () => {
      const clock = createManualClock(Date.UTC(2026, 10, 30, 23, 59));
      const timed = await subject.open(clock);
      const tenantId = newTenant();
      const scope = tenantScope(tenantId);
      for (const window of ['day', 'month', 'total'] as const) {
        await timed.commit({ tenantId, ledger: [{ type: 'limit', scope, unit: 'toolCalls', window, limit: window === 'day' ? 3 : 100 }] });
      }
      const reserve = (reservationId: string) =>
        timed.commit({
          tenantId,
          ledger: [{ type: 'reserve', reservationId, runId: null, scopes: [scope], fixed: { toolCalls: 1 }, expiresAt: 0 }],
        });
      const balances = async () =>
        Object.fromEntries(
          (await timed.listBudgets(tenantId, {}, clock.now(), { limit: 10 })).items.map((row) => [
            row.window,
            [row.period, row.spent, row.reserved],
          ]),
        );
      for (const id of ['a', 'b', 'c']) await reserve(id);
      expect(await reserve('d')).toMatchObject({ type: 'refused', refusal: { window: 'day', available: 0 } });
      await timed.commit({ tenantId, ledger: [{ type: 'settle', reservationId: 'a', actual: { toolCalls: 1 } }] });
      clock.advance(120_000);
      expect(await balances()).toEqual({ day: ['2026-12-01', 0, 2], month: ['2026-12', 0, 2], total: ['', 1, 2] });
      expect((await reserve('d')).type).toBe('committed');
      expect(await reserve('e')).toMatchObject({ type: 'refused', refusal: { window: 'day' } });
      await timed.commit({ tenantId, ledger: [{ type: 'settle', reservationId: 'b', actual: { toolCalls: 1 } }] });
      expect(await balances()).toEqual({ day: ['2026-12-01', 1, 2], month: ['2026-12', 1, 2], total: ['', 2, 2] });
      expect(await auditLedger(timed, tenantId, clock.now())).toEqual([]);
      await timed.close();
    });

    it(`keeps all invariants under random interleavings ${verifies('budget.invariants')}`, async () => {
      const other = await open();
      await fc.assert(
        fc.asyncProperty(fc.array(operationArbitrary, { minLength: 20, maxLength: 120 }), async (steps) => {
          const tenantId = newTenant();
          const scopes: BudgetScope[] = [{ kind: 'run', id: 'r' }, { kind: 'user', id: 'u' }, tenantScope(tenantId)];
          await store.commit({ tenantId, ledger: scopes.flatMap((scope, index) => limitOperations(scope, { tokens: 400 + 100 * index })) });
          await Promise.all(
            steps.map((step, index) => (index % 3 === 0 ? other : store).commit({ tenantId, ledger: [operationOf(step, scopes)] })),
          );
          expect(await auditLedger(store, tenantId)).toEqual([]);
          const open = await store.listReservations(tenantId, { state: 'open' });
          await store.commit({ tenantId, ledger: open.map(({ reservationId }) => ({ type: 'charge', reservationId })) });
          expect(await auditLedger(store, tenantId)).toEqual([]);
          expect((await all((page) => store.listBudgets(tenantId, {}, Date.now(), page))).every((row) => row.reserved === 0)).toBe(true);
        }),
        { numRuns: 12, endOnFailure: true },
      );
    });
  });
}

/** Few ids, so that operations meet. */
const operationArbitrary = fc.record({
  type: fc.constantFrom('reserve', 'reserve', 'reserve', 'settle', 'settle', 'release', 'charge'),
  id: fc.integer({ min: 0, max: 15 }),
  amount: fc.integer({ min: 0, max: 100 }),
  depth: fc.integer({ min: 0, max: 2 }),
});

function operationOf(
  step: typeof operationArbitrary extends fc.Arbitrary<infer T> ? T : never,
  scopes: readonly BudgetScope[],
): LedgerOperation {
  const reservationId = `r${step.id}`;
  switch (step.type) {
    case 'settle':
      // Never above what such an id may have reserved: an overrun is the caller's breach and flagged elsewhere.
      return { type: 'settle', reservationId, actual: { tokens: Math.floor(step.amount / 100) } };
    case 'release':
    case 'charge':
      return { type: step.type, reservationId };
    default:
      return {
        type: 'reserve',
        reservationId,
        runId: null,
        scopes: scopes.slice(step.depth),
        fixed: { tokens: 1 + step.amount },
        expiresAt: 0,
      };
  }
}
