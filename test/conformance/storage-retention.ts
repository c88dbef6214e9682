import type { BudgetScope, RunId, TenantId } from '@nexus-agent/protocol';
import { beforeAll, describe, expect, it } from 'vitest';
import { createManualClock } from '../../packages/server/src/core/testing/index.ts';
import type { LedgerOperation } from '../../packages/server/src/ledger/index.ts';
import type { DecisionRow, RunRow, SessionRow, Store } from '../../packages/server/src/storage/index.ts';
import { all, auditCounted } from '../support/ledger-invariants.ts';
import { execute } from '../support/sql.ts';
import { ids, newTenant, runRow, type StoreSubject, sessionRow } from '../support/stores.ts';
import { verifies } from '../support/verifies.ts';

const day = 86_400_000;

function call(id: string, scopes: readonly BudgetScope[], tokens: number, runId: string | null): LedgerOperation[] {
  const amounts = { tokens, costMicroUsd: tokens * 3 };
  return [
    { type: 'reserve', reservationId: id, runId, scopes, model: 'p/m', fixed: amounts, expiresAt: Date.now() + day },
    { type: 'settle', reservationId: id, actual: amounts },
  ];
}

function decision(runId: string | null, at: number): DecisionRow {
  const id = ids.next<string>('decision');
  return {
    id,
    effect: 'allow',
    action: 'tool.execute',
    resource: 'x',
    reasons: [],
    policyVersion: 'v',
    principal: 'ada',
    runId,
    callId: null,
    argumentsHash: null,
    at,
  };
}

/** What is no longer kept goes, in steps. */
export function describeRetention(subject: StoreSubject, open: () => Promise<Store>): void {
  let store: Store;
  beforeAll(async () => {
    store = await open();
  });

  /** A session with one run that has the status, `events` events, and a bill of 5 tokens. */
  async function work(tenantId: TenantId, status: RunRow['status'], fields: Partial<SessionRow> = {}, events = 3) {
    const session = sessionRow(tenantId, fields);
    const { sessionId } = session;
    const row = runRow(tenantId, { sessionId, status, resumable: status === 'failed' });
    const scopes: BudgetScope[] = [
      { kind: 'run', id: row.runId },
      { kind: 'session', id: sessionId },
      { kind: 'user', id: 'ann' },
      { kind: 'tenant', id: tenantId },
    ];
    const limits = scopes
      .slice(0, 2)
      .map((scope) => ({ type: 'limit', scope, unit: 'tokens', window: 'total', limit: 100, fresh: true }) as const);
    await store.commit({
      tenantId,
      sessions: [session],
      createRun: row,
      events: Array.from({ length: events }, () => ({ type: 'run.started', data: { workerId: 'w', epoch: 1 } }) as const),
      ledger: [...limits, ...call(`res-${row.runId}`, scopes, 5, row.runId)],
    });
    return { sessionId, runId: row.runId, scopes };
  }
  const eventsOf = async (tenantId: TenantId, runId: RunId) => (await store.readEvents(tenantId, runId, { after: 0, limit: 1000 })).length;

  async function clear(of: Store, tenantId: TenantId, limit: number): Promise<number> {
    let steps = 0;
    for (const removal of (await of.listRemovals(Date.now() + day, 1000)).filter((one) => one.tenantId === tenantId)) {
      if (removal.kind === 'run') while (await of.removeSome(removal, limit, day)) steps += 1;
      await of.endRemoval(removal);
    }
    return steps;
  }

  describe('retention', () => {
    it(`deletes a session at once for whoever looks, and the rest of it in steps ${verifies('session.delete')}`, async () => {
      const tenantId = newTenant();
      const gone = await work(tenantId, 'completed', {}, 25);
      const kept = await work(tenantId, 'completed');
      expect(await store.removeSession(tenantId, gone.sessionId)).toBe('removed');
      expect(await store.removeSession(tenantId, gone.sessionId)).toBe('not_found');
      expect(await store.getSession(tenantId, gone.sessionId)).toBeNull();
      expect(await store.getRun(tenantId, gone.runId)).toBeNull();
      expect((await store.listRuns(tenantId, {}, { limit: 10 })).items.map(({ runId }) => runId)).toEqual([kept.runId]);
      const rows = await all((page) => store.listBudgets(tenantId, {}, Date.now(), page));
      expect(rows.map(({ scope }) => scope.id).sort()).toEqual([kept.runId, kept.sessionId].sort());
      expect(await eventsOf(tenantId, gone.runId)).toBe(25);
      // What ends the clearing in the middle is no harm: another process goes on.
      const [removal] = (await store.listRemovals(Date.now() + day, 1000)).filter((one) => one.tenantId === tenantId && one.kind === 'run');
      if (removal === undefined) throw new Error('nothing is to be cleared');
      expect(await store.removeSome(removal, 10, day)).toBe(true);
      expect(await eventsOf(tenantId, gone.runId)).toBe(15);
      expect(await clear(await open(), tenantId, 10)).toBe(1);
      expect(await eventsOf(tenantId, gone.runId)).toBe(0);
      expect(await store.listReservations(tenantId, { runId: gone.runId })).toEqual([]);
      expect((await store.listRemovals(Date.now() + day, 1000)).filter((one) => one.tenantId === tenantId)).toEqual([]);
      expect(await eventsOf(tenantId, kept.runId)).toBe(3);
      expect(await store.listReservations(tenantId, { runId: kept.runId })).toHaveLength(1);
    });

    it(`deletes no session of which a run has not ended, or something is reserved ${verifies('retention.bounded')}`, async () => {
      const tenantId = newTenant();
      for (const status of ['queued', 'running', 'waiting'] as const) {
        const { sessionId, runId } = await work(tenantId, status);
        expect(await store.removeSession(tenantId, sessionId), status).toBe('busy');
        expect(await store.listIdleSessions(tenantId, Date.now() + day, { limit: 10 }), status).toEqual({ sessions: [], next: null });
        expect(await eventsOf(tenantId, runId), status).toBe(3);
      }
      const { sessionId, scopes, runId } = await work(tenantId, 'failed');
      const reserve = { type: 'reserve', reservationId: 'open', runId, scopes, fixed: { tokens: 1 }, expiresAt: Date.now() + day } as const;
      await store.commit({ tenantId, ledger: [reserve] });
      expect(await store.removeSession(tenantId, sessionId)).toBe('busy');
      await store.commit({ tenantId, ledger: [{ type: 'release', reservationId: 'open' }] });
      expect(await store.removeSession(tenantId, sessionId, Date.now() - day)).toBe('busy');
      // Of a resume and a deletion that race, one wins.
      const [requeued, removed] = await Promise.all([store.requeueRun(tenantId, runId), (await open()).removeSession(tenantId, sessionId)]);
      const resumed = requeued === 'requeued';
      expect(removed).toBe(resumed ? 'busy' : 'removed');
      expect((await store.getSession(tenantId, sessionId)) === null).toBe(!resumed);
    });

    it(`finds the sessions in which nothing has happened for long, in pages ${verifies('retention.bounded')}`, async () => {
      const [tenantId, other] = [newTenant(), newTenant()];
      const old = Date.now() - 100 * day;
      const idle = [];
      for (let index = 0; index < 3; index++) idle.push((await work(tenantId, 'completed', { createdAt: old })).sessionId);
      await work(tenantId, 'waiting', { createdAt: old });
      const empty = sessionRow(tenantId, { createdAt: old });
      await store.commit({ tenantId, sessions: [empty] });
      await work(other, 'completed', { createdAt: old });
      // Runs are of now: what has happened in them counts, not when the session was made.
      expect(await store.listIdleSessions(tenantId, Date.now() - day, { limit: 10 })).toEqual({ sessions: [empty.sessionId], next: null });
      const later = Date.now() + day;
      // Three are looked at, and the other two with the next page.
      const first = await store.listIdleSessions(tenantId, later, { limit: 3 });
      const rest = await store.listIdleSessions(tenantId, later, { limit: 3, after: first.next ?? '' });
      expect([...first.sessions, ...rest.sessions].sort()).toEqual([...idle, empty.sessionId].sort());
      expect([first.next === null, rest.next]).toEqual([false, null]);
      expect(await store.countIdleSessions(tenantId, later, 100)).toEqual({ count: 4, oldest: old });
      expect((await store.countIdleSessions(tenantId, later, 2)).count).toBe(2);
    });

    it(`keeps the books equal while entries are folded and deleted ${verifies('retention.books')}`, async () => {
      const clock = createManualClock(Date.UTC(2026, 10, 2, 12));
      const timed = await subject.open(clock);
      const [tenantId, other] = [newTenant(), newTenant()];
      const scopes: BudgetScope[] = [
        { kind: 'user', id: 'ann' },
        { kind: 'agent', id: 'x' },
        { kind: 'tenant', id: tenantId },
      ];
      const limit = (scope: BudgetScope) => ({ type: 'limit', scope, unit: 'tokens', window: 'total', limit: 1_000_000 }) as const;
      await timed.commit({ tenantId, ledger: [limit({ kind: 'tenant', id: tenantId })] });
      const run = runRow(tenantId, { status: 'completed' });
      await timed.commit({ tenantId, createRun: run });
      for (let index = 0; index < 40; index++) {
        clock.advance(day / 4);
        await timed.commit({ tenantId, ledger: call(`c${index}`, scopes, index + 1, index % 10 === 0 ? run.runId : null) });
      }
      await timed.commit({ tenantId: other, ledger: call('o', [{ kind: 'tenant', id: other }], 7, null) });
      const books = async () => ({
        user: await all((page) => timed.usage(tenantId, { by: 'user', from: '2026-01-01', to: '2027-01-01' }, page)),
        day: await all((page) => timed.usage(tenantId, { by: 'day', from: '2026-01-01', to: '2027-01-01' }, page)),
        balance: (await timed.listBudgets(tenantId, {}, clock.now(), { limit: 10 })).items.map(({ spent }) => spent),
      });
      const before = await books();
      expect(before.user).toMatchObject([{ name: 'ann', settlements: 40, amounts: { tokens: 820, costMicroUsd: 2460 } }]);
      const today = new Date(clock.now()).toISOString().slice(0, 10);
      // As an earlier version leaves them: booked, and in no sum.
      await execute(subject.location, `delete from usage_days where tenant_id = '${tenantId}'`);
      await execute(subject.location, `update ledger_entries set folded = 0 where tenant_id = '${tenantId}'`);
      // What is in no sum stays.
      expect((await timed.prune(tenantId, 'ledgerEntries', { before: clock.now() + day, limit: 100 })).gone).toBe(0);
      // Two processes at once fold each entry once.
      const second = await subject.open(clock);
      let folded = 0;
      for (let now = 1; now > 0; folded += now) {
        now = (await Promise.all([timed.foldEntries(tenantId, today, 3), second.foldEntries(tenantId, today, 3)])).reduce((a, b) => a + b);
      }
      expect(folded).toBe(37);
      // Whoever asks for the sums finds the rest in them, too.
      expect(await Promise.all([books(), books()])).toEqual([before, before]);
      expect(await auditCounted(timed, tenantId, clock.now())).toEqual([]);

      const later = clock.now() + day;
      // Also what has yet to be added to the sums of its day, and what is of a run whose session goes first.
      const counted = (idleBefore: number | null) => timed.countAged(tenantId, 'ledgerEntries', { before: later, idleBefore }, 100);
      expect(await counted(null)).toEqual({ count: 36, oldest: Date.UTC(2026, 10, 3) });
      expect((await counted(run.createdAt)).count).toBe(36);
      // Of those that are looked through some stay: the next step goes on behind them.
      const first = await timed.prune(tenantId, 'ledgerEntries', { before: later, limit: 30 });
      expect(first.gone).toBe(27);
      expect(await books()).toEqual(before);
      expect(await timed.prune(tenantId, 'ledgerEntries', { before: later, limit: 30, after: first.next ?? '' })).toEqual({
        gone: 9,
        next: null,
      });
      expect((await timed.prune(tenantId, 'ledgerEntries', { before: later, limit: 30 })).gone).toBe(0);
      expect(await books()).toEqual(before);
      // Entries of a run stay as long as the run.
      const left = await all((page) => timed.listLedgerEntries(tenantId, {}, page));
      expect(left.filter(({ runId }) => runId === run.runId)).toHaveLength(4);
      expect(left).toHaveLength(4);
      expect(await all((page) => timed.listLedgerEntries(other, {}, page))).toHaveLength(1);
      // A limit that is new begins with what was spent, whether its entries are there or not.
      await timed.commit({ tenantId, ledger: [limit({ kind: 'user', id: 'ann' }), limit({ kind: 'run', id: run.runId })] });
      const spent = Object.fromEntries(
        (await timed.listBudgets(tenantId, {}, clock.now(), { limit: 10 })).items.map((row) => [row.scope.kind, row.spent]),
      );
      expect(spent).toEqual({ tenant: 820, user: 820, run: 1 + 11 + 21 + 31 });
      // What comes late for a day that was folded is added to it.
      const late = { type: 'reserve', reservationId: 'late', runId: null, scopes, fixed: { tokens: 50 }, expiresAt: 0 } as const;
      await timed.commit({ tenantId, ledger: [late, { type: 'charge', reservationId: 'late' }] });
      clock.advance(day);
      await timed.commit({ tenantId, ledger: [{ type: 'settle', reservationId: 'late', actual: { tokens: 20 } }] });
      expect((await books()).day.find(({ name }) => name === today)?.amounts.tokens).toBe((before.day[0]?.amounts.tokens ?? 0) + 20);
      await Promise.all([timed.close(), second.close()]);
    });

    it(`keeps what a session booked without a run, so that a limit that comes later begins with it ${verifies('retention.books')}`, async () => {
      const clock = createManualClock(Date.UTC(2026, 10, 2, 12));
      const timed = await subject.open(clock);
      const tenantId = newTenant();
      const session = sessionRow(tenantId, {});
      const scopes: BudgetScope[] = [
        { kind: 'session', id: session.sessionId },
        { kind: 'tenant', id: tenantId },
      ];
      await timed.commit({ tenantId, sessions: [session], ledger: call('tool', scopes, 40, null) });
      await timed.commit({ tenantId, ledger: call('elsewhere', [{ kind: 'tenant', id: tenantId }], 9, null) });
      clock.advance(2 * day);
      expect((await timed.prune(tenantId, 'ledgerEntries', { before: clock.now(), limit: 10 })).gone).toBe(1);
      const limit = { type: 'limit', scope: scopes[0] as BudgetScope, unit: 'tokens', window: 'total', limit: 100 } as const;
      await timed.commit({ tenantId, ledger: [limit] });
      const { items } = await timed.listBudgets(tenantId, { scopes: [limit.scope] }, clock.now(), { limit: 10 });
      expect(items).toMatchObject([{ spent: 40, reserved: 0 }]);
      await timed.close();
    });

    it(`deletes by age up to a limit, of one tenant, and nothing that is still needed ${verifies('retention.bounded')}`, async () => {
      const [tenantId, other] = [newTenant(), newTenant()];
      const now = Date.now();
      const { runId: ended } = await work(tenantId, 'completed');
      const { runId: waiting } = await work(tenantId, 'waiting');
      await work(other, 'completed');
      const decisions = [
        decision(ended, now - 10),
        decision(null, now - 10),
        decision(null, now - 10),
        decision(waiting, now - 10),
        decision(null, now + day),
      ];
      await store.commit({ tenantId, decisions, idempotency: { key: 'old', requestHash: 'h', resourceId: 'r' } });
      await store.commit({
        tenantId: other,
        decisions: [decision(null, now - 10)],
        idempotency: { key: 'old', requestHash: 'h', resourceId: 'r' },
      });
      expect(await store.countAged(tenantId, 'decisions', { before: now, idleBefore: null }, 100)).toEqual({ count: 3, oldest: now - 10 });
      expect((await store.prune(tenantId, 'decisions', { before: now, limit: 2 })).gone).toBe(2);
      expect((await store.prune(tenantId, 'decisions', { before: now, limit: 2 })).gone).toBe(1);
      expect((await store.listDecisions(tenantId, {}, { limit: 10 })).items.map(({ runId, at }) => [runId, at])).toEqual([
        [waiting, now - 10],
        [null, now + day],
      ]);
      expect((await store.listDecisions(other, {}, { limit: 10 })).items).toHaveLength(1);

      expect((await store.prune(tenantId, 'idempotencyKeys', { before: now - day, limit: 10 })).gone).toBe(0);
      expect((await store.prune(tenantId, 'idempotencyKeys', { before: now + day, limit: 10 })).gone).toBe(1);
      expect((await store.commit({ tenantId, idempotency: { key: 'old', requestHash: 'h', resourceId: 'r' } })).type).toBe('committed');
      expect((await store.commit({ tenantId: other, idempotency: { key: 'old', requestHash: 'h', resourceId: 'r' } })).type).toBe(
        'duplicate',
      );

      const reserve = { type: 'reserve', reservationId: 'held', runId: ended, scopes: [], fixed: {}, expiresAt: now + day } as const;
      await store.commit({ tenantId, ledger: [reserve] });
      expect((await store.prune(tenantId, 'reservations', { before: now - day, limit: 10 })).gone).toBe(0);
      expect((await store.prune(tenantId, 'reservations', { before: now + day, limit: 10 })).gone).toBe(1);
      expect((await store.listReservations(tenantId, {})).map((row) => [row.runId, row.state]).sort()).toEqual(
        [
          [ended, 'open'],
          [waiting, 'settled'],
        ].sort(),
      );
      expect(await store.listReservations(other, {})).toHaveLength(1);
    });

    it('lets balances under the limit of every user go when nothing is spent, and come back with what was', async () => {
      const tenantId = newTenant();
      const everyUser: BudgetScope = { kind: 'user', id: '*' };
      const spend = (id: string, name: string, tokens: number) =>
        store.commit({
          tenantId,
          ledger: call(
            id,
            [
              { kind: 'user', id: name },
              { kind: 'tenant', id: tenantId },
            ],
            tokens,
            null,
          ),
        });
      await store.commit({ tenantId, ledger: [{ type: 'limit', scope: everyUser, unit: 'tokens', window: 'total', limit: 10 }] });
      await store.commit({
        tenantId,
        ledger: [{ type: 'limit', scope: { kind: 'user', id: 'eve' }, unit: 'tokens', window: 'total', limit: 9 }],
      });
      await spend('a', 'ann', 7);
      await spend('e', 'eve', 7);
      expect((await store.prune(tenantId, 'idleBalances', { before: Date.now() - day, limit: 10 })).gone).toBe(0);
      expect((await store.prune(tenantId, 'idleBalances', { before: Date.now() + 2 * day, limit: 10 })).gone).toBe(1);
      expect(await spend('b', 'ann', 4)).toMatchObject({ type: 'refused', refusal: { available: 3, limit: 10 } });
      expect(await spend('c', 'ann', 3)).toMatchObject({ type: 'committed' });
      expect(await auditCounted(store, tenantId)).toEqual([]);
    });

    it(`deletes a session of many runs piece by piece, and closes it with the first ${verifies('retention.bounded')}`, async () => {
      const tenantId = newTenant();
      const session = sessionRow(tenantId);
      await store.commit({ tenantId, sessions: [session] });
      const runs = Array.from({ length: 501 }, (_, index) =>
        runRow(tenantId, { sessionId: session.sessionId, status: 'completed', createdAt: 1_000 + index }),
      );
      await Promise.all(runs.map((run) => store.commit({ tenantId, createRun: run })));
      expect(await store.removeSession(tenantId, session.sessionId)).toBe('more');
      expect(await store.getSession(tenantId, session.sessionId)).toMatchObject({ status: 'closed' });
      const left = await store.listRuns(tenantId, { sessionId: session.sessionId }, { limit: 10 });
      expect(left.items.map(({ runId }) => runId)).toEqual([runs.at(-1)?.runId]);
      expect(await store.removeSession(tenantId, session.sessionId)).toBe('removed');
      expect(await store.getSession(tenantId, session.sessionId)).toBeNull();
      const noted = (await store.listRemovals(Date.now() + day, 10_000)).filter((removal) => removal.tenantId === tenantId);
      expect(noted.map(({ kind }) => kind).filter((kind) => kind === 'run')).toHaveLength(501);
      expect(noted.filter(({ kind }) => kind === 'session').map(({ id }) => id)).toEqual([session.sessionId]);
    });

    it('gives a job to one process at a time, until it ends or is not heard of', async () => {
      const name = `job-${newTenant()}`;
      const others = [store, await open(), await open()];
      const claims = await Promise.all(others.map((one, index) => one.claimJob(name, `p${index}`, 300)));
      expect(claims.filter(Boolean)).toHaveLength(1);
      const owner = `p${claims.indexOf(true)}`;
      expect(await store.claimJob(name, owner, 300)).toBe(true);
      expect(await store.claimJob(name, 'late', 300)).toBe(false);
      await expect.poll(() => store.claimJob(name, 'late', 300), { timeout: 3_000 }).toBe(true);
      expect(await store.claimJob(name, owner, 300)).toBe(false);
      await store.releaseJob(name, owner);
      expect(await store.claimJob(name, owner, 300)).toBe(false);
      await store.releaseJob(name, 'late');
      expect(await store.claimJob(name, owner, 300)).toBe(true);
    });

    it('knows every tenant that has anything, and forgets processes that have long ended', async () => {
      const tenantId = newTenant();
      await work(tenantId, 'completed');
      expect(await store.listTenants()).toContain(tenantId);
      const worker = `w-${tenantId}`;
      const busy = `b-${tenantId}`;
      await store.heartbeat(worker, 60_000);
      await store.heartbeat(busy, 60_000);
      const now = await store.now();
      const held = runRow(tenantId, { status: 'running', leaseOwner: busy, epoch: 1 });
      await store.commit({ tenantId, createRun: held });
      expect(await store.pruneWorkers(now + day, 1_000)).toBeGreaterThan(0);
      expect(await store.pruneWorkers(now + day, 1_000)).toBe(0);
      const claimed = await store.claimRuns(`other-${tenantId}`, 1_000);
      expect(claimed.map(({ runId }) => runId)).not.toContain(held.runId);
    });
  });
}
