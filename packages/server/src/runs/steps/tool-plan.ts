import type { ErrorInfo, ReservationId } from '@nexus-agent/protocol';
import { denialMessage, type RecordedDecision, reserveTool, timeLeft } from '#calls';
import { toTimestamp, unknownTool } from '#core';
import type { CallIds, RunState, ToolCallState } from '#runs/journal';
import type { ToolDescriptor } from '#tools';
import { chargeOpen } from './charging.ts';
import type { RunContext } from './context.ts';
import type { Engine } from './engine.ts';
import { judgeCall } from './judge-call.ts';
import { merge, type Proposal, propose } from './proposal.ts';
import { proposeQuestion } from './questions.ts';
import { sleepOf } from './sleeping.ts';
import { childRunId } from './subagents.ts';
import { failure, proposeResult } from './tool-result.ts';
import { calledBy, type ToolStart } from './tool-start.ts';

export type ToolPlan =
  | { readonly type: 'start'; readonly start: ToolStart }
  /** Nothing is to be run: an error, a denial or a question goes straight into the journal. */
  | { readonly type: 'written'; readonly proposal: Proposal };

/**
 * What becomes of a requested or decided call. Every path that leads to `start` has asked policy about the very arguments that will run.
 *
 * @param busy calls that go on beside it
 */
export function planTool(engine: Engine, context: RunContext, state: RunState, call: ToolCallState, busy: CallIds): ToolPlan {
  const parent = state.calls.find(({ callId }) => callId === call.parentCallId);
  const offered = parent === undefined ? context.tools : calledBy(context, toolNamed(context, parent.name));
  const tool = offered.find((candidate) => candidate.name === call.name);
  if (tool === undefined) {
    const { code, message } = unknownTool(
      call.name,
      offered.map(({ name }) => name),
    );
    return written(proposeResult(state, call, failure(code, message)));
  }
  if (call.phase.type === 'decided') return planDecided(engine, context, state, call, tool, busy);
  if (call.invalidInput !== null) {
    const message =
      state.answer?.finishReason === 'length' && call.parentCallId === undefined
        ? `the arguments of ${call.name} were cut, as the whole answer may have ${state.answer.maxTokens} tokens: nothing was done; call it again with less at a time`
        : `the arguments of ${call.name} are not valid JSON, or nested too deeply: ${call.invalidInput.slice(0, 200)}`;
    return written(proposeResult(state, call, failure('tool_input_invalid', message)));
  }
  return decideAndStart(engine, context, state, call, tool, call.attempt?.input ?? call.input, approvalOf(call), busy);
}

function toolNamed({ tools }: RunContext, name: string): ToolDescriptor | undefined {
  return tools.find((tool) => tool.name === name);
}

function planDecided(
  engine: Engine,
  context: RunContext,
  state: RunState,
  call: ToolCallState,
  tool: ToolDescriptor,
  busy: CallIds,
): ToolPlan {
  if (call.phase.type !== 'decided') return { type: 'written', proposal: propose({}) };
  const { kind, decision, note, result, decidedBy } = call.phase;
  const because = note === null ? '' : `: ${note}`;
  switch (decision) {
    case 'approve':
      return decideAndStart(engine, context, state, call, tool, call.phase.arguments ?? call.input, approvalOf(call), busy);
    case 'retry':
      return decideAndStart(engine, context, state, call, tool, call.attempt?.input ?? call.input, approvalOf(call), busy);
    case 'answer':
      return written(proposeResult(state, call, { type: 'ok', output: result ?? '' }));
    case 'done':
      return written(
        merge([
          proposeResult(state, call, { type: 'ok', output: result ?? `A person confirmed that this took effect${because}` }),
          paid(state, call),
        ]),
      );
    case 'fail':
      return written(
        merge([
          proposeResult(
            state,
            call,
            failure('tool_outcome_unknown', `it is not known whether this took effect, and it was not tried again${because}`),
          ),
          paid(state, call),
        ]),
      );
    case 'deny': {
      const code = decidedBy === 'timeout' ? 'approval_expired' : 'approval_denied';
      const message =
        decidedBy === 'timeout'
          ? 'nobody answered in time'
          : `a person ${kind === 'question' ? 'did not want to answer' : 'denied this call'}${because}`;
      return written(proposeResult(state, call, { type: 'denied', error: { code, message, retryable: false } }));
    }
  }
}

function approvalOf(call: ToolCallState): { readonly by: string; readonly role?: string } | null {
  if (call.approval === null) return null;
  return { by: call.approval.by, ...(call.approval.role === null ? {} : { role: call.approval.role }) };
}

function decideAndStart(
  engine: Engine,
  context: RunContext,
  state: RunState,
  call: ToolCallState,
  tool: ToolDescriptor,
  rawInput: unknown,
  approved: { readonly by: string; readonly role?: string } | null,
  busy: CallIds,
): ToolPlan {
  const judged = judgeCall(engine, context, { callId: call.callId, step: state.step, tool, rawInput, approved });
  if (judged.type === 'unfit') return written(proposeResult(state, call, { type: 'error', error: judged.error }));
  const { decision } = judged;
  if (judged.type === 'denied') {
    const allowed = propose({ decisions: decision === judged.denial ? [] : [decision.row] });
    return written(merge([allowed, denied(state, call, judged.denial)]));
  }
  const { input } = judged;
  if (judged.type === 'to_be_approved') return written(proposeQuestion(engine, context, state, call, 'tool_call', input, decision));
  if (tool.kind === 'question') return written(proposeQuestion(engine, context, state, call, 'question', input, decision));
  const { child, childDecision } = judged;
  const sleep = tool.kind === 'timer' ? sleepOf(engine, input) : null;
  if (sleep !== null && sleep.type !== 'until') return written(proposeResult(state, call, sleep));
  const until = tool.kind === 'client' ? toTimestamp(engine.clock.now() + tool.timeoutMs) : (sleep?.until ?? null);
  const attempt = (call.attempt?.attempt ?? 0) + 1;
  const resume = call.suspension ?? null;
  const timeoutMs = timeLeft(engine, context.charge, tool.timeoutMs);
  const earlier = call.attempt?.reservationId ?? null;
  const reservationId = engine.ids.next<ReservationId>('reservation');
  const reserve = reserveTool(engine, context.charge, tool, {
    reservationId,
    timeoutMs,
    wall: child === null && until === null,
    counts: resume === null,
    beside: besideOf(state, busy),
  });
  return {
    type: 'start',
    start: {
      call,
      tool,
      input,
      attempt,
      resume,
      idempotencyKey: call.attempt?.idempotencyKey ?? call.callId,
      decision,
      childDecision,
      reserve,
      superseded: earlier !== null && Object.hasOwn(state.openReservations, earlier) ? earlier : null,
      childRunId: child === null ? null : childRunId(context.runId, call.callId),
      until,
    },
  };
}

/** Reservations of the calls that go on now and hold time. A sub-agent holds none for its parent. */
function besideOf(state: RunState, busy: CallIds): readonly string[] {
  return state.calls.flatMap(({ callId, phase, attempt }) =>
    phase.type === 'started' && busy.has(callId) && attempt?.childRunId === null && attempt.reservationId !== null
      ? [attempt.reservationId]
      : [],
  );
}

function denied(state: RunState, call: ToolCallState, decision: RecordedDecision): Proposal {
  const error: ErrorInfo = { code: 'policy_denied', message: denialMessage(decision.record), retryable: false };
  const said = propose({
    decisions: [decision.row],
    events: [{ type: 'policy.denied', data: { step: state.step, callId: call.callId, decision: decision.record } }],
  });
  return merge([said, proposeResult(state, call, { type: 'denied', error })]);
}

function written(proposal: Proposal): ToolPlan {
  return { type: 'written', proposal };
}

/** The attempt may have done its work: what was reserved for it is charged. */
function paid(state: RunState, call: ToolCallState): Proposal {
  const reservationId = call.attempt?.reservationId ?? null;
  return reservationId === null ? propose({}) : chargeOpen(state, reservationId);
}
