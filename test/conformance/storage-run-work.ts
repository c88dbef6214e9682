import type { NewEvent, RunId } from '@nexus-agent/protocol';
import { expect } from 'vitest';
import type { ApprovalRow, DecisionRow, RunRow, SessionRow, Store } from '../../packages/server/src/storage/index.ts';
import { ids, newTenant, runRow } from '../support/stores.ts';

const stepStarted = (step: number): NewEvent => ({ type: 'step.started', data: { step } });
export const worker = () => ids.next<string>('worker');

/** What tests of runs do with a store. */
export function runWork(store: Store) {
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
  return { running, inSession, append, current, claim };
}

export function approvalRow(run: RunRow): ApprovalRow {
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

export function decision(id: string, runId: RunId): DecisionRow {
  return {
    ...{ id, runId, callId: null, argumentsHash: null, at: 5 },
    ...{ effect: 'allow', action: 'approval.grant', principal: 'User::"ann"', resource: 'Approval::"x"', reasons: [], policyVersion: '1' },
  };
}
