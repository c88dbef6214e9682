import type { RunId, SessionId, TenantId } from '@nexus-agent/protocol';
import { beforeAll, describe, expect, it } from 'vitest';
import type { PlaceInLog, RunRow, Store } from '../../packages/server/src/storage/index.ts';
import { ids, newTenant, runRow, sessionRow } from '../support/stores.ts';
import { verifies } from '../support/verifies.ts';

/** The log of a session and who may work in it. `open` gives a store on a database that all tests share. */
export function describeSessionLog(open: () => Promise<Store>): void {
  let store: Store;
  let other: Store;
  beforeAll(async () => {
    store = await open();
    other = await open();
    await store.heartbeat('wrk_1', 600_000);
  });

  interface Place {
    readonly tenantId: TenantId;
    readonly sessionId: SessionId;
  }

  async function newSession(): Promise<Place> {
    const row = sessionRow(newTenant());
    await store.commit({ tenantId: row.tenantId, sessions: [row] });
    return row;
  }

  /** A new run, at work under a worker unless it has to wait. */
  async function begin(session: Place, place: PlaceInLog, fields: Partial<RunRow> = {}, on = store) {
    const { tenantId, sessionId } = session;
    const run = runRow(tenantId, { sessionId, dueAt: Date.now() - 1, ...fields });
    const result = await on.commit({ tenantId, openSession: sessionId, place, createRun: run });
    return { run, result };
  }
  const atWork = { status: 'running', leaseOwner: 'wrk_1', epoch: 1, dueAt: null } as const;

  async function end(session: Place, run: RunRow, patch: Partial<RunRow> = { status: 'completed' }, on = store) {
    const { tenantId, sessionId } = session;
    const row = await on.getRun(tenantId, run.runId);
    if (row?.leaseOwner == null) throw new Error('nobody drives the run');
    const { runId, epoch, leaseOwner: owner, lastSeq } = row;
    return on.commit({ tenantId, leaves: sessionId, run: { runId, epoch, owner, lastSeq, patch: { ...patch, leaseOwner: null } } });
  }
  const get = async ({ tenantId, runId }: RunRow) => {
    const row = await store.getRun(tenantId, runId);
    if (row === null) throw new Error('the run is gone');
    return row;
  };
  const claimed = async ({ tenantId }: Place, on = store, worker = 'wrk_1') =>
    (await on.claimRuns(worker, 1_000)).filter((run) => run.tenantId === tenantId);

  describe('the log of a session', () => {
    it('has its runs in the order in which they were written, whatever the clocks say', async () => {
      const session = await newSession();
      const late = await begin(session, { whileBusy: 'begin' }, { createdAt: Date.now() + 60_000 });
      const early = await begin(session, { whileBusy: 'begin' });
      const child = await begin(session, { whileBusy: 'begin' });
      const log = await store.listRuns(session.tenantId, { sessionId: session.sessionId, parentRunId: null }, { limit: 10 });
      expect(log.items.map(({ runId }) => runId)).toEqual([child, early, late].map(({ run }) => run.runId));
      expect(early.result).toMatchObject({ placed: { createdAt: late.run.createdAt + 1, behind: null } });
      expect((await get(early.run)).createdAt).toBe(late.run.createdAt + 1);
    });

    it('lets one of those that follow the same run in, in one process and in two', async () => {
      const session = await newSession();
      const first = await begin(session, { whileBusy: 'begin', after: null });
      const after = first.run.runId;
      const results = await Promise.all([store, store, other, other].map((on) => begin(session, { whileBusy: 'begin', after }, {}, on)));
      expect(results.map(({ result }) => result.type).sort()).toEqual(['committed', 'moved', 'moved', 'moved']);
    });

    it('does not list what sub-agents do, however many there are', async () => {
      const session = await newSession();
      const { run } = await begin(session, { whileBusy: 'begin' });
      await begin(session, { whileBusy: 'begin' }, { parentRunId: run.runId });
      const { items } = await store.listRuns(session.tenantId, { sessionId: session.sessionId, parentRunId: null }, { limit: 10 });
      expect(items.map(({ runId }) => runId)).toEqual([run.runId]);
      expect((await begin(session, { whileBusy: 'begin', after: run.runId })).result.type).toBe('committed');
    });
  });

  describe('a session that is busy', () => {
    it('refuses, or lets wait in order, and calls the next as each ends', async () => {
      const session = await newSession();
      const first = await begin(session, { whileBusy: 'refuse' }, atWork);
      expect((await begin(session, { whileBusy: 'refuse' })).result).toEqual({ type: 'busy', runId: first.run.runId });
      const second = await begin(session, { whileBusy: 'wait' });
      const third = await begin(session, { whileBusy: 'wait' });
      expect(second.result).toMatchObject({ placed: { behind: first.run.runId } });
      expect(await get(third.run)).toMatchObject({
        status: 'queued',
        dueAt: null,
        waiting: { reason: 'session', behind: second.run.runId },
      });
      expect(await claimed(session)).toEqual([]);
      expect(await end(session, first.run)).toMatchObject({ next: second.run.runId });
      expect(await claimed(session)).toMatchObject([{ runId: second.run.runId, waiting: null }]);
      expect(await end(session, second.run, { status: 'failed' })).toMatchObject({ next: third.run.runId });
      expect((await claimed(session)).map(({ runId }) => runId)).toEqual([third.run.runId]);
      expect(await end(session, third.run)).not.toHaveProperty('next');
      expect((await begin(session, { whileBusy: 'refuse' })).result.type).toBe('committed');
    });

    it('lets so many wait, and says so to whoever comes then', async () => {
      const session = await newSession();
      const first = await begin(session, { whileBusy: 'wait' }, atWork);
      for (let index = 0; index < 200; index++) await begin(session, { whileBusy: 'wait' });
      await expect(begin(session, { whileBusy: 'wait' })).rejects.toMatchObject({ code: 'session_busy', retryable: true });
      expect((await begin(session, { whileBusy: 'begin' }, atWork)).result.type).toBe('committed');
      await end(session, first.run);
    });

    it('is free while its run waits for a person, and busy again once that was answered', async () => {
      const session = await newSession();
      const asking = await begin(session, { whileBusy: 'wait' }, atWork);
      const next = await begin(session, { whileBusy: 'wait' });
      const waiting = { reason: 'approval', approvals: ['apr_1'] } as const;
      const left = await end(session, asking.run, { status: 'waiting', waiting, dueAt: Date.now() + 3_600_000 });
      expect(left).toMatchObject({ next: next.run.runId });
      await claimed(session);
      await end(session, next.run);
      await store.commit({ tenantId: session.tenantId, wake: [asking.run.runId] });
      expect((await begin(session, { whileBusy: 'refuse' })).result).toEqual({ type: 'busy', runId: asking.run.runId });
    });

    it('is busy while sub-agents work for its run, also between two of them', async () => {
      const session = await newSession();
      const parent = await begin(session, { whileBusy: 'wait' }, atWork);
      const child = runRow(session.tenantId, { sessionId: session.sessionId, parentRunId: parent.run.runId, ...atWork });
      await store.commit({ tenantId: session.tenantId, createRun: child });
      const next = await begin(session, { whileBusy: 'wait' });
      const waiting = { reason: 'child', childRuns: [child.runId] } as const;
      expect(await end(session, parent.run, { status: 'waiting', waiting, dueAt: null })).not.toHaveProperty('next');
      expect((await begin(session, { whileBusy: 'refuse' })).result).toEqual({ type: 'busy', runId: next.run.runId });
      const { runId, epoch, lastSeq } = await get(child);
      const patch = { status: 'completed', leaseOwner: null } as const;
      const run = { runId, epoch, owner: 'wrk_1', lastSeq, patch };
      const ended = await store.commit({ tenantId: session.tenantId, leaves: session.sessionId, wake: [parent.run.runId], run });
      expect(ended).not.toHaveProperty('next');
      expect((await claimed(session)).map((each) => each.runId)).toEqual([parent.run.runId]);
      expect(await end(session, parent.run)).toMatchObject({ next: next.run.runId });
    });

    it('may be interrupted: its run is asked to cancel, and the new one follows', async () => {
      const session = await newSession();
      const first = await begin(session, { whileBusy: 'wait' }, atWork);
      const queued = await begin(session, { whileBusy: 'wait' });
      const third = await begin(session, { whileBusy: { interrupt: 'enough' } });
      expect(third.result).toMatchObject({ placed: { behind: queued.run.runId, interrupted: [first.run.runId] } });
      expect(await get(first.run)).toMatchObject({ status: 'running', cancelRequested: 'enough' });
      expect(await get(queued.run)).toMatchObject({ status: 'queued', cancelRequested: null });
      expect(await end(session, first.run, { status: 'cancelled' })).toMatchObject({ next: queued.run.runId });
    });

    it('lets a run that waits go when it is cancelled or its time is over, and nobody is called for it', async () => {
      const session = await newSession();
      const first = await begin(session, { whileBusy: 'wait' }, atWork);
      const cancelled = await begin(session, { whileBusy: 'wait' });
      const late = await begin(session, { whileBusy: 'wait', waitUntil: Date.now() - 1 });
      const last = await begin(session, { whileBusy: 'wait' });
      await store.requestCancel(session.tenantId, cancelled.run.runId, 'no');
      const runs = await claimed(session);
      expect(runs.map(({ runId }) => runId).sort()).toEqual([cancelled.run.runId, late.run.runId].sort());
      for (const { run } of [cancelled, late]) expect(await end(session, run, { status: 'cancelled' })).not.toHaveProperty('next');
      expect(await end(session, first.run)).toMatchObject({ next: last.run.runId });
    });

    it(`has one run at work at a time, and forgets none, however they race ${verifies('session.queue.race')}`, async () => {
      const session = await newSession();
      const stores = [store, other];
      const total = 24;
      const waiting = new Set<RunId>();
      const working = new Set<RunId>();
      let ended = 0;
      const create = async (index: number) => {
        const { run, result } = await begin(session, { whileBusy: 'wait' }, {}, stores[index % 2]);
        expect(result.type).toBe('committed');
        waiting.add(run.runId);
      };
      const work = async (index: number) => {
        const on = stores[index % 2] ?? store;
        const worker = ids.next<string>('worker');
        await on.heartbeat(worker, 60_000);
        for (let round = 0; ended < total && round < 2_000; round++) {
          for (const run of await claimed(session, on, worker)) {
            working.add(run.runId);
            expect(working.size).toBe(1);
            await new Promise((resolve) => setImmediate(resolve));
            working.delete(run.runId);
            const result = await end(session, run, { status: round % 3 === 0 ? 'waiting' : 'completed', waiting: null }, on);
            expect(result.type).toBe('committed');
            ended += 1;
          }
          await new Promise((resolve) => setImmediate(resolve));
        }
      };
      const creations = Array.from({ length: total }, (_, index) => create(index));
      await Promise.all([...creations, work(0), work(1), work(2)]);
      expect(ended).toBe(total);
      expect(waiting.size).toBe(total);
    });
  });
}
