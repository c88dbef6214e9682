import type { BudgetRefusal } from '@nexus-agent/protocol';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { type LedgerOperation, type LedgerRow, ledgerRules, type ReservationRow } from '#ledger';
import { refusalError, refusalThrown } from './refusal.ts';

const scope = { kind: 'tenant', id: 'acme' } as const;
const refusal: BudgetRefusal = {
  scope,
  unit: 'tokens',
  window: 'total',
  limit: 100,
  asked: 50,
  available: 0,
  reserved: 60,
  waitedMs: 1_500,
};

it('tells what others hold from what is spent: one may be tried again [verifies budget.admission.contended]', () => {
  const held = refusalError(refusal, 'model');
  expect(held).toMatchObject({ code: 'budget_contended', retryable: true, details: { reserved: 60, waitedMs: 1_500 } });
  expect(held.message).toMatch(/other calls hold 60 of 100 at the moment and 0 are free, also after it waited 1\.5 s; try again shortly/);
  expect(held.message).not.toMatch(/0 left/);
  expect(refusalThrown(refusal, 'model')).toMatchObject({ code: 'budget_contended', retryable: true, retryAfterMs: 1_000 });
  const gone = { ...refusal, asked: 61 };
  expect(refusalError(gone, 'tool')).toMatchObject({ code: 'budget_exceeded', retryable: false });
  expect(refusalError(gone, 'tool').message).toContain('has 0 left');
  expect(refusalThrown(gone, 'tool').retryAfterMs).toBeUndefined();
});

it('agrees with the ledger on what is held, also where more was spent than there was', () => {
  const amount = fc.integer({ min: 1, max: 60 });
  fc.assert(
    fc.property(fc.array(amount, { maxLength: 4 }), fc.nat(200), amount, (held, spent, asked) => {
      const rows = new Map<string, LedgerRow>();
      const reservations = new Map<string, ReservationRow>();
      const book = (operations: readonly LedgerOperation[]) => {
        const change = ledgerRules({ rows, reservations }, operations, 0);
        for (const [key, row] of change.rows) rows.set(key, row);
        for (const [id, row] of change.reservations) reservations.set(id, row);
        return change.outcomes[0];
      };
      const reserve = (reservationId: string, tokens: number) =>
        book([{ type: 'reserve', reservationId, runId: null, scopes: [scope], fixed: { tokens }, expiresAt: 0 }]);
      book([{ type: 'limit', scope, unit: 'tokens', window: 'total', limit: 100 }]);
      reserve('spends', 1);
      held.forEach((tokens, index) => void reserve(`held ${index}`, tokens));
      // Its provider may have sent more than it was told to: that is booked.
      book([{ type: 'settle', reservationId: 'spends', actual: { tokens: spent } }]);
      const outcome = reserve('asks', asked);
      if (outcome?.type !== 'refused') return;
      expect(refusalError(outcome.refusal, 'model').code === 'budget_contended').toBe(outcome.held === true);
      expect(outcome.refusal.available + (outcome.refusal.reserved ?? 0)).toBe(Math.max(0, 100 - spent));
    }),
  );
});
