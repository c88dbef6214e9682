import type { BudgetScope } from '@nexus-agent/protocol';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { limitOperations } from '#budget';
import { tokensForCost, withRanges } from './amounts.ts';
import type { LedgerEntry, LedgerOperation, LedgerOutcome, LedgerRow, ReservationRow } from './contract.ts';
import { rowKey, scopeKey, scopeKeyOfRow, scopeOfKey } from './keys.ts';
import { ledgerRules } from './rules.ts';

const run: BudgetScope = { kind: 'run', id: 'r' };
const session: BudgetScope = { kind: 'session', id: 's' };
const tenant: BudgetScope = { kind: 'tenant', id: 't' };
const start = Date.UTC(2026, 10, 22, 12);

/** A ledger in memory that applies changes as the store does. */
function createLedger() {
  const rows = new Map<string, LedgerRow>();
  const reservations = new Map<string, ReservationRow>();
  const entries: LedgerEntry[] = [];
  return {
    rows,
    reservations,
    entries,
    apply(operations: readonly LedgerOperation[], nowMs = start): readonly LedgerOutcome[] {
      const change = ledgerRules({ rows, reservations }, operations, nowMs);
      for (const [key, row] of change.rows) rows.set(key, row);
      for (const [id, reservation] of change.reservations) reservations.set(id, reservation);
      entries.push(...change.entries);
      return change.outcomes;
    },
    one(operation: LedgerOperation, nowMs = start): LedgerOutcome {
      const [outcome] = this.apply([operation], nowMs);
      if (outcome === undefined) throw new Error('no outcome');
      return outcome;
    },
    balance(scope: BudgetScope, unit: 'tokens' | 'costMicroUsd' | 'toolCalls' | 'wallMs', window: 'total' | 'day' = 'total') {
      const row = rows.get(rowKey(scope, unit, window));
      return row && [row.spent, row.reserved];
    },
  };
}

type Reserve = Extract<LedgerOperation, { type: 'reserve' }>;
function reserve(reservationId: string, fields: Partial<Reserve> = {}): Reserve {
  return {
    type: 'reserve',
    reservationId,
    runId: 'r',
    scopes: [run, session, tenant],
    fixed: {},
    expiresAt: start + 1000,
    ...fields,
  };
}

describe('reserve', () => {
  it('takes from every scope or from none, and names the first that cannot pay', () => {
    const ledger = createLedger();
    ledger.apply([
      ...limitOperations(run, { tokens: 100 }),
      ...limitOperations(session, { tokens: 30 }),
      ...limitOperations(tenant, { tokens: 20 }),
    ]);
    expect(ledger.one(reserve('a', { fixed: { tokens: 31 } }))).toEqual({
      type: 'refused',
      refusal: { scope: session, unit: 'tokens', window: 'total', limit: 30, asked: 31, available: 30 },
    });
    expect([...ledger.rows.values()].every((row) => row.reserved === 0)).toBe(true);
    expect(ledger.reservations.size).toBe(0);
    expect(ledger.one(reserve('b', { fixed: { tokens: 20 } })).type).toBe('reserved');
    expect(ledger.one(reserve('c', { fixed: { tokens: 1 } }))).toMatchObject({ refusal: { scope: tenant, asked: 1, available: 0 } });
  });

  it('discards what the same call did before the refusal', () => {
    const ledger = createLedger();
    ledger.apply(limitOperations(tenant, { tokens: 10 }));
    const outcomes = ledger.apply([
      ...limitOperations(session, { tokens: 5 }),
      reserve('a', { fixed: { tokens: 5 } }),
      reserve('b', { fixed: { tokens: 6 } }),
    ]);
    expect(outcomes).toHaveLength(1);
    expect(outcomes[0]?.type).toBe('refused');
    expect(ledger.balance(tenant, 'tokens')).toEqual([0, 0]);
    expect(ledger.balance(session, 'tokens')).toBeUndefined();
  });

  it('grants the largest token count that tokens and money of every scope afford', () => {
    const ledger = createLedger();
    ledger.apply([...limitOperations(run, { tokens: 1000 }), ...limitOperations(tenant, { costMicroUsd: 1000 })]);
    const tokens = { min: 10, max: 5000, costMicroUsdPerMillion: 3_000_000 };
    expect(ledger.one(reserve('a', { fixed: { tokens: 50, costMicroUsd: 100 }, tokens }))).toMatchObject({
      maxTokens: 300,
      amounts: { tokens: 350, costMicroUsd: 1000 },
    });
    expect(ledger.one(reserve('b', { tokens }))).toMatchObject({
      type: 'refused',
      refusal: { scope: tenant, unit: 'costMicroUsd', asked: 30, available: 0 },
    });
    expect(ledger.one(reserve('c', { tokens: { ...tokens, costMicroUsdPerMillion: 0 } }))).toMatchObject({ maxTokens: 650 });
  });

  it('grants a deadline that every scope affords, and the whole range where nothing limits it', () => {
    const ledger = createLedger();
    ledger.apply(limitOperations(session, { wallMs: 700 }));
    expect(ledger.one(reserve('a', { wallMs: { min: 100, max: 5000 } }))).toMatchObject({ wallMs: 700 });
    expect(ledger.one(reserve('b', { wallMs: { min: 100, max: 5000 } }))).toMatchObject({
      type: 'refused',
      refusal: { unit: 'wallMs', asked: 100 },
    });
    expect(ledger.one(reserve('c', { scopes: [tenant], wallMs: { min: 1, max: 9 } }))).toMatchObject({ wallMs: 9, maxTokens: null });
  });

  it('lets work that needs nothing of a unit go on where that unit is overdrawn', () => {
    const ledger = createLedger();
    ledger.apply(limitOperations(run, { tokens: 100, toolCalls: 5 }));
    ledger.one(reserve('a', { fixed: { tokens: 90 } }));
    ledger.apply([{ type: 'limit', scope: run, unit: 'tokens', window: 'total', limit: 10 }]);
    expect(ledger.one(reserve('b', { fixed: { toolCalls: 1 } })).type).toBe('reserved');
    expect(ledger.one(reserve('c', { fixed: { tokens: 1 } }))).toMatchObject({ refusal: { limit: 10, available: 0 } });
  });

  it('charges a scope that is named twice once', () => {
    const ledger = createLedger();
    ledger.apply(limitOperations(run, { tokens: 10 }));
    ledger.one(reserve('a', { scopes: [run, run], fixed: { tokens: 6 } }));
    expect(ledger.balance(run, 'tokens')).toEqual([0, 6]);
  });

  it('rejects amounts that are not whole or negative', () => {
    const ledger = createLedger();
    for (const tokens of [0.5, -1, Number.NaN, 2 ** 53])
      expect(() => ledger.one(reserve('a', { fixed: { tokens } }))).toThrow(/whole number/);
    for (const limit of [0.5, -1, 1e17, 1e300])
      expect(() => ledger.one({ type: 'limit', scope: run, unit: 'tokens', window: 'total', limit })).toThrow(/whole number/);
    ledger.one(reserve('b'));
    expect(() => ledger.one({ type: 'settle', reservationId: 'b', actual: { tokens: -3 } })).toThrow(/whole number/);
    expect(() => ledger.one(reserve('c', { wallMs: { min: 2, max: 1 } }))).toThrow(/range/);
  });
});

describe('settle', () => {
  const reserved = () => {
    const ledger = createLedger();
    ledger.apply([...limitOperations(run, { tokens: 100 }), ...limitOperations(tenant, { costMicroUsd: 500 })]);
    ledger.one(reserve('a', { fixed: { tokens: 40, costMicroUsd: 80 } }));
    return ledger;
  };

  it('books what was used, gives the rest back, and does so once', () => {
    const ledger = reserved();
    const settle: LedgerOperation = { type: 'settle', reservationId: 'a', actual: { tokens: 15, costMicroUsd: 30 } };
    expect(ledger.one(settle)).toEqual({ type: 'settled', amounts: settle.actual, outcome: 'settled' });
    expect([ledger.balance(run, 'tokens'), ledger.balance(tenant, 'costMicroUsd')]).toEqual([
      [15, 0],
      [30, 0],
    ]);
    expect(ledger.one(settle)).toEqual({ type: 'ignored', reason: 'already_final' });
    expect(ledger.reservations.get('a')).toMatchObject({ state: 'settled', rows: [] });
    for (const type of ['release', 'charge'] as const) {
      expect(ledger.one({ type, reservationId: 'a' })).toEqual({ type: 'ignored', reason: 'already_final' });
    }
    expect(ledger.one({ type: 'settle', reservationId: 'zzz', actual: {} })).toEqual({ type: 'ignored', reason: 'unknown' });
    expect(ledger.entries).toHaveLength(1);
  });

  it('books the truth when more was used than reserved, and flags it', () => {
    const ledger = reserved();
    expect(ledger.one({ type: 'settle', reservationId: 'a', actual: { tokens: 41 } })).toMatchObject({ outcome: 'overrun' });
    expect(ledger.balance(run, 'tokens')).toEqual([41, 0]);
    expect(ledger.entries).toMatchObject([{ kind: 'overrun', amounts: { tokens: 41 } }]);
  });

  it('books the excess after a charge as late usage, and gives back what was charged too much [verifies budget.late.usage]', () => {
    const ledger = reserved();
    expect(ledger.one({ type: 'charge', reservationId: 'a' })).toMatchObject({ outcome: 'charged_maximum', amounts: { tokens: 40 } });
    const late = ledger.one({ type: 'settle', reservationId: 'a', actual: { tokens: 50, costMicroUsd: 20 } });
    expect(late).toMatchObject({ type: 'settled', outcome: 'late_usage' });
    expect([ledger.balance(run, 'tokens'), ledger.balance(tenant, 'costMicroUsd')]).toEqual([
      [50, 0],
      [20, 0],
    ]);
    expect(ledger.entries.map(({ kind, amounts }) => [kind, amounts])).toEqual([
      ['charged_maximum', { tokens: 40, costMicroUsd: 80 }],
      ['late_usage', { tokens: 10 }],
      ['reconciliation', { costMicroUsd: -60 }],
    ]);
    expect(ledger.one({ type: 'settle', reservationId: 'a', actual: { tokens: 99 } }).type).toBe('ignored');
  });

  it('books nothing for a reservation that its holder gave back', () => {
    const ledger = reserved();
    expect(ledger.one({ type: 'release', reservationId: 'a' })).toMatchObject({ outcome: 'released', amounts: {} });
    expect(ledger.one({ type: 'settle', reservationId: 'a', actual: { tokens: 7 } })).toEqual({ type: 'ignored', reason: 'already_final' });
    expect(ledger.balance(run, 'tokens')).toEqual([0, 0]);
    expect(ledger.entries).toEqual([]);
  });

  it('gives nothing back to the next day for a charge of the day before', () => {
    const ledger = createLedger();
    ledger.apply([...limitOperations(run, { tokens: 100 }, { window: 'day' }), ...limitOperations(run, { tokens: 100 })]);
    ledger.one(reserve('a', { fixed: { tokens: 40 } }));
    ledger.one({ type: 'charge', reservationId: 'a' });
    ledger.one({ type: 'settle', reservationId: 'a', actual: { tokens: 5 } }, start + 86_400_000);
    ledger.one(reserve('b', { fixed: { tokens: 1 } }), start + 86_400_000);
    expect([ledger.balance(run, 'tokens', 'day'), ledger.balance(run, 'tokens')]).toEqual([
      [0, 1],
      [5, 1],
    ]);
  });

  it('does not reopen a window for a clock that lags behind', () => {
    const ledger = createLedger();
    ledger.apply(limitOperations(run, { tokens: 10 }, { window: 'day' }), start + 86_400_000);
    ledger.one(reserve('a', { fixed: { tokens: 10 } }), start + 86_400_000);
    expect(ledger.one(reserve('b', { fixed: { tokens: 1 } }), start)).toMatchObject({ type: 'refused' });
  });
});

it('prices tokens exactly and rounds up', () => {
  const costOf = (count: number, price: number) => withRanges({}, { count, price }, undefined).costMicroUsd;
  expect([costOf(0, 3), costOf(1, 1), costOf(1_000_000, 3), costOf(1_000_001, 1)]).toEqual([0, 1, 3, 2]);
  const amount = fc.integer({ min: 0, max: 1_000_000_000_000 });
  fc.assert(
    fc.property(amount, fc.integer({ min: 1, max: 1_000_000_000 }), (money, price) => {
      const tokens = tokensForCost(money, price);
      // beyond 2^53 only the money matters: nobody asks for so many tokens
      if (tokens > 1_000_000_000_000) return;
      expect(costOf(tokens, price)).toBeLessThanOrEqual(money);
      expect(costOf(tokens + 1, price)).toBeGreaterThan(money);
    }),
  );
});

const unit = fc.record({ tokens: fc.nat(60), costMicroUsd: fc.nat(60) });
const operation = fc.oneof(
  fc.record({
    type: fc.constant('reserve' as const),
    reservationId: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f'),
    runId: fc.constant(null),
    scopes: fc.subarray([run, session, tenant]),
    fixed: unit,
    tokens: fc.record({
      min: fc.nat(10),
      max: fc.integer({ min: 10, max: 80 }),
      costMicroUsdPerMillion: fc.constantFrom(0, 300_000, 2_000_000),
    }),
    expiresAt: fc.constant(0),
  }),
  fc.record({ type: fc.constant('settle' as const), reservationId: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f'), actual: unit }),
  fc.record({
    type: fc.constantFrom('release' as const, 'charge' as const),
    reservationId: fc.constantFrom('a', 'b', 'c', 'd'),
  }),
);

it('holds the invariants after any sequence of operations, at any time', () => {
  const hours = fc.nat(60);
  fc.assert(
    fc.property(fc.array(fc.tuple(operation, hours), { maxLength: 60 }), (steps) => {
      const ledger = createLedger();
      for (const [index, scope] of [run, session, tenant].entries()) {
        ledger.apply(limitOperations(scope, { tokens: 150 + 50 * index, costMicroUsd: 200 }));
        ledger.apply(limitOperations(scope, { tokens: 120 }, { window: 'day', unlimited: 'ignore' }));
      }
      const finals = new Map<string, number>();
      let now = start;
      for (const [step, later] of steps) {
        now += later * 600_000;
        const outcome = ledger.one(step, now);
        if (outcome.type === 'settled' && step.type !== 'reserve') {
          finals.set(step.reservationId, (finals.get(step.reservationId) ?? 0) + 1);
        }
        for (const [key, row] of ledger.rows) checkRow(ledger, key, row);
      }
      // closed once, and at most corrected once after it was charged
      for (const [id, times] of finals) {
        expect(times).toBeLessThanOrEqual(
          ledger.entries.some((entry) => entry.reservationId === id && entry.kind === 'settlement') ? 1 : 2,
        );
      }
    }),
    { numRuns: 300 },
  );
});

function checkRow(ledger: ReturnType<typeof createLedger>, key: string, row: LedgerRow): void {
  const booked = (entry: LedgerEntry) =>
    entry.rows.some((place) => place.key === key && place.period === row.period) ? (entry.amounts[row.unit] ?? 0) : 0;
  const spent = ledger.entries.reduce((sum, entry) => sum + booked(entry), 0);
  // What nobody could refuse any more: use beyond a reservation, and use after it was charged.
  const excess = ledger.entries.reduce((sum, entry) => {
    if (entry.kind === 'late_usage') return sum + booked(entry);
    const held = ledger.reservations.get(entry.reservationId)?.amounts[row.unit] ?? 0;
    return entry.kind === 'overrun' ? sum + Math.max(0, booked(entry) - held) : sum;
  }, 0);
  const open = [...ledger.reservations.values()].filter((reservation) => reservation.state === 'open' && reservation.rows.includes(key));
  const reserved = open.reduce((sum, reservation) => sum + (reservation.amounts[row.unit] ?? 0), 0);
  expect(row.spent).toBe(spent);
  expect(row.reserved).toBe(reserved);
  expect(row.spent).toBeGreaterThanOrEqual(0);
  if (row.limit !== null) expect(row.spent + row.reserved - excess).toBeLessThanOrEqual(row.limit);
}

it('names rows by scope, unit and window, whatever the id of the scope contains', () => {
  const scope: BudgetScope = { kind: 'user', id: 'a:b|tokens|day' };
  const key = rowKey(scope, 'wallMs', 'month');
  expect(scopeKeyOfRow(key)).toBe(scopeKey(scope));
  expect(scopeOfKey(scopeKeyOfRow(key))).toEqual(scope);
});
