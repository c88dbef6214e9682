import type { BudgetScope, BudgetWindow, TenantId } from '@nexus-agent/protocol';
import { budgetUnits } from '@nexus-agent/protocol';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { createManualClock } from '../../packages/server/src/core/testing/index.ts';
import type { LedgerOperation } from '../../packages/server/src/ledger/index.ts';
import type { Store, UsageQuery } from '../../packages/server/src/storage/index.ts';
import { all, auditCounted } from '../support/ledger-invariants.ts';
import { newTenant, runRow, type StoreSubject, sessionRow } from '../support/stores.ts';
import { verifies } from '../support/verifies.ts';

const everyUser: BudgetScope = { kind: 'user', id: '*' };
const user = (id: string): BudgetScope => ({ kind: 'user', id });

/** A call from its reservation to its bill, in one change. */
function call(id: string, scopes: readonly BudgetScope[], tokens: number, runId: string | null = null): LedgerOperation[] {
  const amounts = { tokens, costMicroUsd: tokens * 3, toolCalls: 1 };
  return [
    { type: 'reserve', reservationId: id, runId, scopes, model: 'p/m', fixed: amounts, expiresAt: Date.now() + 60_000 },
    { type: 'settle', reservationId: id, actual: amounts },
  ];
}

function limit(scope: BudgetScope, amount: number | null, window: BudgetWindow = 'total'): LedgerOperation {
  return { type: 'limit', scope, unit: 'tokens', window, limit: amount };
}

/** What is kept of whom charges are for: new limits, limits for every user, and sums. */
export function describeAccounts(subject: StoreSubject, open: () => Promise<Store>): void {
  let store: Store;
  beforeAll(async () => {
    store = await open();
  });
  const balance = async (tenantId: TenantId, scope: BudgetScope, window: BudgetWindow = 'total', of = store, nowMs = Date.now()) =>
    (await of.listBudgets(tenantId, { scopes: [scope] }, nowMs, { limit: 50 })).items.find(
      (row) => row.window === window && row.unit === 'tokens',
    );

  describe('accounts', () => {
    it(`begin a limit with what was spent in its window ${verifies('budget.window.counted')}`, async () => {
      const clock = createManualClock(Date.UTC(2026, 10, 29, 12));
      const timed = await subject.open(clock);
      const tenantId = newTenant();
      const scopes = [user('ann'), { kind: 'agent', id: 'helper' }, { kind: 'tenant', id: tenantId }] as const;
      await timed.commit({ tenantId, ledger: call('a', scopes, 10) });
      clock.advance(86_400_000);
      await timed.commit({ tenantId, ledger: call('b', scopes, 5) });
      clock.advance(86_400_000);
      await timed.commit({ tenantId, ledger: call('c', scopes, 2) });
      for (const scope of scopes) {
        const windows = [
          ['day', 2],
          ['month', 2],
          ['total', 17],
        ] as const;
        for (const [window, spent] of windows) {
          await timed.commit({ tenantId, ledger: [limit(scope, 100, window)] });
          expect(await balance(tenantId, scope, window, timed, clock.now()), `${scope.kind} ${window}`).toMatchObject({ spent });
        }
      }
      expect(await timed.commit({ tenantId, ledger: call('d', scopes, 84) })).toMatchObject({
        type: 'refused',
        refusal: { scope: user('ann'), window: 'total', available: 83 },
      });
      // Once it is there it counts by itself, and another limit changes nothing of that.
      await timed.commit({ tenantId, ledger: call('e', scopes, 1) });
      await timed.commit({ tenantId, ledger: [limit(user('ann'), 50)] });
      expect(await balance(tenantId, user('ann'), 'total', timed, clock.now())).toMatchObject({ spent: 18, limit: 50 });
      expect(await auditCounted(timed, tenantId, clock.now())).toEqual([]);
      await timed.close();
    });

    it('count for a run what its sub-agents used, and for a session its runs and calls outside of them', async () => {
      const tenantId = newTenant();
      const session = sessionRow(tenantId);
      const parent = runRow(tenantId, { sessionId: session.sessionId });
      const child = runRow(tenantId, { sessionId: session.sessionId, parentRunId: parent.runId });
      const ofSession: BudgetScope = { kind: 'session', id: session.sessionId };
      const ofParent: BudgetScope = { kind: 'run', id: parent.runId };
      const ofChild: BudgetScope = { kind: 'run', id: child.runId };
      await store.commit({ tenantId, sessions: [session], createRun: parent });
      await store.commit({ tenantId, createRun: child });
      await store.commit({ tenantId, ledger: call('p', [ofParent, ofSession], 7, parent.runId) });
      await store.commit({ tenantId, ledger: call('c', [ofChild, ofParent, ofSession], 5, child.runId) });
      await store.commit({ tenantId, ledger: call('t', [ofSession], 3) });
      for (const scope of [ofSession, ofParent, ofChild]) await store.commit({ tenantId, ledger: [limit(scope, 100)] });
      expect(await balance(tenantId, ofSession)).toMatchObject({ spent: 15 });
      expect(await balance(tenantId, ofParent)).toMatchObject({ spent: 12 });
      expect(await balance(tenantId, ofChild)).toMatchObject({ spent: 5 });
    });

    it(`count exactly while others book ${verifies('budget.window.counted')}`, async () => {
      const stores = [store, await open(), await open()];
      const step = fc.record({
        type: fc.constantFrom('call', 'call', 'call', 'limit', 'unlimit', 'everybody'),
        who: fc.integer({ min: 0, max: 2 }),
        window: fc.constantFrom<BudgetWindow>('total', 'day', 'month'),
        amount: fc.integer({ min: 1, max: 50 }),
        at: fc.integer({ min: 0, max: 2 }),
      });
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 30, maxLength: 90 }), async (steps) => {
          const tenantId = newTenant();
          const tenant: BudgetScope = { kind: 'tenant', id: tenantId };
          await Promise.all(
            steps.map(({ type, who, window, amount, at }, index) => {
              const scope = who === 2 ? tenant : user(`u${who}`);
              const ledger: LedgerOperation[] =
                type === 'call'
                  ? call(`r${index}`, [user(`u${who}`), { kind: 'project', id: 'p' }, tenant], amount)
                  : type === 'unlimit'
                    ? [{ type: 'unlimit', scope, unit: 'tokens', window }]
                    : [limit(type === 'everybody' ? everyUser : scope, amount * 40, window)];
              return (stores[at] ?? store).commit({ tenantId, ledger });
            }),
          );
          expect(await auditCounted(store, tenantId)).toEqual([]);
        }),
        { numRuns: 15, endOnFailure: true },
      );
    });

    it(`count what the same transaction booked before the balance of a user came to be ${verifies('budget.user.default')}`, async () => {
      const tenantId = newTenant();
      const held = {
        type: 'reserve',
        reservationId: 'held',
        runId: null,
        scopes: [user('ann')],
        fixed: { tokens: 5 },
        expiresAt: 0,
      } as const;
      await store.commit({ tenantId, ledger: [held] });
      await store.commit({ tenantId, ledger: [limit(everyUser, 100)] });
      await Promise.all([
        store.commit({ tenantId, ledger: [{ type: 'settle', reservationId: 'held', actual: { tokens: 5 } }] }),
        store.commit({ tenantId, ledger: call('next', [user('ann')], 3) }),
      ]);
      expect(await balance(tenantId, user('ann'))).toMatchObject({ spent: 8, reserved: 0 });
      expect(await auditCounted(store, tenantId)).toEqual([]);
    });

    it(`count what the same commit, or one beside it, booked before a balance came to be, of whichever scope ${verifies('budget.user.default')}`, async () => {
      const tenantId = newTenant();
      const tenant: BudgetScope = { kind: 'tenant', id: tenantId };
      const reserve = (reservationId: string, tokens: number): LedgerOperation => ({
        ...{ type: 'reserve', reservationId, runId: null, scopes: [user('ann'), tenant], fixed: { tokens } },
        expiresAt: Date.now() + 60_000,
      });
      await store.commit({ tenantId, ledger: [reserve('first', 5), reserve('second', 7)] });
      await store.commit({ tenantId, ledger: [limit(everyUser, 1_000)] });
      const settle = (reservationId: string, tokens: number): LedgerOperation => ({ type: 'settle', reservationId, actual: { tokens } });
      await Promise.all([
        store.commit({ tenantId, ledger: [settle('first', 5), reserve('third', 1)] }),
        store.commit({ tenantId, ledger: [settle('second', 6)] }),
        store.commit({ tenantId, ledger: [limit(tenant, 1_000)] }),
      ]);
      expect(await balance(tenantId, user('ann'))).toMatchObject({ spent: 11, reserved: 1 });
      expect(await balance(tenantId, tenant)).toMatchObject({ spent: 11, reserved: 1 });
    });

    it(`begin in the newest window that was booked in, whatever the clock of whoever sets a limit says ${verifies('budget.window.counted')}`, async () => {
      const midnight = Date.UTC(2026, 11, 1);
      const [ahead, behind] = [createManualClock(midnight + 5_000), createManualClock(midnight - 5_000)];
      const [there, here] = [await subject.open(ahead), await subject.open(behind)];
      const tenantId = newTenant();
      const agent: BudgetScope = { kind: 'agent', id: 'helper' };
      await here.commit({ tenantId, ledger: call('before', [agent], 7) });
      await there.commit({ tenantId, ledger: call('after', [agent], 40) });
      for (const window of ['day', 'month'] as const) {
        await here.commit({ tenantId, ledger: [limit(agent, 50, window)] });
        expect(await balance(tenantId, agent, window, there, ahead.now())).toMatchObject({ spent: 40 });
      }
      expect(await there.commit({ tenantId, ledger: call('next', [agent], 11) })).toMatchObject({
        type: 'refused',
        refusal: { available: 10 },
      });
      await there.close();
      await here.close();
    });

    it(`are measured with the limit that holds: that of every user for those without one, in its current window ${verifies('telemetry.metrics')}`, async () => {
      const clock = createManualClock(Date.UTC(2026, 10, 29, 12));
      const timed = await subject.open(clock);
      const tenantId = newTenant();
      // So that other tenants of the same database, which are measured with it, change nothing.
      const usesOf = async (used: string) =>
        (await timed.measure(clock.now())).budgets.find((row) => row.scope === 'user' && row.unit === 'tokens' && row.used === used)
          ?.count ?? 0;
      const uses = async () => [await usesOf('under_half'), await usesOf('under_80'), await usesOf('exhausted')];
      const [low = 0, middle = 0, full = 0] = await uses();
      await timed.commit({ tenantId, ledger: [limit(everyUser, 10, 'day'), limit(user('max'), null, 'day')] });
      for (const [name, tokens] of [
        ['ann', 10],
        ['bob', 6],
        ['eve', 1],
        ['max', 500],
      ] as const)
        await timed.commit({ tenantId, ledger: call(name, [user(name)], tokens) });
      expect(await uses()).toEqual([low + 2, middle + 1, full + 1]); // that of every user itself, and eve; bob; ann
      clock.advance(86_400_000);
      expect(await uses()).toEqual([low + 4, middle, full]);
      await timed.commit({ tenantId, ledger: [{ type: 'unlimit', scope: everyUser, unit: 'tokens', window: 'day' }] });
      expect(await uses()).toEqual([low, middle, full]);
      await timed.close();
    });

    it(`hold each user without a limit of their own to that of every user ${verifies('budget.user.default')}`, async () => {
      const tenantId = newTenant();
      const spend = (id: string, name: string, tokens: number) =>
        store.commit({ tenantId, ledger: call(id, [user(name), { kind: 'tenant', id: tenantId }], tokens) });
      await spend('before', 'ann', 6);
      await store.commit({ tenantId, ledger: [limit(everyUser, 10), limit(user('eve'), 1000), limit(user('max'), null)] });
      expect(await spend('a1', 'ann', 5)).toMatchObject({ type: 'refused', refusal: { scope: user('ann'), limit: 10, available: 4 } });
      expect(await spend('a2', 'ann', 4)).toMatchObject({ type: 'committed' });
      expect(await spend('b1', 'bob', 10)).toMatchObject({ type: 'committed' });
      expect(await spend('b2', 'bob', 1)).toMatchObject({ type: 'refused', refusal: { scope: user('bob'), available: 0 } });
      expect(await spend('e1', 'eve', 500)).toMatchObject({ type: 'committed' });
      expect(await spend('m1', 'max', 50_000)).toMatchObject({ type: 'committed' });
      expect(await balance(tenantId, everyUser)).toMatchObject({ spent: 0, reserved: 0 });
      // What it is by then holds, for those too who have a balance under it.
      await store.commit({ tenantId, ledger: [limit(everyUser, 12)] });
      expect(await spend('b3', 'bob', 3)).toMatchObject({ type: 'refused', refusal: { limit: 12, available: 2 } });
      expect(await spend('b4', 'bob', 2)).toMatchObject({ type: 'committed' });
      await store.commit({ tenantId, ledger: [{ type: 'unlimit', scope: user('eve'), unit: 'tokens', window: 'total' }] });
      expect(await spend('e2', 'eve', 1)).toMatchObject({ type: 'refused', refusal: { scope: user('eve'), limit: 12, available: 0 } });
      await store.commit({ tenantId, ledger: [{ type: 'unlimit', scope: everyUser, unit: 'tokens', window: 'total' }] });
      expect(await spend('b5', 'bob', 900)).toMatchObject({ type: 'committed' });
      expect(await auditCounted(store, tenantId)).toEqual([]);
    });

    it(`give sums by day, user, agent, model and project, in pages, of the tenant alone ${verifies('budget.usage')}`, async () => {
      const clock = createManualClock(Date.UTC(2026, 10, 29, 12));
      const timed = await subject.open(clock);
      const [tenantId, other] = [newTenant(), newTenant()];
      const of = (name: string | null, agent: string): BudgetScope[] => [
        ...(name === null ? [] : [user(name)]),
        { kind: 'agent', id: agent },
        { kind: 'tenant', id: tenantId },
      ];
      await timed.commit({ tenantId, ledger: [...call('a', of('ann', 'x'), 10), ...call('b', of('bob', 'y'), 30)] });
      await timed.commit({ tenantId: other, ledger: call('z', [user('ann'), { kind: 'tenant', id: other }], 999) });
      clock.advance(86_400_000);
      await timed.commit({ tenantId, ledger: [...call('c', of('ann', 'y'), 25), ...call('d', of(null, 'y'), 35)] });
      const names = async (by: UsageQuery['by'], from = '2026-11-01', to = '2026-11-30') =>
        (await all((page) => timed.usage(tenantId, { by, from, to }, { ...page, limit: 1 }))).map(
          ({ name, amounts, settlements }) => `${name} ${amounts.tokens} ${amounts.costMicroUsd} ${settlements}`,
        );
      expect(await names('day')).toEqual(['2026-11-30 60 180 2', '2026-11-29 40 120 2']);
      expect(await names('user')).toEqual([' 35 105 1', 'ann 35 105 2', 'bob 30 90 1']);
      expect(await names('user', '2026-11-30')).toEqual([' 35 105 1', 'ann 25 75 1']);
      expect(await names('agent')).toEqual(['y 90 270 3', 'x 10 30 1']);
      expect(await names('model')).toEqual(['p/m 100 300 4']);
      expect(await names('project', '2026-11-29', '2026-11-29')).toEqual([' 40 120 2']);
      expect(await names('user', '2027-01-01', '2027-02-01')).toEqual([]);
      const entries = await all((page) => timed.listLedgerEntries(tenantId, {}, page));
      for (const unit of budgetUnits) {
        const booked = entries.reduce((sum, { amounts }) => sum + (amounts[unit] ?? 0), 0);
        const sums = await all((page) => timed.usage(tenantId, { by: 'user', from: '2026-11-01', to: '2026-11-30' }, page));
        expect(sums.reduce((sum, { amounts }) => sum + (amounts[unit] ?? 0), 0)).toBe(booked);
      }
      await timed.close();
    });
  });
}
