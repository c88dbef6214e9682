import { beforeAll, describe, expect, it } from 'vitest';
import type { Store } from '../../packages/server/src/storage/index.ts';
import { newTenant } from '../support/stores.ts';
import { verifies } from '../support/verifies.ts';
import { approvalRow, decision, runWork, worker } from './storage-run-work.ts';

/** Approvals, and what they wake. `open` gives a store on a database that all tests share. */
export function describeApprovals(open: () => Promise<Store>): void {
  let store: Store;
  let work: ReturnType<typeof runWork>;
  beforeAll(async () => {
    store = await open();
    work = runWork(store);
  });

  describe('approvals', () => {
    it(`keeps the first of two answers and makes the run due ${verifies('approval.restart')}`, async () => {
      const run = await work.running(worker());
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
      expect(await work.claim(run, worker())).toMatchObject({ epoch: 2 });
      expect(
        await store.answerApproval(newTenant(), approval.approvalId, { decision: 'deny', answer: null, decidedBy: 'eve', at: 5 }),
      ).toEqual({
        type: 'not_found',
      });
    });

    it('makes the run due as soon as it waits when the answer came while it still ran', async () => {
      const run = await work.running(worker());
      const approval = approvalRow(run);
      await store.commit({ tenantId: run.tenantId, approvals: [approval] });
      await store.answerApproval(run.tenantId, approval.approvalId, { decision: 'approve', answer: null, decidedBy: 'ann', at: 1 });
      expect(await work.current(run)).toMatchObject({ status: 'running', dueAt: null });
      await work.append(run, 1, {
        status: 'waiting',
        waiting: { reason: 'approval', approvals: [approval.approvalId] },
        leaseOwner: null,
        dueAt: null,
      });
      expect(await work.claim(run, worker())).toMatchObject({ epoch: 2 });
    });

    it(`closes one that is asked and withdrawn in the same commit ${verifies('approval.withdrawn')}`, async () => {
      const run = await work.running(worker());
      const [asked, kept] = [approvalRow(run), approvalRow(run)];
      await store.commit({
        tenantId: run.tenantId,
        approvals: [asked, kept],
        closeApprovals: [{ approvalId: asked.approvalId, status: 'cancelled' }],
      });
      expect(await store.getApproval(run.tenantId, asked.approvalId)).toEqual({ ...asked, status: 'cancelled' });
      expect((await store.listApprovals(run.tenantId, { status: 'pending' }, { limit: 10 })).items).toEqual([kept]);
    });

    it(`keeps what clients are to give beside what people are asked, and lists and counts it nowhere ${verifies('client-tools.results')}`, async () => {
      const run = await work.running(worker());
      const [asked, awaited] = [approvalRow(run), { ...approvalRow(run), kind: 'client_result' as const }];
      const before = (await store.measure(0)).approvalsWaiting;
      await store.commit({ tenantId: run.tenantId, approvals: [asked, awaited] });
      expect((await store.measure(0)).approvalsWaiting).toBe(before + 1);
      for (const filter of [{}, { status: 'pending' as const }, { runId: run.runId }, { runId: run.runId, status: 'pending' as const }])
        expect((await store.listApprovals(run.tenantId, filter, { limit: 10 })).items).toEqual([asked]);
      expect(await store.getApproval(run.tenantId, awaited.approvalId)).toEqual(awaited);
      const given = { decision: 'answer' as const, answer: { result: 'a.ts' }, decidedBy: 'tab', at: 5 };
      expect(await store.answerApproval(run.tenantId, awaited.approvalId, given)).toMatchObject({ type: 'decided' });
      expect(await store.getApproval(run.tenantId, awaited.approvalId)).toMatchObject({ status: 'decided', answer: { result: 'a.ts' } });
    });

    it('closes an approval with the commit, unless it was answered first', async () => {
      const run = await work.running(worker());
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
