import type { RunId } from '@nexus-agent/protocol';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Store } from '../../packages/server/src/storage/index.ts';
import { ids, newTenant, runRow, sessionRow } from '../support/stores.ts';
import { verifies } from '../support/verifies.ts';
import { approvalRow, runWork, worker } from './storage-run-work.ts';

/** The journal of runs, its fence, and commits that are written together. `open` gives a store on a database that all tests share. */
export function describeJournal(open: () => Promise<Store>): void {
  let store: Store;
  let work: ReturnType<typeof runWork>;
  beforeAll(async () => {
    store = await open();
    work = runWork(store);
  });

  describe('journal', () => {
    it(`numbers events without a gap and gives back every field ${verifies('durability.log.gap-free')}`, async () => {
      const run = await work.running(worker(), {
        model: 'sim/quick',
        parentRunId: ids.next<RunId>('run'),
        budget: { tokens: 100 },
        traceId: 'abc',
        output: 'a\u0000b \ud800',
      });
      expect(await work.current(run)).toEqual({ ...run, dueAt: null });
      for (let seq = 1; seq <= 5; seq++) {
        const result = await work.append(run, seq, { step: seq });
        expect(result).toMatchObject({ type: 'committed', events: [{ seq: seq + 1, type: 'step.started', data: `{"step":${seq + 1}}` }] });
      }
      const events = await store.readEvents(run.tenantId, run.runId, { after: 0, limit: 100 });
      expect(events.map((event) => event.seq)).toEqual([1, 2, 3, 4, 5, 6]);
      expect((await store.readEvents(run.tenantId, run.runId, { after: 2, limit: 2 })).map((event) => event.seq)).toEqual([3, 4]);
      expect(await work.current(run)).toMatchObject({ lastSeq: 6, step: 5 });
    });

    it('tells readers that look for news at a time the newest event of each run', async () => {
      const runs = await Promise.all([0, 1, 2].map(() => work.running(worker())));
      const [first, second] = runs;
      if (first === undefined || second === undefined) throw new Error('there are three');
      await work.append(second, 1, { step: 1 });
      const look = () => Promise.all([...runs, ...runs].map((run) => store.lastSeqOf(run.tenantId, run.runId)));
      expect(await look()).toEqual([1, 2, 1, 1, 2, 1]);
      await work.append(first, 1, { step: 1 });
      expect(await look()).toEqual([2, 2, 1, 2, 2, 1]);
      expect(await store.lastSeqOf(newTenant(), first.runId)).toBeNull();
    });

    it('gives a reader no more than it may hold, and of a longer event everything but its data', async () => {
      const run = await work.running(worker());
      for (let seq = 1; seq <= 4; seq++) await work.append(run, seq);
      const { tenantId, runId } = run;
      const [, second] = await store.readEvents(tenantId, runId, { after: 0, limit: 2 });
      const chars = second?.data.length ?? 0;
      const within = (limit: number, maxChars: number) => store.readEventsWithin(tenantId, runId, { after: 1, limit, maxChars });
      expect((await within(10, 2 * chars)).map((event) => event.seq)).toEqual([2, 3]);
      for (const limit of [1, 10]) {
        expect((await within(limit, chars))[0]).toEqual({ ...second, chars });
        expect(await within(limit, chars - 1)).toEqual([{ ...second, chars, data: '' }]);
        expect(await store.readEventsWithin(tenantId, runId, { after: 5, limit, maxChars: chars })).toEqual([]);
      }
    });

    it(`refuses a worker with another epoch, owner or length, and writes nothing of it ${verifies('durability.fencing')}`, async () => {
      const run = await work.running(worker());
      expect(await work.append(run, 1, { step: 9 }, { epoch: 0 })).toEqual({ type: 'fenced' });
      expect(await work.append(run, 1, { step: 9 }, { owner: 'wrk_other' })).toEqual({ type: 'fenced' });
      expect(await work.append(run, 0, { step: 9 })).toEqual({ type: 'fenced' });
      // Its holder cannot know more of a run than its row does: that is no news but a row that went back.
      await expect(work.append(run, 2, { step: 9 })).rejects.toMatchObject({ invariant: 'journal_sequence' });
      expect(await work.append({ ...run, runId: ids.next<RunId>('run') }, 1)).toEqual({ type: 'fenced' });
      expect(await work.current(run)).toMatchObject({ lastSeq: 1, step: 0 });
    });

    it('lets exactly one of two writers that append at the same place win', async () => {
      const run = await work.running(worker());
      const results = await Promise.all([work.append(run, 1), work.append(run, 1), work.append(run, 1)]);
      expect(results.map((result) => result.type).sort()).toEqual(['committed', 'fenced', 'fenced']);
    });

    it('lets commits that wait together follow one another on one run', async () => {
      const run = await work.running(worker());
      const results = await Promise.all([1, 2, 3, 4].map((seq) => work.append(run, seq, { step: seq })));
      expect(results.map((result) => result.type)).toEqual(['committed', 'committed', 'committed', 'committed']);
      expect(await work.current(run)).toMatchObject({ lastSeq: 5, step: 4 });
    });

    it('calls the function of events with the outcomes of the ledger', async () => {
      const run = runRow(newTenant());
      const scope = { kind: 'run', id: run.runId } as const;
      const result = await store.commit({
        tenantId: run.tenantId,
        createRun: run,
        ledger: [
          { type: 'limit', scope, unit: 'tokens', window: 'total', limit: 10 },
          {
            type: 'reserve',
            reservationId: 'rsv_1',
            runId: run.runId,
            scopes: [scope],
            fixed: {},
            tokens: { min: 1, max: 99, costMicroUsdPerMillion: 0 },
            expiresAt: Date.now() + 60_000,
          },
        ],
        events: (outcomes) =>
          outcomes.flatMap((outcome) =>
            outcome.type === 'reserved' ? [{ type: 'budget.reserved', data: { reservationId: 'rsv_1', amounts: outcome.amounts } }] : [],
          ),
      });
      expect(result).toMatchObject({ type: 'committed', events: [{ seq: 1, type: 'budget.reserved' }] });
      expect(JSON.parse((result.type === 'committed' && result.events[0]?.data) || '')).toMatchObject({ amounts: { tokens: 10 } });
    });

    it('answers a repeated creation as a duplicate, also when its session has been closed since', async () => {
      const run = runRow(newTenant());
      expect((await store.commit({ tenantId: run.tenantId, createRun: run })).type).toBe('committed');
      expect(await store.commit({ tenantId: run.tenantId, createRun: run })).toEqual({
        type: 'duplicate',
        resourceId: run.runId,
        sameRequest: true,
      });
      const closed = { tenantId: run.tenantId, openSession: run.sessionId };
      expect(await store.commit({ ...closed, createRun: run })).toMatchObject({ type: 'duplicate' });
      expect(await store.commit({ ...closed, createRun: runRow(run.tenantId) })).toEqual({ type: 'closed' });
    });
  });

  describe('group commit', () => {
    it('keeps the fates of neighbours apart: refused, fenced, duplicate, broken and poisonous ones harm no other', async () => {
      const tenantId = newTenant();
      const scope = { kind: 'tenant', id: tenantId } as const;
      await store.commit({ tenantId, ledger: [{ type: 'limit', scope, unit: 'tokens', window: 'total', limit: 5 }] });
      const reserve = (reservationId: string, tokens: number) =>
        ({ type: 'reserve', reservationId, runId: null, scopes: [scope], fixed: { tokens }, expiresAt: 1 }) as const;
      const poisonous = approvalRow(runRow(tenantId));
      await store.commit({ tenantId, approvals: [poisonous] });
      const good = Array.from({ length: 6 }, () => sessionRow(tenantId));
      const claim = { key: 'claimed', requestHash: 'h', resourceId: 'x' };
      const results = await Promise.allSettled([
        store.commit({ tenantId, sessions: good.slice(0, 1), idempotency: claim }),
        store.commit({ tenantId, sessions: [sessionRow(tenantId)], ledger: [reserve('a', 4), reserve('b', 4)] }),
        store.commit({ tenantId, sessions: good.slice(1, 2) }),
        store.commit({
          tenantId,
          sessions: [sessionRow(tenantId)],
          run: { runId: runRow(tenantId).runId, epoch: 1, owner: 'w', lastSeq: 0, patch: {} },
        }),
        store.commit({ tenantId, sessions: good.slice(2, 3) }),
        store.commit({ tenantId, sessions: [sessionRow(tenantId)], idempotency: { ...claim, requestHash: 'other' } }),
        store.commit({ tenantId, sessions: good.slice(3, 4) }),
        store.commit({
          tenantId,
          sessions: [sessionRow(tenantId)],
          createRun: runRow(tenantId),
          events: () => {
            throw new Error('broken events');
          },
        }),
        store.commit({ tenantId, sessions: good.slice(4, 5), ledger: [reserve('c', 5)] }),
        store.commit({ tenantId, sessions: [sessionRow(tenantId)], approvals: [poisonous] }),
        store.commit({ tenantId, sessions: [sessionRow(tenantId, { user: 'a\u0000b' })] }),
        store.commit({ tenantId, sessions: good.slice(5) }),
      ]);
      expect(results.map((result) => (result.status === 'fulfilled' ? result.value.type : 'rejected'))).toEqual([
        'committed',
        'refused',
        'committed',
        'fenced',
        'committed',
        'duplicate',
        'committed',
        'rejected',
        'committed',
        'rejected',
        'rejected',
        'committed',
      ]);
      const stored = (await store.listSessions(tenantId, { limit: 50 })).items.map((session) => session.sessionId);
      expect(stored.sort()).toEqual(good.map((session) => session.sessionId).sort());
      expect((await store.listReservations(tenantId, {})).map((row) => row.reservationId)).toEqual(['c']);
    });

    it('closes an approval that a neighbour in the same transaction has opened', async () => {
      const approval = approvalRow(runRow(newTenant()));
      const { tenantId, approvalId } = approval;
      await Promise.all([
        store.commit({ tenantId, approvals: [approval] }),
        store.commit({ tenantId, closeApprovals: [{ approvalId, status: 'cancelled' }] }),
      ]);
      expect(await store.getApproval(tenantId, approvalId)).toMatchObject({ status: 'cancelled' });
    });

    it('refuses keys that no database can hold, and writes the neighbours', async () => {
      const tenantId = newTenant();
      const scope = { kind: 'tenant', id: tenantId } as const;
      const bad = '\u0000';
      const reserve = { type: 'reserve', reservationId: 'a', runId: null, scopes: [scope], fixed: {}, expiresAt: 1 } as const;
      const session = sessionRow(tenantId);
      const results = await Promise.allSettled([
        store.commit({ tenantId, idempotency: { key: bad, requestHash: 'h', resourceId: 'r' } }),
        store.commit({ tenantId, ledger: [{ ...reserve, reservationId: bad }] }),
        store.commit({ tenantId, ledger: [{ ...reserve, scopes: [{ kind: 'user', id: bad }] }] }),
        store.commit({ tenantId, ledger: [{ type: 'settle', reservationId: bad, actual: {} }] }),
        store.commit({ tenantId, sessions: [session] }),
      ]);
      const invalid = { status: 'rejected', reason: { code: 'invalid_request' } };
      expect(results).toMatchObject([invalid, invalid, invalid, invalid, { status: 'fulfilled', value: { type: 'committed' } }]);
      expect(await store.getSession(tenantId, session.sessionId)).toEqual(session);
    });

    it('refuses commits after close, and writes those accepted before', async () => {
      const own = await open();
      const session = sessionRow(newTenant());
      const accepted = own.commit({ tenantId: session.tenantId, sessions: [session] });
      const closed = own.close();
      await expect(own.commit({ tenantId: session.tenantId, sessions: [] })).rejects.toMatchObject({ code: 'storage_unavailable' });
      await closed;
      expect((await accepted).type).toBe('committed');
      expect(await store.getSession(session.tenantId, session.sessionId)).toEqual(session);
    });
  });
}
