import type { ApprovalAnswer, RunId, SessionId } from '@nexus-agent/protocol';
import { afterEach, expect, it } from 'vitest';
import { createPolicyEngine } from '#policy';
import { openTestRuns, principal, type TestRuns } from '#runs/testing';
import type { ApprovalRow, KeyRow } from '#storage';
import { createApprovals } from './approvals.ts';

let runs: TestRuns | undefined;
afterEach(() => runs?.close());

const { tenantId } = principal;
const developer = { ...principal, id: 'bob', roles: ['developer'] };

/** A question about a tool call that waits, of a run that nobody drives. */
async function open(fields: Partial<ApprovalRow> = {}, policies = '') {
  const opened = await openTestRuns();
  runs = opened;
  const { time } = opened;
  const sources = policies === '' ? [] : [{ name: 'operator', text: policies }];
  const engine = { ...opened.engine, policy: createPolicyEngine({ sources, clock: time.clock }) };
  const woken: string[] = [];
  const row: ApprovalRow = {
    tenantId,
    approvalId: 'apr_1',
    runId: 'run_1' as RunId, // a name is enough
    sessionId: 'ses_1' as SessionId, // a name is enough
    callId: 'call_1',
    kind: 'tool_call',
    status: 'pending',
    toolName: 'probe',
    input: {},
    question: null,
    role: null,
    defaultDecision: 'deny',
    deadlineAt: time.clock.now() + 1_000,
    decision: null,
    answer: null,
    decidedBy: null,
    decidedAt: null,
    createdAt: time.clock.now(),
    ...fields,
  };
  await engine.store.commit({ tenantId, approvals: [row] });
  const approvals = createApprovals({
    engine,
    wake: ({ runId }) => void woken.push(runId),
    checkApprovedCall: opened.orchestrator.checkApprovedCall,
  });
  const approve = (by = principal) => approvals.answer(by, row.approvalId, { decision: 'approve' });
  const answer = (given: ApprovalAnswer) => approvals.answer(principal, row.approvalId, given);
  const status = async () => (await approvals.get(principal, row.approvalId)).status;
  return { time, engine, woken, approve, answer, status };
}

it('wakes the run at once, wherever it is driven', async () => {
  const { approve, woken } = await open();
  expect(await approve()).toMatchObject({ status: 'decided', decision: 'approve', decidedBy: 'ada' });
  expect(woken).toEqual(['run_1']);
  await expect(approve()).rejects.toMatchObject({ code: 'conflict' });
  expect(woken).toEqual(['run_1']);
});

it('is in time as long as the run waits for it, whatever this process takes the time for', async () => {
  const { engine, time } = await open();
  const days = 3 * 86_400_000;
  const wrong = { ...engine, clock: { ...time.clock, now: () => time.clock.now() + days } };
  const approvals = createApprovals({ engine: wrong, wake: () => undefined, checkApprovedCall: async () => undefined });
  expect(await approvals.answer(principal, 'apr_1', { decision: 'approve' })).toMatchObject({ status: 'decided', decision: 'approve' });
});

it('comes too late from the deadline on, also while nobody has closed the question yet', async () => {
  const early = await open();
  await early.time.advance(999);
  expect(await early.approve()).toMatchObject({ status: 'decided' });
  await runs?.close();
  const late = await open();
  await late.time.advance(1_000);
  await expect(late.approve()).rejects.toMatchObject({ code: 'conflict' });
  expect(await late.status()).toBe('pending');
  expect(late.woken).toEqual([]);
});

it('needs the role that the question asks for, or the owner', async () => {
  const { approve, status, woken } = await open({ role: 'lead' });
  await expect(approve(developer)).rejects.toMatchObject({
    code: 'forbidden',
    message: expect.stringContaining('asks for the role lead, and you have developer; a key with that role can answer, or the owner'),
    details: { role: 'lead', has: ['developer'] },
  });
  expect([await status(), woken]).toEqual(['pending', []]);
  expect(await approve({ ...developer, roles: ['lead'] })).toMatchObject({ decidedBy: 'bob' });
  await runs?.close();
  expect(await (await open({ role: 'lead' })).approve()).toMatchObject({ decidedBy: 'ada' });
});

it('is decided by policy, which is recorded whichever way it goes', async () => {
  const forbidden = 'forbid (principal is User, action == Action::"approval.grant", resource is Approval);';
  const { approve, status, engine, woken } = await open({}, forbidden);
  await expect(approve()).rejects.toMatchObject({ code: 'policy_denied' });
  expect([await status(), woken]).toEqual(['pending', []]);
  const { items } = await engine.store.listDecisions(tenantId, {}, { limit: 10 });
  expect(items).toMatchObject([{ action: 'approval.grant', effect: 'deny', callId: 'call_1' }]);
});

it('does not tell whoever may not answer whose keys there are [verifies approval.role]', async () => {
  const { approve, engine } = await open({ role: 'lead' });
  const row: KeyRow = {
    ...{ tenantId, keyId: 'key_secretive', name: 'the-lead', hash: '', secretId: null, scopes: ['approvals'], roles: ['lead'] },
    ...{ createdAt: 1, expiresAt: null, revokedAt: null },
  };
  await engine.store.putKey(row);
  await expect(approve(developer)).rejects.toMatchObject({ message: expect.not.stringMatching(/the-lead|key_secretive/) });
});

it('records one decision for one answer, however often it is given [verifies approval.once]', async () => {
  const { approve, engine } = await open();
  const answers = await Promise.allSettled([approve(), approve(), approve()]);
  expect(answers.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  await expect(approve()).rejects.toMatchObject({ code: 'conflict' });
  const { items } = await engine.store.listDecisions(tenantId, {}, { limit: 10 });
  expect(items).toMatchObject([{ action: 'approval.grant', effect: 'allow' }]);
});

it('takes no result with an answer that has none: it would be lost', async () => {
  const { answer, status } = await open();
  await expect(answer({ decision: 'approve', result: 'x' })).rejects.toMatchObject({ code: 'invalid_request' });
  expect(await status()).toBe('pending');
});
