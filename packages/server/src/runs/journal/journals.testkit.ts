import type { AssistantPart, DecisionRecord, JournalEvent, NewEvent, ToolCallPart } from '@nexus-agent/protocol';

import { type NextAction, nextAction, type RunLimits } from './next-action.ts';
import { initialState, type RunState, type ToolCallState } from './state.ts';
import { foldNew, nestedCallId, stateHash, toolCallId, transition } from './transitions.ts';

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
 * Writes a journal as an engine would that obeys `nextAction` while everything around it goes by chance: answers with and
 * without tools, results in any order, failures and retries, lost workers, denials, approvals, sub-agents, refused budgets
 * and resumes.
 */
class RandomEngine {
  readonly events: JournalEvent[] = [];
  readonly inFlight = new Set<string>();
  readonly runId: string;
  readonly seed: number;
  readonly limits: RunLimits;
  readonly chance: (n: number) => number;
  state = initialState;
  mostRunning = 0;
  ids = 0;

  constructor(seed: number, limits: RunLimits) {
    this.seed = seed;
    this.limits = limits;
    this.runId = `run_${seed}`;
    this.chance = dice(seed);
  }

  emit(...added: NewEvent[]): void {
    for (const event of added) {
      const next: JournalEvent = { ...event, seq: this.events.length + 1, at: 1_000 + this.events.length };
      this.events.push(next);
      this.state = transition(this.state, next);
    }
    const children = this.state.calls.filter((call) => call.phase.type === 'started' && call.attempt?.childRunId != null);
    const running = this.state.calls.filter((call) => this.inFlight.has(call.callId));
    this.mostRunning = Math.max(this.mostRunning, new Set([...children, ...running].map((call) => call.callId)).size);
  }

  nextId(prefix: string): string {
    return `${prefix}_${this.seed}_${++this.ids}`;
  }

  startModel(step: number, attempt: number): void {
    const callId = `call_${step}_${this.state.compactions}`;
    const reservationId = this.nextId('rsv');
    this.inFlight.add(callId);
    this.emit(
      { type: 'budget.reserved', data: { reservationId, amounts: { tokens: 10 } } },
      {
        type: 'model.started',
        data: { step, callId, attempt, purpose: 'answer', provider: 'p', model: 'm', maxTokens: 10, reservationId, decision },
      },
    );
  }

  endModel(): void {
    const { model } = this.state;
    if (model === null) return;
    const { callId, attempt, reservationId, provider, model: name } = model;
    const step = this.state.step;
    const settled: NewEvent = {
      type: 'budget.settled',
      data: { reservationId, amounts: { tokens: 5, costMicroUsd: this.chance(9) }, outcome: 'settled' },
    };
    if (this.chance(5) === 0) {
      this.emit({ type: 'model.failed', data: { step, callId, attempt, provider, model: name, error, usage } }, settled);
      if (this.chance(3) === 0) {
        const contextTokens = 1_000 + this.chance(9_000);
        const reason = this.chance(2) === 0 ? ('refused' as const) : ('known' as const);
        this.emit({ type: 'context.learned', data: { step, callId, provider, model: name, contextTokens, inputTokens: 9, reason } });
      }
      if (this.chance(2) === 0) this.startModel(step, attempt + 1);
      else {
        this.inFlight.delete(callId);
        this.failAndResume();
      }
      return;
    }
    this.inFlight.delete(callId);
    const calls: ToolCallPart[] = Array.from({ length: this.chance(6) === 0 ? 0 : this.chance(6) }, (_, index) => ({
      type: 'tool_call',
      providerCallId: `${callId}-${index}`,
      name: `tool${this.chance(3)}`,
      input: { value: this.chance(2) },
      ...(this.chance(8) === 0 ? { invalidInput: '{' } : {}),
    }));
    const content: AssistantPart[] = [{ type: 'text', text: `step ${step}` }, ...calls];
    this.emit(
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
        data: { step, callId: toolCallId(this.runId, step, index), index, name: call.name, input: call.input },
      })),
    );
  }

  failAndResume(): void {
    const refused: NewEvent = {
      type: 'budget.refused',
      data: {
        purpose: 'tool',
        refusal: { scope: { kind: 'run', id: this.runId }, unit: 'tokens', window: 'total', limit: 1, asked: 2, available: 1 },
      },
    };
    this.emit(refused);
    this.emit({ type: 'run.failed', data: { error, totals: this.state.totals, resumable: true, stateHash: stateHash(this.state) } });
    this.emit({ type: 'run.resumed', data: { reason: 'budget', workerId: 'w', epoch: 2 } });
  }

  complete(call: ToolCallState, status: 'ok' | 'error' | 'denied'): void {
    this.inFlight.delete(call.callId);
    this.emit({
      type: 'tool.completed',
      data: { step: this.state.step, callId: call.callId, name: call.name, status, output: `${call.index}: ${this.chance(3)}` },
    });
  }

  /** It asks for calls of its own, of which some ask for more. */
  suspend(call: ToolCallState): void {
    const { callId, name, attempt, suspension } = call;
    const { step } = this.state;
    this.inFlight.delete(callId);
    const wanted = Array.from({ length: 1 + this.chance(3) }, (_, at) => 10 * (suspension?.count ?? 0) + at + 1);
    this.emit(
      {
        type: 'tool.suspended',
        data: { step, callId, attempt: attempt?.attempt ?? 1, name, state: { sha256: this.nextId('sha'), bytes: 9 }, fuelUsed: 1 },
      },
      ...wanted.map((index) => ({
        type: 'tool.requested' as const,
        data: { step, callId: nestedCallId(callId, index), index, name: `tool${this.chance(3)}`, input: { index }, parentCallId: callId },
      })),
    );
  }

  takeCall(call: ToolCallState): void {
    const { callId, name } = call;
    const { step } = this.state;
    const { phase } = call;
    if (phase.type === 'decided' && phase.decision === 'deny') {
      this.complete(call, 'denied');
      return;
    }
    const way = this.chance(6);
    if (phase.type === 'requested' && way === 0) {
      this.emit({ type: 'policy.denied', data: { step, callId, decision } });
      this.complete(call, 'denied');
      return;
    }
    if (phase.type === 'requested' && way === 1) {
      this.emit({
        type: 'approval.requested',
        data: {
          step,
          callId,
          approvalId: this.nextId('apr'),
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
    if (!child) this.inFlight.add(callId);
    this.emit({
      type: 'tool.started',
      data: {
        step,
        callId,
        attempt: (call.attempt?.attempt ?? 0) + 1,
        name,
        effects: 'idempotent',
        input: call.suspension === undefined ? call.input : null,
        ...(call.suspension === undefined ? {} : { resumes: call.suspension.count }),
        idempotencyKey: callId,
        timeoutMs: 10,
        ...(child ? { childRunId: this.nextId('run') } : {}),
        decision,
      },
    });
  }

  loseWorker(): void {
    this.inFlight.clear();
    const { step, model } = this.state;
    const lost = this.state.calls.filter((call) => call.phase.type === 'started' && call.attempt?.childRunId === null);
    this.emit({ type: 'run.resumed', data: { reason: 'recovered', workerId: 'w', epoch: 3 } });
    if (model?.phase === 'started') {
      const { callId, attempt, reservationId } = model;
      this.emit(
        { type: 'step.restarted', data: { step, callId, kind: 'model', attempt, reason: 'lost' } },
        { type: 'budget.settled', data: { reservationId, amounts: { tokens: 10 }, outcome: 'charged_maximum' } },
      );
    }
    for (const { callId } of lost) this.emit({ type: 'step.restarted', data: { step, callId, kind: 'tool', attempt: 1, reason: 'lost' } });
  }

  endOne(): void {
    const running = this.state.calls.filter((call) => this.inFlight.has(call.callId));
    const call = running[this.chance(Math.max(1, running.length))];
    if (this.chance(12) === 0) this.loseWorker();
    else if (this.state.model !== null && this.inFlight.has(this.state.model.callId)) this.endModel();
    else if (call?.parentCallId === undefined && call !== undefined && this.chance(4) === 0) this.suspend(call);
    else if (call !== undefined) this.complete(call, this.chance(4) === 0 ? 'error' : 'ok');
  }

  wait(action: Extract<NextAction, { type: 'wait' }>): void {
    const { approvals, childRuns } = action;
    this.emit({
      type: 'run.waiting',
      data: { reason: approvals.length > 0 ? 'approval' : 'child', approvals: [...approvals], childRuns: [...childRuns] },
    });
    this.emit({ type: 'run.resumed', data: { reason: 'approval', workerId: 'w', epoch: 4 } });
    const waiting = this.state.calls.filter((call) => call.phase.type === 'awaiting' || call.attempt?.childRunId != null);
    const open = waiting.filter((call) => call.phase.type !== 'completed');
    const call = open[this.chance(Math.max(1, open.length))];
    if (call?.phase.type === 'awaiting') {
      const answer = this.chance(2) === 0 ? ('approve' as const) : ('deny' as const);
      const { approvalId, kind } = call.phase;
      this.emit({
        type: 'approval.decided',
        data: { step: this.state.step, callId: call.callId, approvalId, kind, decision: answer, decidedBy: 'ada' },
      });
    } else if (call !== undefined) this.complete(call, 'ok');
  }

  finish(text: string): void {
    const said: NewEvent = {
      type: 'message.completed',
      data: { messageId: 'msg_1', role: 'assistant', text: text, finishReason: 'stop' },
    };
    const totals = this.state.totals;
    this.emit(said, { type: 'run.completed', data: { totals, stateHash: stateHash(foldNew(this.state, [said])) } });
  }

  begin(): void {
    this.emit(
      {
        type: 'run.created',
        data: { sessionId: 's', agent: 'a', agentVersion: 'v', input: [{ type: 'text', text: 'go' }], history: [], principal: 'local' },
      },
      { type: 'run.started', data: { workerId: 'w', epoch: 1 } },
    );
  }

  /** False once the run has ended. */
  turn(): boolean {
    const action = nextAction(this.state, this.limits, this.inFlight);
    switch (action.type) {
      case 'model':
        if (action.newStep) this.emit({ type: 'step.started', data: { step: action.step } });
        this.startModel(action.step, this.state.model === null ? 1 : this.state.model.attempt + 1);
        break;
      case 'tools':
        if (this.inFlight.size === 0 && this.chance(15) === 0) this.failAndResume();
        else for (const call of action.calls) this.takeCall(call);
        break;
      case 'busy':
        this.endOne();
        break;
      case 'wait':
        this.wait(action);
        break;
      case 'finish':
        if ((this.state.refused?.count ?? 0) < 2 && this.chance(4) === 0)
          this.emit({ type: 'answer.refused', data: { step: this.state.step, message: 'not that' } });
        else this.finish(action.text);
        break;
      case 'fail': {
        const { totals } = this.state;
        this.emit({
          type: 'run.failed',
          data: { error: action.error, totals, resumable: action.resumable, stateHash: stateHash(this.state) },
        });
        break;
      }
      case 'ended':
        return false;
    }
    return true;
  }
}

/** The journal that follows from a seed. */
export function randomJournal(seed: number, limits: RunLimits = testLimits): TestJournal {
  const engine = new RandomEngine(seed, limits);
  engine.begin();
  for (let rounds = 0; rounds < 400; rounds++) if (!engine.turn()) return engine;
  throw new Error(`the journal of seed ${seed} does not end`);
}
