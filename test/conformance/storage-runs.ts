import type { NewEvent, RunId } from '@nexus-agent/protocol';
import { beforeAll, describe, expect, it } from 'vitest';
import type { ApprovalRow, DecisionRow, RunRow, SessionRow, Store } from '../../packages/server/src/storage/index.ts';
import { ids, newTenant, runRow, sessionRow } from '../support/stores.ts';
import { verifies } from '../support/verifies.ts';

const stepStarted = (step: number): NewEvent => ({ type: 'step.started', data: { step } });

/** Journal, fence, queue and leases. `open` gives a store on a database that all tests share. */
export function describeRunStore(open: () => Promise<Store>): void {
  let store: Store;
  beforeAll(async () => {
    store = await open();
  });
  const worker = () => ids.next<string>('worker');

  /** A run that `owner` drives, with one event. */
  async function running(owner: string, fields: Partial<RunRow> = {}): Promise<RunRow> {
    const run = runRow(newTenant(), { status: 'running', leaseOwner: owner, epoch: 1, ...fields });
    const result = await store.commit({ tenantId: run.tenantId, createRun: run, events: [stepStarted(1)] });
    expect(result.type).toBe('committed');
    return { ...run, lastSeq: 1 };
  }
  /** The same in a session that exists. */
  async function inSession(session: SessionRow): Promise<RunRow> {
    await store.commit({ tenantId: session.tenantId, sessions: [session] });
    return running(worker(), { tenantId: session.tenantId, sessionId: session.sessionId });
  }
  const append = (run: RunRow, lastSeq: number, patch = {}, fields: { epoch?: number; owner?: string } = {}) =>
    store.commit({
      tenantId: run.tenantId,
      run: { runId: run.runId, epoch: run.epoch, owner: run.leaseOwner ?? '', lastSeq, patch, ...fields },
      events: [stepStarted(lastSeq + 1)],
    });
  const current = async (run: RunRow) => {
    const found = await store.getRun(run.tenantId, run.runId);
    if (!found) throw new Error('the run is gone');
    return found;
  };
  /** Claims until `run` is among what was claimed; other tests' runs may be there too. */
  const claim = async (run: RunRow, by: string) => (await store.claimRuns(by, 1000)).find((claimed) => claimed.runId === run.runId);

  describe('journal', () => {
    it(`numbers events without a gap and gives back every field ${verifies('durability.log.gap-free')}`, async () => {
      const run = await running(worker(), {
        model: 'sim/quick',
        parentRunId: ids.next<RunId>('run'),
        budget: { tokens: 100 },
        traceId: 'abc',
        output: 'a\u0000b \ud800',
      });
      expect(await current(run)).toEqual({ ...run, dueAt: null });
      for (let seq = 1; seq <= 5; seq++) {
        const result = await append(run, seq, { step: seq });
        expect(result).toMatchObject({ type: 'committed', events: [{ seq: seq + 1, type: 'step.started', data: `{"step":${seq + 1}}` }] });
      }
      const events = await store.readEvents(run.tenantId, run.runId, { after: 0, limit: 100 });
      expect(events.map((event) => event.seq)).toEqual([1, 2, 3, 4, 5, 6]);
      expect((await store.readEvents(run.tenantId, run.runId, { after: 2, limit: 2 })).map((event) => event.seq)).toEqual([3, 4]);
      expect(await current(run)).toMatchObject({ lastSeq: 6, step: 5 });
    });

    it(`refuses a worker with another epoch, owner or length, and writes nothing of it ${verifies('durability.fencing')}`, async () => {
      const run = await running(worker());
      expect(await append(run, 1, { step: 9 }, { epoch: 0 })).toEqual({ type: 'fenced' });
      expect(await append(run, 1, { step: 9 }, { owner: 'wrk_other' })).toEqual({ type: 'fenced' });
      expect(await append(run, 0, { step: 9 })).toEqual({ type: 'fenced' });
      expect(await append(run, 2, { step: 9 })).toEqual({ type: 'fenced' });
      expect(await append({ ...run, runId: ids.next<RunId>('run') }, 1)).toEqual({ type: 'fenced' });
      expect(await current(run)).toMatchObject({ lastSeq: 1, step: 0 });
    });

    it('lets exactly one of two writers that append at the same place win', async () => {
      const run = await running(worker());
      const results = await Promise.all([append(run, 1), append(run, 1), append(run, 1)]);
      expect(results.map((result) => result.type).sort()).toEqual(['committed', 'fenced', 'fenced']);
    });

    it('lets commits that wait together follow one another on one run', async () => {
      const run = await running(worker());
      const results = await Promise.all([1, 2, 3, 4].map((seq) => append(run, seq, { step: seq })));
      expect(results.map((result) => result.type)).toEqual(['committed', 'committed', 'committed', 'committed']);
      expect(await current(run)).toMatchObject({ lastSeq: 5, step: 4 });
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

  describe('queue and leases', () => {
    it('gives a due run to exactly one of many workers, with the next epoch', async () => {
      const run = runRow(newTenant(), { dueAt: Date.now() - 1000 });
      const later = runRow(run.tenantId, { dueAt: Date.now() + 3_600_000 });
      const never = runRow(run.tenantId);
      for (const each of [run, later, never]) await store.commit({ tenantId: each.tenantId, createRun: each });
      const workers = Array.from({ length: 8 }, worker);
      await Promise.all(workers.map((each) => store.heartbeat(each, 60_000)));
      const claims = await Promise.all(workers.map((each) => store.claimRuns(each, 100)));
      const claimed = claims.flat().filter((each) => each.tenantId === run.tenantId);
      expect(claimed).toHaveLength(1);
      expect(claimed[0]).toMatchObject({ runId: run.runId, epoch: 1, status: 'running', dueAt: null });
      expect({ ...(await current(run)), lostAt: null, deaths: 0, diedAlone: false }).toEqual(claimed[0]);
    });

    it(`hands over the runs of a worker whose lease ended, and fences it ${verifies('durability.takeover', 'durability.fencing')}`, async () => {
      const first = worker();
      const second = worker();
      await store.heartbeat(first, 60_000);
      await store.heartbeat(second, 60_000);
      const run = await running(first);
      expect(await claim(run, second)).toBeUndefined();
      await store.heartbeat(first, 1);
      await new Promise((resolve) => setTimeout(resolve, 20));
      const taken = await claim(run, second);
      expect(taken).toMatchObject({ epoch: 2, leaseOwner: second, lostAt: expect.any(Number) });
      expect((await store.now()) - (taken?.lostAt ?? 0)).toBeLessThan(5_000);
      await store.heartbeat(first, 60_000);
      expect(await append(run, 1)).toEqual({ type: 'fenced' });
      expect(await claim(run, first)).toBeUndefined();
      await store.retireWorker(second);
      // A lease that was given up has not been lost.
      expect(await claim(run, first)).toMatchObject({ epoch: 3, leaseOwner: first, lostAt: null });
    });

    /** Its worker dies, and the lease of it ends. */
    async function die(owner: string): Promise<void> {
      await store.heartbeat(owner, 1);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    /** Claims of suspects until this run is among them; other tests leave some behind. */
    async function claimSuspect(run: RunRow, by: string, isAlone = true, setAside = 13) {
      const next = () => store.claimSuspect(by, isAlone, setAside);
      for (let found = await next(); found !== null; found = await next()) if (found.runId === run.runId) return found;
      return null;
    }
    async function live(): Promise<string> {
      const owner = worker();
      await store.heartbeat(owner, 60_000);
      return owner;
    }

    it(`counts the deaths of workers, and gives a run that lost two to be driven alone ${verifies('hostile.kill.poisonous')}`, async () => {
      const workers = await Promise.all(Array.from({ length: 5 }, live));
      const [a = '', b = '', c = '', d = '', e = ''] = workers;
      const run = await running(a);
      await die(a);
      expect(await claim(run, b)).toMatchObject({ deaths: 1, diedAlone: false });
      await die(b);
      expect(await claim(run, c)).toBeUndefined();
      expect(await store.hasSuspect(13)).toBe(true);
      expect(await claimSuspect(run, c)).toMatchObject({ deaths: 2, diedAlone: false, leaseOwner: c, status: 'running' });
      await die(c);
      expect(await claim(run, d)).toBeUndefined();
      const again = await claimSuspect(run, d, false);
      expect(again).toMatchObject({ deaths: 3, diedAlone: true });
      await die(d);
      await claim(run, e);
      // It was driven beside others: nobody knows of which it died.
      const cleared = await claimSuspect(run, e);
      expect(cleared).toMatchObject({ deaths: 4, diedAlone: false });
      if (cleared !== null) await store.clearSuspect(cleared);
      await die(e);
      const last = await live();
      await claim(run, last);
      expect(await claimSuspect(run, last)).toMatchObject({ deaths: 5, diedAlone: false });
    });

    it(`leaves a run to lie whose workers died so often, and remembers of one that is resumed what it is told ${verifies('hostile.kill.poisonous')}`, async () => {
      let owner = await live();
      const session = sessionRow(newTenant());
      await store.commit({ tenantId: session.tenantId, sessions: [session] });
      const run = await running(owner, { tenantId: session.tenantId, sessionId: session.sessionId });
      let held: RunRow | null | undefined = run;
      for (let deaths = 1; deaths <= 6; deaths++) {
        await die(owner);
        owner = await live();
        const [after, before] = [await claim(run, owner), await claimSuspect(run, owner, true, deaths)];
        expect([before, await store.hasSuspect(deaths)], `${deaths}`).toEqual([null, false]);
        held = after ?? (await claimSuspect(run, owner, true, deaths + 1));
        expect(held).toMatchObject({ deaths });
      }
      for (const [index, mostDeaths] of [9, 4].entries()) {
        expect(await append(held ?? run, 1 + index, { status: 'failed', resumable: true, leaseOwner: null })).toMatchObject({
          type: 'committed',
        });
        expect(await store.requeueRun(run.tenantId, run.runId, undefined, mostDeaths)).toBe('requeued');
        held = await claimSuspect(run, owner);
        expect(held).toMatchObject({ deaths: Math.min(6, mostDeaths) });
      }
    });

    it(`takes the death of a worker that tried a suspect for the doing of that one, and of nobody else ${verifies('hostile.kill.poisonous')}`, async () => {
      const [a = '', b = '', c = '', d = ''] = await Promise.all(Array.from({ length: 4 }, live));
      const [killer, innocent] = [await running(a), await running(a)];
      await die(a);
      await claim(killer, b); // and the other with it
      await die(b);
      await claim(killer, c);
      for (let found = await store.claimSuspect(c, true, 13); found !== null; found = await store.claimSuspect(c, true, 13)) {
        await store.clearSuspect(found);
        if (found.runId === killer.runId) await append(found, 1, { status: 'queued', leaseOwner: null, dueAt: Date.now() + 100 });
      }
      const bystander = await running(c);
      await expect.poll(() => claimSuspect(killer, c, false)).toMatchObject({ deaths: 2, diedAlone: false });
      await die(c);
      expect(await claim(bystander, d)).toMatchObject({ deaths: 0 });
      const order: [string, number, boolean][] = [];
      for (let found = await store.claimSuspect(d, true, 13); found !== null; found = await store.claimSuspect(d, true, 13))
        if ([killer.runId, innocent.runId].includes(found.runId)) order.push([found.runId, found.deaths, found.diedAlone]);
      expect(order).toEqual([
        [killer.runId, 3, false],
        [innocent.runId, 2, false],
      ]);
    });

    it(`forgets the deaths of a run that got on, and counts no worker that was told to end ${verifies('hostile.kill.progress')}`, async () => {
      const outcome = (callId: string): NewEvent => ({
        type: 'tool.completed',
        data: { step: 1, callId, name: 'probe', outcome: 'ok', output: 'x', durationMs: 1 } as never, // the store does not look into it
      });
      let owner = await live();
      let run = await running(owner);
      for (let death = 1; death <= 6; death++) {
        await die(owner);
        owner = await live();
        const taken = await claim(run, owner);
        expect(taken).toMatchObject({ deaths: 1 });
        const { epoch = 0 } = taken ?? {};
        const patch = { runId: run.runId, epoch, owner, lastSeq: run.lastSeq, patch: {} };
        const result = await store.commit({ tenantId: run.tenantId, run: patch, events: [outcome(`call_${death}`)] });
        expect(result.type).toBe('committed');
        run = { ...run, lastSeq: run.lastSeq + 1 };
      }
      await store.retireWorker(owner);
      expect(await claim(run, await live())).toMatchObject({ deaths: 0 });
    });

    it('says which running runs belong to a worker', async () => {
      const owner = worker();
      await store.heartbeat(owner, 60_000);
      const mine = await running(owner);
      const ended = await running(owner);
      await append(ended, 1, { status: 'completed', leaseOwner: null });
      expect(await store.ownedRuns(owner)).toEqual([{ tenantId: mine.tenantId, runId: mine.runId, epoch: mine.epoch }]);
      expect(await store.ownedRuns(worker())).toEqual([]);
    });

    it('takes over a run whose owner was never heard of', async () => {
      const run = await running(worker());
      expect(await claim(run, worker())).toMatchObject({ epoch: 2 });
    });

    it('does not lose a wake-up that arrives while the run still runs', async () => {
      const owner = worker();
      await store.heartbeat(owner, 60_000);
      const parent = await running(owner);
      await store.commit({ tenantId: parent.tenantId, wake: [parent.runId] });
      expect(await claim(parent, worker())).toBeUndefined();
      await append(parent, 1, { status: 'waiting', waiting: { reason: 'child' }, leaseOwner: null, dueAt: null });
      expect(await claim(parent, worker())).toMatchObject({ epoch: 2 });
    });

    it('leaves a waiting run alone until somebody wakes it', async () => {
      const parent = await running(worker());
      await append(parent, 1, { status: 'waiting', waiting: { reason: 'child', childRuns: ['run_x'] }, leaseOwner: null });
      expect(await claim(parent, worker())).toBeUndefined();
      expect(await current(parent)).toMatchObject({ waiting: { reason: 'child', childRuns: ['run_x'] }, leaseOwner: null });
      await store.commit({ tenantId: parent.tenantId, wake: [parent.runId] });
      expect(await claim(parent, worker())).toMatchObject({ status: 'running' });
    });

    it('tells the owner of a cancel request by its heartbeat, and makes a resting run due', async () => {
      const owner = worker();
      const run = await running(owner);
      await store.heartbeat(owner, 60_000);
      expect(await store.requestCancel(run.tenantId, run.runId, 'changed my mind')).toBe(true);
      expect(await store.requestCancel(run.tenantId, run.runId, 'another reason')).toBe(true);
      const { tenantId, runId } = run;
      expect((await store.heartbeat(owner, 60_000)).cancelRequested).toEqual([{ tenantId, runId, reason: 'changed my mind' }]);
      await append(run, 1, { status: 'cancelled' });
      expect((await store.heartbeat(owner, 60_000)).cancelRequested).toEqual([]);
      expect(await store.requestCancel(run.tenantId, run.runId, 'too late')).toBe(false);
      expect(await store.requestCancel(run.tenantId, runRow(run.tenantId).runId, 'unknown')).toBe(false);

      const resting = runRow(newTenant());
      await store.commit({ tenantId: resting.tenantId, createRun: resting });
      expect(await store.requestCancel(resting.tenantId, resting.runId, 'stop')).toBe(true);
      expect(await claim(resting, owner)).toMatchObject({ cancelRequested: 'stop' });
    });

    it('lets no run rest that was asked to cancel, also after another owner has heard of it', async () => {
      const run = await running(worker());
      await store.requestCancel(run.tenantId, run.runId, 'stop');
      const next = worker();
      const taken = await claim(run, next);
      if (taken === undefined) throw new Error('its owner was never heard of, so that it is claimed');
      await append(taken, 1, { status: 'waiting', waiting: { reason: 'child' }, leaseOwner: null, dueAt: null });
      expect(await claim(run, worker())).toMatchObject({ epoch: 3, cancelRequested: 'stop' });
    });

    it(`requeues a failed run that can be resumed, once, with the decision that permits it ${verifies('run.resume.closed')}`, async () => {
      const session = sessionRow(newTenant());
      const run = await inSession(session);
      const requeue = (permit?: DecisionRow) => store.requeueRun(run.tenantId, run.runId, permit);
      const permits = ['dec_1', 'dec_2', 'dec_3'].map((id) => decision(id, run.runId));
      const decisions = async () => (await store.listDecisions(run.tenantId, { runId: run.runId }, { limit: 10 })).items.length;
      expect(await requeue(permits[0])).toBe('not_resumable');
      await append(run, 1, { status: 'failed', resumable: true, error: { code: 'budget_exceeded', message: 'too dear' } });
      expect(await current(run)).toMatchObject({ status: 'failed', leaseOwner: null, error: { code: 'budget_exceeded' } });
      expect(await decisions()).toBe(0);
      expect((await Promise.all([requeue(permits[1]), requeue(permits[2])])).sort()).toEqual(['not_resumable', 'requeued']);
      expect(await decisions()).toBe(1);
      expect(await claim(run, worker())).toMatchObject({ epoch: 2, status: 'running' });
      expect(await store.requeueRun(run.tenantId, runRow(run.tenantId).runId)).toBe('not_resumable');
    });

    it(`requeues nothing into a session that is closed, also at the same time ${verifies('run.resume.closed')}`, async () => {
      for (let round = 0; round < 10; round++) {
        const session = sessionRow(newTenant());
        const run = await inSession(session);
        await append(run, 1, { status: 'failed', resumable: true });
        const [requeued] = await Promise.all([
          store.requeueRun(run.tenantId, run.runId, decision('dec_1', run.runId)),
          store.closeSession(session.tenantId, session.sessionId, 'over'),
        ]);
        const row = await current(run);
        // Either it came first, and is asked to cancel, or it was too late.
        if (requeued === 'requeued') expect(row).toMatchObject({ status: 'queued', cancelRequested: 'over' });
        else expect([requeued, row.status]).toEqual(['closed', 'failed']);
        expect(await store.requeueRun(run.tenantId, run.runId)).not.toBe('requeued');
        expect((await store.listDecisions(run.tenantId, {}, { limit: 10 })).items).toHaveLength(requeued === 'requeued' ? 1 : 0);
      }
    });

    it('closes a session with all that is open in it, and withdraws the questions of what failed there', async () => {
      const session = sessionRow(newTenant());
      const open = await Promise.all([inSession(session), inSession(session), inSession(session)]);
      const [driven, waiting, failed] = open;
      const others = await running(worker(), { tenantId: session.tenantId });
      const question = approvalRow(failed);
      await store.commit({ tenantId: session.tenantId, approvals: [question, approvalRow(others)] });
      await append(waiting, 1, { status: 'waiting', waiting: { reason: 'child' }, leaseOwner: null });
      await append(failed, 1, { status: 'failed', resumable: true });
      expect(await store.closeSession(session.tenantId, session.sessionId, 'over')).toBe(true);
      expect((await store.heartbeat(driven.leaseOwner ?? '', 60_000)).cancelRequested).toEqual([
        { tenantId: session.tenantId, runId: driven.runId, reason: 'over' },
      ]);
      expect(await claim(waiting, worker())).toMatchObject({ cancelRequested: 'over' });
      expect(await current(failed)).toMatchObject({ status: 'failed', cancelRequested: null });
      expect(await store.getApproval(session.tenantId, question.approvalId)).toMatchObject({ status: 'cancelled' });
      expect((await store.listApprovals(session.tenantId, { status: 'pending' }, { limit: 10 })).items).toHaveLength(1);
      expect(await current(others)).toMatchObject({ cancelRequested: null });
    });
  });

  describe('approvals', () => {
    it(`keeps the first of two answers and makes the run due ${verifies('approval.restart')}`, async () => {
      const run = await running(worker());
      const approval = approvalRow(run);
      await store.commit({
        tenantId: run.tenantId,
        run: {
          runId: run.runId,
          epoch: 1,
          owner: run.leaseOwner ?? '',
          lastSeq: 1,
          patch: { status: 'waiting', waiting: { reason: 'approval', approvals: [approval.approvalId] }, leaseOwner: null },
        },
        approvals: [approval],
      });
      expect(await store.getApproval(run.tenantId, approval.approvalId)).toEqual(approval);
      expect((await store.listApprovals(run.tenantId, { status: 'pending' }, { limit: 10 })).items).toEqual([approval]);
      const answer = (decidedBy: string) =>
        store.answerApproval(run.tenantId, approval.approvalId, {
          decision: 'approve',
          answer: { arguments: { path: 'b' }, note: 'fine' },
          decidedBy,
          at: 5,
          permit: decision(`pdc_${decidedBy}_${approval.approvalId}`, run.runId),
        });
      const answers = await Promise.all([answer('ann'), answer('bob')]);
      expect(answers.map((each) => each.type).sort()).toEqual(['already', 'decided']);
      const decided = await store.getApproval(run.tenantId, approval.approvalId);
      expect(answers.every((each) => each.type !== 'not_found' && each.approval.decidedBy === decided?.decidedBy)).toBe(true);
      expect(decided).toMatchObject({ status: 'decided', decision: 'approve', answer: { arguments: { path: 'b' }, note: 'fine' } });
      const { items } = await store.listDecisions(run.tenantId, { runId: run.runId }, { limit: 10 });
      expect(items.map(({ id }) => id)).toEqual([`pdc_${decided?.decidedBy}_${approval.approvalId}`]);
      expect(await claim(run, worker())).toMatchObject({ epoch: 2 });
      expect(
        await store.answerApproval(newTenant(), approval.approvalId, { decision: 'deny', answer: null, decidedBy: 'eve', at: 5 }),
      ).toEqual({
        type: 'not_found',
      });
    });

    it('makes the run due as soon as it waits when the answer came while it still ran', async () => {
      const run = await running(worker());
      const approval = approvalRow(run);
      await store.commit({ tenantId: run.tenantId, approvals: [approval] });
      await store.answerApproval(run.tenantId, approval.approvalId, { decision: 'approve', answer: null, decidedBy: 'ann', at: 1 });
      expect(await current(run)).toMatchObject({ status: 'running', dueAt: null });
      await append(run, 1, {
        status: 'waiting',
        waiting: { reason: 'approval', approvals: [approval.approvalId] },
        leaseOwner: null,
        dueAt: null,
      });
      expect(await claim(run, worker())).toMatchObject({ epoch: 2 });
    });

    it(`closes one that is asked and withdrawn in the same commit ${verifies('approval.withdrawn')}`, async () => {
      const run = await running(worker());
      const [asked, kept] = [approvalRow(run), approvalRow(run)];
      await store.commit({
        tenantId: run.tenantId,
        approvals: [asked, kept],
        closeApprovals: [{ approvalId: asked.approvalId, status: 'cancelled' }],
      });
      expect(await store.getApproval(run.tenantId, asked.approvalId)).toEqual({ ...asked, status: 'cancelled' });
      expect((await store.listApprovals(run.tenantId, { status: 'pending' }, { limit: 10 })).items).toEqual([kept]);
    });

    it('closes an approval with the commit, unless it was answered first', async () => {
      const run = await running(worker());
      const pending = approvalRow(run);
      const answered = approvalRow(run);
      await store.commit({ tenantId: run.tenantId, approvals: [pending, answered] });
      await store.answerApproval(run.tenantId, answered.approvalId, { decision: 'deny', answer: null, decidedBy: 'ann', at: 1 });
      const close = [pending, answered].map(({ approvalId }) => ({ approvalId, status: 'cancelled' as const }));
      await store.commit({ tenantId: run.tenantId, closeApprovals: close });
      expect((await store.getApproval(run.tenantId, pending.approvalId))?.status).toBe('cancelled');
      expect((await store.getApproval(run.tenantId, answered.approvalId))?.status).toBe('decided');
    });
  });
}

function approvalRow(run: RunRow): ApprovalRow {
  return {
    tenantId: run.tenantId,
    approvalId: ids.next<string>('approval'),
    runId: run.runId,
    sessionId: run.sessionId,
    callId: 'call_1',
    kind: 'tool_call',
    status: 'pending',
    toolName: 'fs_write',
    input: { path: 'a', text: '\u0000' },
    question: null,
    role: 'lead',
    defaultDecision: 'deny',
    deadlineAt: 10,
    decision: null,
    answer: null,
    decidedBy: null,
    decidedAt: null,
    createdAt: 1,
  };
}

function decision(id: string, runId: RunId): DecisionRow {
  return {
    ...{ id, runId, callId: null, argumentsHash: null, at: 5 },
    ...{ effect: 'allow', action: 'approval.grant', principal: 'User::"ann"', resource: 'Approval::"x"', reasons: [], policyVersion: '1' },
  };
}
