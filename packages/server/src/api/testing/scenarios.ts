import type { Approval, DecisionRecord } from '@nexus-agent/protocol';
import { NexusError } from '#core';
import type { FakeRun } from './fake-run.ts';

export const decision: DecisionRecord = {
  id: 'dec_1',
  effect: 'allow',
  action: 'tool.execute',
  principal: 'Agent::"chat"',
  resource: 'Tool::"fs_read"',
  reasons: ['agent.allow'],
  policyVersion: 'v1',
};

const model = { step: 1, callId: 'call_m', attempt: 1, purpose: 'answer', provider: 'sim', model: 'sim-small' } as const;

/** What the input of a run makes the fake do; see {@link play}. */
export type Scenario = 'echo' | 'wait' | 'approve' | 'fail-budget' | 'fail-policy' | 'tool' | 'flood' | 'break';

export function scenarioOf(text: string): Scenario {
  const word = text.split(' ')[0] ?? '';
  const known: readonly string[] = ['wait', 'approve', 'fail-budget', 'fail-policy', 'tool', 'flood', 'break'];
  return known.includes(word) ? (word as Scenario) : 'echo'; // listed above
}

/** Refusals before a run exists. */
export function refuse(text: string): void {
  if (text === 'refuse-policy') throw new NexusError('policy_denied', 'policy denies run.start for Agent::"chat"');
  if (text === 'refuse-budget') {
    const refusal = {
      scope: { kind: 'session', id: 'ses_1' },
      unit: 'costMicroUsd',
      window: 'total',
      limit: 10,
      asked: 100,
      available: 10,
    };
    throw new NexusError('budget_exceeded', 'session ses_1 has 10 of 10 costMicroUsd left, 100 were asked', { details: { refusal } });
  }
  if (text === 'busy') throw new NexusError('unavailable', 'too many live runs', { retryAfterMs: 1500 });
  if (text === 'boom') throw new Error('secret internals');
}

export function play(run: FakeRun, text: string, requestApproval: (run: FakeRun) => Approval): void {
  run.append('run.created', {
    sessionId: run.run.sessionId,
    agent: run.run.agent,
    agentVersion: 'agv_fake',
    input: [{ type: 'text', text }],
    history: [],
    principal: 'local',
  });
  run.append('run.started', { workerId: 'wrk_1', epoch: 1 });
  run.append('step.started', { step: 1 });
  run.append('model.started', { ...model, maxTokens: 100, reservationId: 'rsv_1', decision: { ...decision, action: 'model.invoke' } });
  switch (scenarioOf(text)) {
    case 'wait':
    case 'flood':
    case 'break':
      break;
    case 'echo':
      answer(run, `Echo: ${text}`);
      break;
    case 'tool':
      useTool(run, { path: 'a.txt' }, 'ok');
      break;
    case 'approve': {
      run.append('tool.requested', { step: 1, callId: 'call_t', index: 0, name: 'fs_write', input: { path: 'a.txt' } });
      const approval = requestApproval(run);
      run.append('approval.requested', {
        step: 1,
        callId: 'call_t',
        approvalId: approval.id,
        kind: 'tool_call',
        toolName: 'fs_write',
        input: approval.arguments,
        deadlineAt: approval.deadlineAt,
        defaultDecision: 'deny',
      });
      run.update({ status: 'waiting', waitingFor: { reason: 'approval', approvals: [approval.id] } });
      run.append('run.waiting', { reason: 'approval', approvals: [approval.id] });
      break;
    }
    case 'fail-budget':
      fail(run, 'budget_exceeded', 'the session has 10 micro-USD left, the next step needs 100', true);
      break;
    case 'fail-policy':
      fail(run, 'policy_denied', 'policy denies model.invoke', false);
      break;
  }
}

export function settleApproval(run: FakeRun, approval: Approval): void {
  const decided = approval.decision ?? 'deny';
  run.append('approval.decided', {
    step: 1,
    callId: 'call_t',
    approvalId: approval.id,
    kind: 'tool_call',
    decision: decided,
    decidedBy: approval.decidedBy ?? 'local',
  });
  run.update({ status: 'running' });
  run.append('run.resumed', { reason: 'approval', workerId: 'wrk_1', epoch: 2 });
  useTool(run, approval.arguments, decided === 'approve' ? 'ok' : 'denied');
}

function useTool(run: FakeRun, input: unknown, status: 'ok' | 'denied'): void {
  const name = 'fs_write';
  if (status === 'ok') {
    run.append('tool.started', {
      step: 1,
      callId: 'call_t',
      attempt: 1,
      name,
      effects: 'idempotent',
      input,
      idempotencyKey: 'call_t',
      timeoutMs: 1000,
      decision,
    });
  }
  run.append('tool.completed', { step: 1, callId: 'call_t', name, status, output: status === 'ok' ? 'written' : 'denied', durationMs: 12 });
  run.update({ totals: { ...run.run.totals, toolCalls: 1 } });
  answer(run, status === 'ok' ? 'The file is written.' : 'I was not allowed to write.');
}

function answer(run: FakeRun, text: string): void {
  for (const piece of text.match(/[\s\S]{1,7}/g) ?? []) run.delta('call_m', piece);
  run.append('model.completed', {
    ...model,
    content: [{ type: 'text', text }],
    finishReason: 'stop',
    usage: { inputTokens: 100, outputTokens: 20, cacheReadTokens: 0, cacheWriteTokens: 0, reasoningTokens: 0 },
    costMicroUsd: 1234,
    durationMs: 50,
  });
  run.complete(text);
}

function fail(run: FakeRun, code: 'budget_exceeded' | 'policy_denied', message: string, resumable: boolean): void {
  run.update({ status: 'failed', error: { code, message }, resumable });
  run.append('run.failed', { error: { code, message }, totals: run.run.totals, resumable, stateHash: 'a1b2' });
}
