import type { NewEvent } from '@nexus-agent/protocol';
import { beforeAll, describe, expect, it } from 'vitest';
import type { DecisionRow, RunRow, Store } from '../../packages/server/src/storage/index.ts';
import { newTenant, runRow, sessionRow } from '../support/stores.ts';
import { verifies } from '../support/verifies.ts';
import { approvalRow, decision, runWork, worker } from './storage-run-work.ts';

/** The queue of runs, and their leases. `open` gives a store on a database that all tests share. */
export function describeQueue(open: () => Promise<Store>): void {
  let store: Store;
  let work: ReturnType<typeof runWork>;
  beforeAll(async () => {
    store = await open();
    work = runWork(store);
  });

  describe('queue and leases', () => {
    it('takes no run for due in days because the clock of a process was set when it was written', async () => {
      const run = runRow(newTenant(), { dueAt: Date.now() + 3 * 86_400_000 });
      await store.commit({ tenantId: run.tenantId, createRun: run });
      const taker = worker();
      await store.heartbeat(taker, 60_000);
      expect((await store.claimRuns(taker, 100)).map(({ runId }) => runId)).toContain(run.runId);
    });

    it('gives a due run to exactly one of many workers, with the next epoch', async () => {
      const run = runRow(newTenant(), { dueAt: Date.now() - 1000 });
      const later = runRow(run.tenantId, { dueAt: Date.now() + 3_600_000, waiting: { reason: 'session', behind: run.runId } });
      const never = runRow(run.tenantId);
      for (const each of [run, later, never]) await store.commit({ tenantId: each.tenantId, createRun: each });
      const workers = Array.from({ length: 8 }, worker);
      await Promise.all(workers.map((each) => store.heartbeat(each, 60_000)));
      const claims = await Promise.all(workers.map((each) => store.claimRuns(each, 100)));
      const claimed = claims.flat().filter((each) => each.tenantId === run.tenantId);
      expect(claimed).toHaveLength(1);
      expect(claimed[0]).toMatchObject({ runId: run.runId, epoch: 1, status: 'running', dueAt: null });
      expect({ ...(await work.current(run)), lostAt: null, deaths: 0, diedAlone: false }).toEqual(claimed[0]);
    });

    it(`hands over the runs of a worker whose lease ended, and fences it ${verifies('durability.takeover', 'durability.fencing')}`, async () => {
      const first = worker();
      const second = worker();
      await store.heartbeat(first, 60_000);
      await store.heartbeat(second, 60_000);
      const run = await work.running(first);
      expect(await work.claim(run, second)).toBeUndefined();
      await store.heartbeat(first, 1);
      await new Promise((resolve) => setTimeout(resolve, 20));
      const taken = await work.claim(run, second);
      expect(taken).toMatchObject({ epoch: 2, leaseOwner: second, lostAt: expect.any(Number) });
      expect((await store.now()) - (taken?.lostAt ?? 0)).toBeLessThan(5_000);
      await store.heartbeat(first, 60_000);
      expect(await work.append(run, 1)).toEqual({ type: 'fenced' });
      expect(await work.claim(run, first)).toBeUndefined();
      await store.retireWorker(second);
      // A lease that was given up has not been lost.
      expect(await work.claim(run, first)).toMatchObject({ epoch: 3, leaseOwner: first, lostAt: null });
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
      const run = await work.running(a);
      await die(a);
      expect(await work.claim(run, b)).toMatchObject({ deaths: 1, diedAlone: false });
      await die(b);
      expect(await work.claim(run, c)).toBeUndefined();
      expect(await store.hasSuspect(13)).toBe(true);
      expect(await claimSuspect(run, c)).toMatchObject({ deaths: 2, diedAlone: false, leaseOwner: c, status: 'running' });
      await die(c);
      expect(await work.claim(run, d)).toBeUndefined();
      const again = await claimSuspect(run, d, false);
      expect(again).toMatchObject({ deaths: 3, diedAlone: true });
      await die(d);
      await work.claim(run, e);
      // It was driven beside others: nobody knows of which it died.
      const cleared = await claimSuspect(run, e);
      expect(cleared).toMatchObject({ deaths: 4, diedAlone: false });
      if (cleared !== null) await store.clearSuspect(cleared);
      await die(e);
      const last = await live();
      await work.claim(run, last);
      expect(await claimSuspect(run, last)).toMatchObject({ deaths: 5, diedAlone: false });
    });

    it(`leaves a run to lie whose workers died so often, and remembers of one that is resumed what it is told ${verifies('hostile.kill.poisonous')}`, async () => {
      let owner = await live();
      const session = sessionRow(newTenant());
      await store.commit({ tenantId: session.tenantId, sessions: [session] });
      const run = await work.running(owner, { tenantId: session.tenantId, sessionId: session.sessionId });
      let held: RunRow | null | undefined = run;
      for (let deaths = 1; deaths <= 6; deaths++) {
        await die(owner);
        owner = await live();
        const [after, before] = [await work.claim(run, owner), await claimSuspect(run, owner, true, deaths)];
        expect([before, await store.hasSuspect(deaths)], `${deaths}`).toEqual([null, false]);
        held = after ?? (await claimSuspect(run, owner, true, deaths + 1));
        expect(held).toMatchObject({ deaths });
      }
      for (const [index, mostDeaths] of [9, 4].entries()) {
        expect(await work.append(held ?? run, 1 + index, { status: 'failed', resumable: true, leaseOwner: null })).toMatchObject({
          type: 'committed',
        });
        expect(await store.requeueRun(run.tenantId, run.runId, undefined, mostDeaths)).toBe('requeued');
        held = await claimSuspect(run, owner);
        expect(held).toMatchObject({ deaths: Math.min(6, mostDeaths) });
      }
    });

    it(`takes the death of a worker that tried a suspect for the doing of that one, and of nobody else ${verifies('hostile.kill.poisonous')}`, async () => {
      const [a = '', b = '', c = '', d = ''] = await Promise.all(Array.from({ length: 4 }, live));
      const [killer, innocent] = [await work.running(a), await work.running(a)];
      await die(a);
      await work.claim(killer, b); // and the other with it
      await die(b);
      await work.claim(killer, c);
      for (let found = await store.claimSuspect(c, true, 13); found !== null; found = await store.claimSuspect(c, true, 13)) {
        await store.clearSuspect(found);
        if (found.runId === killer.runId) await work.append(found, 1, { status: 'queued', leaseOwner: null, dueAt: Date.now() + 100 });
      }
      const bystander = await work.running(c);
      await expect.poll(() => claimSuspect(killer, c, false)).toMatchObject({ deaths: 2, diedAlone: false });
      await die(c);
      expect(await work.claim(bystander, d)).toMatchObject({ deaths: 0 });
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
      let run = await work.running(owner);
      for (let death = 1; death <= 6; death++) {
        await die(owner);
        owner = await live();
        const taken = await work.claim(run, owner);
        expect(taken).toMatchObject({ deaths: 1 });
        const { epoch = 0 } = taken ?? {};
        const patch = { runId: run.runId, epoch, owner, lastSeq: run.lastSeq, patch: {} };
        const result = await store.commit({ tenantId: run.tenantId, run: patch, events: [outcome(`call_${death}`)] });
        expect(result.type).toBe('committed');
        run = { ...run, lastSeq: run.lastSeq + 1 };
      }
      await store.retireWorker(owner);
      expect(await work.claim(run, await live())).toMatchObject({ deaths: 0 });
    });

    it('says which running runs belong to a worker', async () => {
      const owner = worker();
      await store.heartbeat(owner, 60_000);
      const mine = await work.running(owner);
      const ended = await work.running(owner);
      await work.append(ended, 1, { status: 'completed', leaseOwner: null });
      expect(await store.ownedRuns(owner)).toEqual([{ tenantId: mine.tenantId, runId: mine.runId, epoch: mine.epoch }]);
      expect(await store.ownedRuns(worker())).toEqual([]);
    });

    it('takes over a run whose owner was never heard of', async () => {
      const run = await work.running(worker());
      expect(await work.claim(run, worker())).toMatchObject({ epoch: 2 });
    });

    it('does not lose a wake-up that arrives while the run still runs', async () => {
      const owner = worker();
      await store.heartbeat(owner, 60_000);
      const parent = await work.running(owner);
      await store.commit({ tenantId: parent.tenantId, wake: [parent.runId] });
      expect(await work.claim(parent, worker())).toBeUndefined();
      await work.append(parent, 1, { status: 'waiting', waiting: { reason: 'child' }, leaseOwner: null, dueAt: null });
      expect(await work.claim(parent, worker())).toMatchObject({ epoch: 2 });
    });

    it('leaves a waiting run alone until somebody wakes it', async () => {
      const parent = await work.running(worker());
      await work.append(parent, 1, { status: 'waiting', waiting: { reason: 'child', childRuns: ['run_x'] }, leaseOwner: null });
      expect(await work.claim(parent, worker())).toBeUndefined();
      expect(await work.current(parent)).toMatchObject({ waiting: { reason: 'child', childRuns: ['run_x'] }, leaseOwner: null });
      await store.commit({ tenantId: parent.tenantId, wake: [parent.runId] });
      expect(await work.claim(parent, worker())).toMatchObject({ status: 'running' });
    });

    it('tells the owner of a cancel request by its heartbeat, and makes a resting run due', async () => {
      const owner = worker();
      const run = await work.running(owner);
      await store.heartbeat(owner, 60_000);
      expect(await store.requestCancel(run.tenantId, run.runId, 'changed my mind')).toBe(true);
      expect(await store.requestCancel(run.tenantId, run.runId, 'another reason')).toBe(true);
      const { tenantId, runId } = run;
      expect((await store.heartbeat(owner, 60_000)).cancelRequested).toEqual([{ tenantId, runId, reason: 'changed my mind' }]);
      await work.append(run, 1, { status: 'cancelled' });
      expect((await store.heartbeat(owner, 60_000)).cancelRequested).toEqual([]);
      expect(await store.requestCancel(run.tenantId, run.runId, 'too late')).toBe(false);
      expect(await store.requestCancel(run.tenantId, runRow(run.tenantId).runId, 'unknown')).toBe(false);

      const resting = runRow(newTenant());
      await store.commit({ tenantId: resting.tenantId, createRun: resting });
      expect(await store.requestCancel(resting.tenantId, resting.runId, 'stop')).toBe(true);
      expect(await work.claim(resting, owner)).toMatchObject({ cancelRequested: 'stop' });
    });

    it('lets no run rest that was asked to cancel, also after another owner has heard of it', async () => {
      const run = await work.running(worker());
      await store.requestCancel(run.tenantId, run.runId, 'stop');
      const next = worker();
      const taken = await work.claim(run, next);
      if (taken === undefined) throw new Error('its owner was never heard of, so that it is claimed');
      await work.append(taken, 1, { status: 'waiting', waiting: { reason: 'child' }, leaseOwner: null, dueAt: null });
      expect(await work.claim(run, worker())).toMatchObject({ epoch: 3, cancelRequested: 'stop' });
    });

    it(`requeues a failed run that can be resumed, once, with the decision that permits it ${verifies('run.resume.closed')}`, async () => {
      const session = sessionRow(newTenant());
      const run = await work.inSession(session);
      const requeue = (permit?: DecisionRow) => store.requeueRun(run.tenantId, run.runId, permit);
      const permits = ['dec_1', 'dec_2', 'dec_3'].map((id) => decision(id, run.runId));
      const decisions = async () => (await store.listDecisions(run.tenantId, { runId: run.runId }, { limit: 10 })).items.length;
      expect(await requeue(permits[0])).toBe('not_resumable');
      await work.append(run, 1, { status: 'failed', resumable: true, error: { code: 'budget_exceeded', message: 'too dear' } });
      expect(await work.current(run)).toMatchObject({ status: 'failed', leaseOwner: null, error: { code: 'budget_exceeded' } });
      expect(await decisions()).toBe(0);
      expect((await Promise.all([requeue(permits[1]), requeue(permits[2])])).sort()).toEqual(['not_resumable', 'requeued']);
      expect(await decisions()).toBe(1);
      expect(await work.claim(run, worker())).toMatchObject({ epoch: 2, status: 'running' });
      expect(await store.requeueRun(run.tenantId, runRow(run.tenantId).runId)).toBe('not_resumable');
    });

    it(`requeues nothing into a session that is closed, also at the same time ${verifies('run.resume.closed')}`, async () => {
      for (let round = 0; round < 10; round++) {
        const session = sessionRow(newTenant());
        const run = await work.inSession(session);
        await work.append(run, 1, { status: 'failed', resumable: true });
        const [requeued] = await Promise.all([
          store.requeueRun(run.tenantId, run.runId, decision('dec_1', run.runId)),
          store.closeSession(session.tenantId, session.sessionId, 'over'),
        ]);
        const row = await work.current(run);
        // Either it came first, and is asked to cancel, or it was too late.
        if (requeued === 'requeued') expect(row).toMatchObject({ status: 'queued', cancelRequested: 'over' });
        else expect([requeued, row.status]).toEqual(['closed', 'failed']);
        expect(await store.requeueRun(run.tenantId, run.runId)).not.toBe('requeued');
        expect((await store.listDecisions(run.tenantId, {}, { limit: 10 })).items).toHaveLength(requeued === 'requeued' ? 1 : 0);
      }
    });

    it('closes a session with all that is open in it, and withdraws the questions of what failed there', async () => {
      const session = sessionRow(newTenant());
      const open = await Promise.all([work.inSession(session), work.inSession(session), work.inSession(session)]);
      const [driven, waiting, failed] = open;
      const others = await work.running(worker(), { tenantId: session.tenantId });
      const question = approvalRow(failed);
      await store.commit({ tenantId: session.tenantId, approvals: [question, approvalRow(others)] });
      await work.append(waiting, 1, { status: 'waiting', waiting: { reason: 'child' }, leaseOwner: null });
      await work.append(failed, 1, { status: 'failed', resumable: true });
      expect(await store.closeSession(session.tenantId, session.sessionId, 'over')).toBe(true);
      expect((await store.heartbeat(driven.leaseOwner ?? '', 60_000)).cancelRequested).toEqual([
        { tenantId: session.tenantId, runId: driven.runId, reason: 'over' },
      ]);
      expect(await work.claim(waiting, worker())).toMatchObject({ cancelRequested: 'over' });
      expect(await work.current(failed)).toMatchObject({ status: 'failed', cancelRequested: null });
      expect(await store.getApproval(session.tenantId, question.approvalId)).toMatchObject({ status: 'cancelled' });
      expect((await store.listApprovals(session.tenantId, { status: 'pending' }, { limit: 10 })).items).toHaveLength(1);
      expect(await work.current(others)).toMatchObject({ cancelRequested: null });
    });
  });
}
