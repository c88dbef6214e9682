import type { AssistantPart, DecisionRecord, JournalEvent, NewEvent, ToolCallPart } from '@nexus-agent/protocol';

import { nextAction, type RunLimits } from './next-action.ts';
import { initialState, type RunState, type ToolCallState } from './state.ts';
import { foldNew, stateHash, toolCallId, transition } from './transitions.ts';

export const testLimits: RunLimits = { maxSteps: 5, maxParallelTools: 3, maxEqualSteps: 3 };

const decision: DecisionRecord = {
  id: 'dec_1',
  effect: 'allow',
  action: 'tool.execute',
  principal: 'Agent::"a"',
  resource: 'Tool::"t"',
  reasons: ['test'],
  policyVersion: '1',
};
const usage = { inputTokens: 3, outputTokens: 2, cacheReadTokens: 0, cacheWriteTokens: 0, reasoningTokens: 0 };
const error = { code: 'provider_unavailable', message: 'down', retryable: true } as const;

/** Numbers below `n` that follow from the seed. */
export function dice(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

export interface TestJournal {
  readonly events: readonly JournalEvent[];
  readonly state: RunState;
  /** Most tool calls, sub-agents included, that were at work at once. */
  readonly mostRunning: number;
}

/**
 * A journal as an engine would write it that obeys `nextAction` while everything around it goes by chance: answers with
 * and without tools, results in any order, failures and retries, lost workers, denials, approvals, sub-agents, refused
 * budgets and resumes.
 */
export function randomJournal(seed: number, limits: RunLimits = testLimits): TestJournal {
  const chance = dice(seed);
  const runId = `run_${seed}`;
  const events: JournalEvent[] = [];
  const inFlight = new Set<string>();
  let state = initialState;
  let ids = 0;
  let mostRunning = 0;

  function emit(...added: NewEvent[]): void {
    for (const event of added) {
      const next: JournalEvent = { ...event, seq: events.length + 1, at: 1_000 + events.length };
      events.push(next);
      state = transition(state, next);
    }
    const children = state.calls.filter((call) => call.phase.type === 'started' && call.attempt?.childRunId != null);
    const running = state.calls.filter((call) => inFlight.has(call.callId));
    mostRunning = Math.max(mostRunning, new Set([...children, ...running].map((call) => call.callId)).size);
  }

  const nextId = (prefix: string) => `${prefix}_${seed}_${++ids}`;

  function startModel(step: number, attempt: number): void {
    const callId = `call_${step}_${state.compactions}`;
    const reservationId = nextId('rsv');
    inFlight.add(callId);
    emit(
      { type: 'budget.reserved', data: { reservationId, amounts: { tokens: 10 } } },
      {
        type: 'model.started',
        data: { step, callId, attempt, purpose: 'answer', provider: 'p', model: 'm', maxTokens: 10, reservationId, decision },
      },
    );
  }

  function endModel(): void {
    const { model } = state;
    if (model === null) return;
    const { callId, attempt, reservationId, provider, model: name } = model;
    const step = state.step;
    const settled: NewEvent = {
      type: 'budget.settled',
      data: { reservationId, amounts: { tokens: 5, costMicroUsd: chance(9) }, outcome: 'settled' },
    };
    if (chance(5) === 0) {
      emit({ type: 'model.failed', data: { step, callId, attempt, provider, model: name, error, usage } }, settled);
      if (chance(2) === 0) startModel(step, attempt + 1);
      else {
        inFlight.delete(callId);
        failAndResume();
      }
      return;
    }
    inFlight.delete(callId);
    const calls: ToolCallPart[] = Array.from({ length: chance(6) === 0 ? 0 : chance(6) }, (_, index) => ({
      type: 'tool_call',
      providerCallId: `${callId}-${index}`,
      name: `tool${chance(3)}`,
      input: { value: chance(2) },
      ...(chance(8) === 0 ? { invalidInput: '{' } : {}),
    }));
    const content: AssistantPart[] = [{ type: 'text', text: `step ${step}` }, ...calls];
    emit(
      {
        type: 'model.completed',
        data: {
          step,
          callId,
          attempt,
          purpose: 'answer',
          provider,
          model: name,
          content,
          finishReason: calls.length > 0 ? 'tool_calls' : 'stop',
          usage,
          costMicroUsd: 1,
          durationMs: 1,
        },
      },
      settled,
      ...calls.map((call, index) => ({
        type: 'tool.requested' as const,
        data: { step, callId: toolCallId(runId, step, index), index, name: call.name, input: call.input },
      })),
    );
  }

  function failAndResume(): void {
    const refused: NewEvent = {
      type: 'budget.refused',
      data: {
        purpose: 'tool',
        refusal: { scope: { kind: 'run', id: runId }, unit: 'tokens', window: 'total', limit: 1, asked: 2, available: 1 },
      },
    };
    emit(refused);
    emit({ type: 'run.failed', data: { error, totals: state.totals, resumable: true, stateHash: stateHash(state) } });
    emit({ type: 'run.resumed', data: { reason: 'budget', workerId: 'w', epoch: 2 } });
  }

  function complete(call: ToolCallState, status: 'ok' | 'error' | 'denied'): void {
    inFlight.delete(call.callId);
    emit({
      type: 'tool.completed',
      data: { step: state.step, callId: call.callId, name: call.name, status, output: `${call.index}: ${chance(3)}` },
    });
  }

  function takeCall(call: ToolCallState): void {
    const { callId, name } = call;
    const { step } = state;
    const { phase } = call;
    if (phase.type === 'decided' && phase.decision === 'deny') {
      complete(call, 'denied');
      return;
    }
    const way = chance(6);
    if (phase.type === 'requested' && way === 0) {
      emit({ type: 'policy.denied', data: { step, callId, decision } });
      complete(call, 'denied');
      return;
    }
    if (phase.type === 'requested' && way === 1) {
      emit({
        type: 'approval.requested',
        data: {
          step,
          callId,
          approvalId: nextId('apr'),
          kind: 'tool_call',
          toolName: name,
          input: call.input,
          deadlineAt: '2026-01-01T00:00:00.000Z',
          defaultDecision: 'deny',
        },
      });
      return;
    }
    const child = way === 2;
    if (!child) inFlight.add(callId);
    emit({
      type: 'tool.started',
      data: {
        step,
        callId,
        attempt: (call.attempt?.attempt ?? 0) + 1,
        name,
        effects: 'idempotent',
        input: call.input,
        idempotencyKey: callId,
        timeoutMs: 10,
        ...(child ? { childRunId: nextId('run') } : {}),
        decision,
      },
    });
  }

  function loseWorker(): void {
    inFlight.clear();
    const { step, model } = state;
    const lost = state.calls.filter((call) => call.phase.type === 'started' && call.attempt?.childRunId === null);
    emit({ type: 'run.resumed', data: { reason: 'recovered', workerId: 'w', epoch: 3 } });
    if (model?.phase === 'started') {
      const { callId, attempt, reservationId } = model;
      emit(
        { type: 'step.restarted', data: { step, callId, kind: 'model', attempt, reason: 'lost' } },
        { type: 'budget.settled', data: { reservationId, amounts: { tokens: 10 }, outcome: 'charged_maximum' } },
      );
    }
    for (const { callId } of lost) emit({ type: 'step.restarted', data: { step, callId, kind: 'tool', attempt: 1, reason: 'lost' } });
  }

  function endOne(): void {
    const running = state.calls.filter((call) => inFlight.has(call.callId));
    const call = running[chance(Math.max(1, running.length))];
    if (chance(12) === 0) loseWorker();
    else if (state.model !== null && inFlight.has(state.model.callId)) endModel();
    else if (call !== undefined) complete(call, chance(4) === 0 ? 'error' : 'ok');
  }

  emit(
    {
      type: 'run.created',
      data: { sessionId: 's', agent: 'a', agentVersion: 'v', input: [{ type: 'text', text: 'go' }], history: [], principal: 'local' },
    },
    { type: 'run.started', data: { workerId: 'w', epoch: 1 } },
  );
  for (let rounds = 0; rounds < 400; rounds++) {
    const action = nextAction(state, limits, inFlight);
    switch (action.type) {
      case 'model':
        if (action.newStep) emit({ type: 'step.started', data: { step: action.step } });
        startModel(action.step, state.model === null ? 1 : state.model.attempt + 1);
        break;
      case 'tools':
        if (inFlight.size === 0 && chance(15) === 0) failAndResume();
        else for (const call of action.calls) takeCall(call);
        break;
      case 'busy':
        endOne();
        break;
      case 'wait': {
        const { approvals, childRuns } = action;
        emit({
          type: 'run.waiting',
          data: { reason: approvals.length > 0 ? 'approval' : 'child', approvals: [...approvals], childRuns: [...childRuns] },
        });
        emit({ type: 'run.resumed', data: { reason: 'approval', workerId: 'w', epoch: 4 } });
        const waiting = state.calls.filter((call) => call.phase.type === 'awaiting' || call.attempt?.childRunId != null);
        const open = waiting.filter((call) => call.phase.type !== 'completed');
        const call = open[chance(Math.max(1, open.length))];
        if (call?.phase.type === 'awaiting') {
          const answer = chance(2) === 0 ? ('approve' as const) : ('deny' as const);
          const { approvalId, kind } = call.phase;
          emit({
            type: 'approval.decided',
            data: { step: state.step, callId: call.callId, approvalId, kind, decision: answer, decidedBy: 'ada' },
          });
        } else if (call !== undefined) complete(call, 'ok');
        break;
      }
      case 'finish': {
        const said: NewEvent = {
          type: 'message.completed',
          data: { messageId: 'msg_1', role: 'assistant', text: action.text, finishReason: 'stop' },
        };
        const totals = state.totals;
        emit(said, { type: 'run.completed', data: { totals, stateHash: stateHash(foldNew(state, [said])) } });
        break;
      }
      case 'fail': {
        const { totals } = state;
        emit({ type: 'run.failed', data: { error: action.error, totals, resumable: action.resumable, stateHash: stateHash(state) } });
        break;
      }
      case 'ended':
        return { events, state, mostRunning };
    }
  }
  throw new Error(`the journal of seed ${seed} does not end`);
}
