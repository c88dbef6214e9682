import type { BudgetScope } from '@nexus-agent/protocol';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { limitOperations } from '#budget';
import type { LedgerEntry, LedgerOperation, LedgerOutcome, LedgerRow, ReservationRow, ReserveOperation } from './contract.ts';
import { rowKey } from './keys.ts';
import { ledgerRules } from './rules.ts';

const run: BudgetScope = { kind: 'run', id: 'r' };
const user: BudgetScope = { kind: 'user', id: 'u' };
const start = Date.UTC(2026, 10, 22, 12);

/** A ledger in memory that applies changes as the store does. */
function createLedger(...limits: readonly LedgerOperation[]) {
  const rows = new Map<string, LedgerRow>();
  const reservations = new Map<string, ReservationRow>();
  const entries: LedgerEntry[] = [];
  const one = (operation: LedgerOperation | readonly LedgerOperation[], nowMs = start): LedgerOutcome => {
    const change = ledgerRules({ rows, reservations }, [operation].flat(), nowMs);
    for (const [key, row] of change.rows) rows.set(key, row);
    for (const [id, reservation] of change.reservations) reservations.set(id, reservation);
    entries.push(...change.entries);
    const [outcome] = change.outcomes;
    if (outcome === undefined) throw new Error('no outcome');
    return outcome;
  };
  for (const limit of limits) one(limit);
  return {
    one,
    rows,
    reservations,
    entries,
    balance(scope: BudgetScope, unit: 'tokens' | 'costMicroUsd' | 'toolCalls' | 'wallMs') {
      const row = rows.get(rowKey(scope, unit, 'total'));
      return row && [row.spent, row.reserved];
    },
  };
}

function reserve(reservationId: string, fields: Partial<ReserveOperation> = {}): ReserveOperation {
  return { type: 'reserve', reservationId, runId: 'r', scopes: [run, user], fixed: {}, expiresAt: start + 1000, ...fields };
}

const limit = (scope: BudgetScope, tokens: number): LedgerOperation => ({
  type: 'limit',
  scope,
  unit: 'tokens',
  window: 'total',
  limit: tokens,
});

it('counts what is in flight against a limit that is set meanwhile, and settles it there [verifies budget.limit.in-flight]', () => {
  const ledger = createLedger(...limitOperations(run, { tokens: 10_000 }));
  ledger.one(reserve('a', { fixed: { tokens: 600 } }));
  ledger.one(reserve('other', { scopes: [run], fixed: { tokens: 50 } }));
  ledger.one(limit(user, 1_000));
  expect(ledger.balance(user, 'tokens')).toEqual([0, 600]);
  expect(ledger.one(reserve('b', { fixed: { tokens: 401 } }))).toMatchObject({ type: 'refused', refusal: { scope: user, available: 400 } });
  ledger.one(reserve('b', { fixed: { tokens: 400 } }));
  ledger.one({ type: 'settle', reservationId: 'a', actual: { tokens: 580 } });
  expect(ledger.balance(user, 'tokens')).toEqual([580, 400]);
  ledger.one({ type: 'charge', reservationId: 'b' });
  expect(ledger.balance(user, 'tokens')).toEqual([980, 0]);
});

it('counts what is in flight for a user who comes under the limit of every user [verifies budget.limit.in-flight]', () => {
  const ledger = createLedger();
  ledger.one(reserve('a', { fixed: { tokens: 600 } }));
  ledger.one(limit({ kind: 'user', id: '*' }, 1_000));
  expect(ledger.one(reserve('b', { fixed: { tokens: 401 } }))).toMatchObject({ type: 'refused', refusal: { scope: user, available: 400 } });
  ledger.one(reserve('b', { fixed: { tokens: 400 } }));
  ledger.one({ type: 'settle', reservationId: 'a', actual: { tokens: 580 } });
  expect(ledger.balance(user, 'tokens')).toEqual([580, 400]);
});

it('begins a balance with what the same change booked before it came to be, of whichever scope [verifies budget.limit.in-flight]', () => {
  const everyUser: BudgetScope = { kind: 'user', id: '*' };
  const project: BudgetScope = { kind: 'project', id: 'p' };
  const ledger = createLedger();
  for (const id of ['a', 'b', 'c']) ledger.one(reserve(id, { fixed: { tokens: 600 }, scopes: [run, user, project] }));
  ledger.one(reserve('other', { fixed: { tokens: 70 }, scopes: [{ kind: 'user', id: 'o' }] }));
  ledger.one(limit(everyUser, 2_000));
  // As a round of a run ends: one call is settled, and the next reserved.
  ledger.one([
    { type: 'settle', reservationId: 'other', actual: { tokens: 70 } },
    { type: 'settle', reservationId: 'a', actual: { tokens: 580 } },
    { type: 'charge', reservationId: 'b' },
    reserve('d', { fixed: { tokens: 10 }, scopes: [run, user, project] }),
  ]);
  expect(ledger.balance(user, 'tokens')).toEqual([1_180, 610]);
  // What has a row is settled there; a limit that comes with it begins with that.
  ledger.one([{ type: 'settle', reservationId: 'c', actual: { tokens: 500 } }, limit(project, 5_000)]);
  expect(ledger.balance(user, 'tokens')).toEqual([1_680, 10]);
  expect(ledger.balance(project, 'tokens')).toEqual([500, 10]);
});

it('counts once what is in flight in a row that was taken away and comes again', () => {
  const ledger = createLedger(limit(user, 1_000));
  ledger.one(reserve('a', { fixed: { tokens: 600 } }));
  ledger.rows.delete(rowKey(user, 'tokens', 'total'));
  ledger.one(limit(user, 900));
  ledger.one({ type: 'settle', reservationId: 'a', actual: { tokens: 500 } });
  expect(ledger.balance(user, 'tokens')).toEqual([500, 0]);
});

it('goes on refusing below what is in flight already, and lets that end', () => {
  const ledger = createLedger();
  ledger.one(reserve('a', { fixed: { tokens: 600 } }));
  ledger.one(limit(user, 100));
  expect(ledger.balance(user, 'tokens')).toEqual([0, 600]);
  expect(ledger.one(reserve('b', { fixed: { tokens: 1 } }))).toMatchObject({ type: 'refused', refusal: { available: 0 } });
  ledger.one({ type: 'release', reservationId: 'a' });
  expect(ledger.one(reserve('b', { fixed: { tokens: 100 } })).type).toBe('reserved');
});

it('books late use also where a limit was set since the charge', () => {
  const ledger = createLedger(...limitOperations(run, { tokens: 10_000 }));
  ledger.one(reserve('a', { fixed: { tokens: 40 } }));
  ledger.one({ type: 'charge', reservationId: 'a' });
  ledger.one(limit(user, 1_000));
  expect(ledger.one({ type: 'settle', reservationId: 'a', actual: { tokens: 50 } })).toMatchObject({ outcome: 'late_usage' });
  expect([ledger.balance(run, 'tokens'), ledger.balance(user, 'tokens')]).toEqual([
    [50, 0],
    [10, 0],
  ]);
});

it('gives back what was charged for work that turns out never to have begun', () => {
  const ledger = createLedger(...limitOperations(run, { tokens: 100 }));
  ledger.one(reserve('a', { fixed: { tokens: 40 } }));
  ledger.one({ type: 'charge', reservationId: 'a' });
  expect(ledger.one({ type: 'release', reservationId: 'a' })).toEqual({ type: 'settled', amounts: {}, outcome: 'released' });
  expect(ledger.balance(run, 'tokens')).toEqual([0, 0]);
  expect(ledger.entries.map(({ kind }) => kind)).toEqual(['charged_maximum', 'reconciliation']);
});

it('tells who charges too late what was charged', () => {
  const ledger = createLedger(...limitOperations(run, { tokens: 100 }));
  ledger.one(reserve('a', { fixed: { tokens: 40 } }));
  ledger.one({ type: 'charge', reservationId: 'a' });
  expect(ledger.one({ type: 'charge', reservationId: 'a' })).toEqual({ type: 'ignored', reason: 'already_final', charged: { tokens: 40 } });
});

it('charges no more than the work can have used, by its holder or by who knows better [verifies budget.kill.bounded]', () => {
  const ledger = createLedger(...limitOperations(run, { tokens: 5_000 }));
  const whole = { tokens: 1_000, costMicroUsd: 900, toolCalls: 1 };
  for (const id of ['a', 'b', 'c']) ledger.one(reserve(id, { fixed: whole }));
  expect(ledger.one({ type: 'bound', reservationId: 'a', atMost: { tokens: 300 } })).toEqual({ type: 'bounded' });
  expect(ledger.balance(run, 'tokens')).toEqual([0, 3_000]);
  expect(ledger.one({ type: 'charge', reservationId: 'a' })).toMatchObject({ amounts: { ...whole, tokens: 300 } });
  ledger.one({ type: 'bound', reservationId: 'b', atMost: { tokens: 300 } });
  ledger.one({ type: 'bound', reservationId: 'b', atMost: { tokens: 7_000 } });
  expect(ledger.one({ type: 'charge', reservationId: 'b' })).toMatchObject({ amounts: whole });
  expect(ledger.one({ type: 'charge', reservationId: 'c', atMost: { costMicroUsd: 5 } })).toMatchObject({ amounts: { costMicroUsd: 5 } });
  expect(ledger.balance(run, 'tokens')).toEqual([2_300, 0]);
  // Whoever hears this must not go on: what it uses from now on is held by nobody.
  expect(ledger.one({ type: 'bound', reservationId: 'a', atMost: { tokens: 900 } })).toMatchObject({
    type: 'ignored',
    charged: { tokens: 300 },
  });
});

it('says of a refusal whether others hold what is missing', () => {
  const ledger = createLedger(limit(user, 100));
  ledger.one(reserve('a', { fixed: { tokens: 60 } }));
  expect(ledger.one(reserve('b', { fixed: { tokens: 100 } }))).toMatchObject({ type: 'refused', held: true });
  expect(ledger.one(reserve('b', { fixed: { tokens: 101 } }))).not.toHaveProperty('held');
  ledger.one({ type: 'settle', reservationId: 'a', actual: { tokens: 1 } });
  expect(ledger.one(reserve('b', { fixed: { tokens: 100 } }))).not.toHaveProperty('held');
});

it('grants all that the budget will afford or nothing, where that is asked, while others hold a part of it', () => {
  const ledger = createLedger(limit(user, 1_000));
  const asked = { fixed: { tokens: 100 }, tokens: { min: 10, max: 700, costMicroUsdPerMillion: 0 } };
  ledger.one(reserve('a', { fixed: { tokens: 500 } }));
  expect(ledger.one(reserve('b', { ...asked, whole: true }))).toMatchObject({
    type: 'refused',
    held: true,
    refusal: { scope: user, unit: 'tokens', asked: 800, available: 500 },
  });
  expect(ledger.one(reserve('b', asked))).toMatchObject({ maxTokens: 400 });
  ledger.one({ type: 'settle', reservationId: 'b', actual: { tokens: 400 } });
  ledger.one({ type: 'settle', reservationId: 'a', actual: { tokens: 100 } });
  // Nobody holds anything: fewer than asked is all that there will ever be.
  expect(ledger.one(reserve('c', { ...asked, whole: true }))).toMatchObject({ type: 'reserved', maxTokens: 400 });
});

it('takes the time of work side by side once, and leaves it to who goes on [verifies budget.wall.union]', () => {
  const ledger = createLedger(...limitOperations(run, { wallMs: 20_000 }));
  const wallMs = { min: 100, max: 30_000 };
  expect(ledger.one(reserve('a', { wallMs }))).toMatchObject({ wallMs: 20_000 });
  expect(ledger.one(reserve('b', { wallMs, beside: ['a'] }), start + 50)).toMatchObject({ wallMs: 19_950, amounts: { wallMs: 0 } });
  expect(ledger.one(reserve('alone', { wallMs }), start + 50)).toMatchObject({ type: 'refused' });
  expect(ledger.balance(run, 'wallMs')).toEqual([0, 20_000]);
  ledger.one({ type: 'settle', reservationId: 'a', actual: { wallMs: 100 }, heir: 'b' }, start + 100);
  expect(ledger.balance(run, 'wallMs')).toEqual([100, 19_900]);
  expect(ledger.one(reserve('c', { wallMs, beside: ['b'] }), start + 150)).toMatchObject({ wallMs: 19_850 });
  ledger.one({ type: 'release', reservationId: 'b', heir: 'c' }, start + 200);
  ledger.one({ type: 'settle', reservationId: 'c', actual: { wallMs: 200 } }, start + 300);
  expect(ledger.balance(run, 'wallMs')).toEqual([300, 0]);
});

it('takes of the time beside only what goes beyond it', () => {
  const ledger = createLedger(...limitOperations(run, { wallMs: 20_000 }));
  ledger.one(reserve('a', { wallMs: { min: 100, max: 1_000 } }));
  expect(ledger.one(reserve('b', { wallMs: { min: 100, max: 5_000 }, beside: ['a'] }))).toMatchObject({
    wallMs: 5_000,
    amounts: { wallMs: 4_000 },
  });
  ledger.one({ type: 'settle', reservationId: 'b', actual: {}, heir: 'a' }, start + 10);
  expect(ledger.balance(run, 'wallMs')).toEqual([0, 5_000]);
  // One that has ended holds nothing for others.
  expect(ledger.one(reserve('c', { wallMs: { min: 100, max: 2_000 }, beside: ['b'] }))).toMatchObject({ amounts: { wallMs: 2_000 } });
});

it('leaves the time that is paid for to the heir until it ends, however long that is', () => {
  const ledger = createLedger(...limitOperations(run, { wallMs: 20_000 }));
  ledger.one(reserve('a', { wallMs: { min: 100, max: 1_000 } }));
  ledger.one(reserve('b', { wallMs: { min: 100, max: 3_000 }, beside: ['a'] }));
  ledger.one({ type: 'settle', reservationId: 'b', actual: { wallMs: 100 }, heir: 'a' }, start + 100);
  expect(ledger.one(reserve('c', { wallMs: { min: 100, max: 2_500 }, beside: ['a'] }), start + 100)).toMatchObject({
    wallMs: 2_500,
    amounts: { wallMs: 0 },
  });
});

it('leaves no time to an heir for whom others pay', () => {
  const ledger = createLedger(...limitOperations(run, { wallMs: 20_000 }), ...limitOperations(user, { wallMs: 20_000 }));
  ledger.one(reserve('a', { wallMs: { min: 100, max: 1_000 } }));
  ledger.one(reserve('b', { scopes: [run], wallMs: { min: 100, max: 3_000 } }));
  ledger.one({ type: 'settle', reservationId: 'b', actual: { wallMs: 100 }, heir: 'a' }, start + 100);
  expect([ledger.balance(run, 'wallMs'), ledger.balance(user, 'wallMs')]).toEqual([
    [100, 1_000],
    [0, 1_000],
  ]);
  ledger.one({ type: 'release', reservationId: 'a' }, start + 200);
  expect([ledger.balance(run, 'wallMs'), ledger.balance(user, 'wallMs')]).toEqual([
    [100, 0],
    [0, 0],
  ]);
});

it('gives a user no row for a limit of every user that was taken away', () => {
  const everybody: BudgetScope = { kind: 'user', id: '*' };
  const ledger = createLedger(limit(everybody, 1_000), { type: 'unlimit', scope: everybody, unit: 'tokens', window: 'total' });
  ledger.one(reserve('a', { fixed: { tokens: 600 } }));
  expect(ledger.balance(user, 'tokens')).toBeUndefined();
});

it('opens no window that has ended for a clock that lags behind', () => {
  const midnight = Date.UTC(2026, 10, 23);
  const ledger = createLedger();
  ledger.one({ type: 'limit', scope: user, unit: 'tokens', window: 'day', limit: 50 }, midnight + 10);
  ledger.one(reserve('a', { fixed: { tokens: 40 } }), midnight + 10);
  ledger.one({ type: 'settle', reservationId: 'a', actual: { tokens: 40 } }, midnight + 20);
  expect(ledger.one(reserve('b', { fixed: { tokens: 20 } }), midnight - 5)).toMatchObject({ type: 'refused', refusal: { available: 10 } });
  // The next day is another one, and the last of a month ends with it.
  expect(ledger.one(reserve('c', { fixed: { tokens: 50 } }), midnight + 86_400_000).type).toBe('reserved');
});

it('keeps its sums whatever time is taken, left and charged side by side [verifies budget.wall.union]', () => {
  const step = fc.record({
    type: fc.constantFrom('reserve', 'reserve', 'reserve', 'settle', 'settle', 'release', 'charge', 'limit'),
    id: fc.nat(7),
    other: fc.nat(7),
    ms: fc.integer({ min: 0, max: 900 }),
    laterMs: fc.nat(200),
  });
  const wall = (limited: number): LedgerOperation => ({ type: 'limit', scope: run, unit: 'wallMs', window: 'total', limit: limited });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const ledger = createLedger(wall(2_000));
      let now = start;
      let ids = 0;
      const named = new Map<number, string>();
      const open = () => [...ledger.reservations.values()].filter(({ state }) => state === 'open');
      for (const { type, id, other, ms, laterMs } of steps) {
        now += laterMs;
        const name = named.get(id) ?? '';
        const heir = named.get(other) ?? '';
        const held = ledger.reservations.get(name)?.amounts.wallMs ?? 0;
        if (type === 'reserve') {
          const made = `n${ids++}`;
          const beside = open().map(({ reservationId }) => reservationId);
          const outcome = ledger.one(reserve(made, { scopes: [run, user], wallMs: { min: 10, max: 10 + ms }, beside }), now);
          if (outcome.type === 'reserved') named.set(id, made);
        } else if (type === 'settle') ledger.one({ type, reservationId: name, actual: { wallMs: Math.min(ms, held) }, heir }, now);
        else if (type === 'release') ledger.one({ type, reservationId: name, heir }, now);
        else if (type === 'charge') ledger.one({ type, reservationId: name }, now);
        else ledger.one({ ...wall(5_000), scope: user } as LedgerOperation, now);
        for (const scope of [run, user]) {
          const balance = ledger.balance(scope, 'wallMs');
          if (balance === undefined) continue;
          const [spent = 0, reserved = 0] = balance;
          const booked = ledger.entries.filter(({ rows }) => rows.some(({ key }) => key === rowKey(scope, 'wallMs', 'total')));
          expect(reserved).toBe(open().reduce((sum, { amounts }) => sum + (amounts.wallMs ?? 0), 0));
          expect(spent).toBe(booked.reduce((sum, { amounts }) => sum + (amounts.wallMs ?? 0), 0));
          expect(spent + reserved).toBeLessThanOrEqual(scope === run ? 2_000 : 5_000);
        }
      }
    }),
    { numRuns: 200 },
  );
});

it('charges work that is lost for the time that has passed, and no more than it was granted [verifies budget.kill.bounded]', () => {
  const ledger = createLedger(...limitOperations(run, { wallMs: 900_000 }));
  const lost = (id: string) => ledger.one(reserve(id, { wallMs: { min: 1_000, max: 600_000 } }));
  lost('a');
  ledger.one({ type: 'charge', reservationId: 'a' }, start + 5_000);
  expect(ledger.balance(run, 'wallMs')).toEqual([6_000, 0]);
  lost('b');
  ledger.one({ type: 'charge', reservationId: 'b' }, start + 3_600_000);
  expect(ledger.balance(run, 'wallMs')).toEqual([606_000, 0]);
});
