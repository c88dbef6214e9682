import type { ApprovalDecision, ApprovalKind, ErrorInfo, JournalData, NewEvent, ReservationId, RunId } from '@nexus-agent/protocol';
import { decideForAgent, decideTool, denialMessage, type RecordedDecision, reserveTool, timeLeft } from '#calls';
import { toTimestamp } from '#core';
import type { RunState, ToolCallState } from '#runs/journal';
import type { ApprovalRow, LedgerOutcome, ReserveOperation } from '#storage';
import { checkArguments, type ToolDescriptor } from '#tools';
import type { RunContext } from './context.ts';
import type { Engine } from './engine.ts';
import { charge, merge, type Proposal, propose, settle } from './proposal.ts';
import { childRunId, subagentOf } from './subagents.ts';

/** A tool call that policy allows and that is about to be reserved and started. */
export interface ToolStart {
  readonly call: ToolCallState;
  readonly tool: ToolDescriptor;
  readonly input: Record<string, unknown>;
  readonly attempt: number;
  readonly idempotencyKey: string;
  readonly decision: RecordedDecision;
  /** For a sub-agent: that its run may start. */
  readonly childDecision: RecordedDecision | null;
  /** Null when an earlier attempt's reservation, still open, pays for this one too. */
  readonly reserve: ReserveOperation | null;
  readonly reservationId: string;
  /** Of an earlier attempt that may have done its work: charged when this one begins. */
  readonly superseded: string | null;
  readonly childRunId: RunId | null;
}

export type ToolPlan =
  | { readonly type: 'start'; readonly start: ToolStart }
  /** Nothing is to be run: an error, a denial or a question goes straight into the journal. */
  | { readonly type: 'written'; readonly proposal: Proposal };

/** What becomes of a requested or decided call. Every path that leads to `start` has asked policy about the very arguments that will run. */
export function planTool(engine: Engine, context: RunContext, state: RunState, call: ToolCallState): ToolPlan {
  const tool = context.tools.find((candidate) => candidate.name === call.name);
  if (tool === undefined) {
    const known = context.tools.map((candidate) => candidate.name).join(', ') || 'none';
    return written(completed(state, call, failure('tool_not_found', `there is no tool "${call.name}"; the tools are: ${known}`)));
  }
  if (call.phase.type === 'decided') return planDecided(engine, context, state, call, tool);
  if (call.invalidInput !== null) {
    const message = `the arguments of ${call.name} are not valid JSON, or nested too deeply: ${call.invalidInput.slice(0, 200)}`;
    return written(completed(state, call, failure('tool_input_invalid', message)));
  }
  return decideAndStart(engine, context, state, call, tool, call.attempt?.input ?? call.input, approvalOf(call));
}

function planDecided(engine: Engine, context: RunContext, state: RunState, call: ToolCallState, tool: ToolDescriptor): ToolPlan {
  if (call.phase.type !== 'decided') return { type: 'written', proposal: propose({}) };
  const { kind, decision, note, result, decidedBy } = call.phase;
  const because = note === null ? '' : `: ${note}`;
  switch (decision) {
    case 'approve':
      return decideAndStart(engine, context, state, call, tool, call.phase.arguments ?? call.input, approvalOf(call));
    case 'retry':
      return decideAndStart(engine, context, state, call, tool, call.attempt?.input ?? call.input, approvalOf(call));
    case 'answer':
      return written(completed(state, call, { type: 'ok', output: result ?? '' }));
    case 'done':
      return written(
        merge([completed(state, call, { type: 'ok', output: result ?? `A person confirmed that this took effect${because}` }), paid(call)]),
      );
    case 'fail':
      return written(
        merge([
          completed(
            state,
            call,
            failure('tool_outcome_unknown', `it is not known whether this took effect, and it was not tried again${because}`),
          ),
          paid(call),
        ]),
      );
    case 'deny': {
      const code = decidedBy === 'timeout' ? 'approval_expired' : 'approval_denied';
      const message =
        decidedBy === 'timeout'
          ? 'nobody answered in time'
          : `a person ${kind === 'question' ? 'did not want to answer' : 'denied this call'}${because}`;
      return written(completed(state, call, { type: 'denied', error: { code, message, retryable: false } }));
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
): ToolPlan {
  const checked = checkArguments(engine.schemas, tool, rawInput);
  if (checked.type === 'error') return written(completed(state, call, checked));
  const decision = decideTool(engine, context.charge, call.callId, tool, {
    arguments: checked.input,
    step: state.step,
    ...(tool.maxCostMicroUsd === undefined ? {} : { estimatedCostMicroUsd: tool.maxCostMicroUsd }),
    ...(approved === null ? {} : { approved }),
  });
  if (decision.record.effect === 'deny') {
    return written(denied(state, call, decision));
  }
  if (decision.record.effect === 'require_approval')
    return written(ask(engine, context, state, call, 'tool_call', checked.input, decision));
  if (tool.kind === 'question') return written(ask(engine, context, state, call, 'question', checked.input, decision));

  const child = subagentOf(tool.name);
  const childDecision =
    child === null
      ? null
      : decideForAgent(engine, context.charge, call.callId, {
          action: 'run.start',
          resource: { type: 'Agent', id: child, attributes: { declared: context.agent.subagents.includes(child) } },
          context: {},
        });
  if (childDecision !== null && childDecision.record.effect !== 'allow') {
    const allowed = propose({ decisions: [decision.row] });
    return written(merge([allowed, denied(state, call, childDecision)]));
  }
  const attempt = (call.attempt?.attempt ?? 0) + 1;
  const timeoutMs = timeLeft(engine, context.charge, tool.timeoutMs);
  const earlier = call.attempt?.reservationId ?? null;
  const open = earlier !== null && earlier in state.openReservations;
  // A person may have taken days to say that it is to be tried again: that is paid for anew.
  const retry = call.phase.type === 'decided' && call.phase.decision === 'retry';
  const held = open && !retry ? earlier : null;
  const reservationId = (held ?? engine.ids.next<ReservationId>('reservation')) as ReservationId; // a held one was written from such an id
  const reserve = reserveTool(engine, context.charge, tool, { reservationId, timeoutMs, wall: child === null });
  return {
    type: 'start',
    start: {
      call,
      tool,
      input: checked.input,
      attempt,
      idempotencyKey: call.attempt?.idempotencyKey ?? call.callId,
      decision,
      childDecision,
      reserve: held === null ? reserve : null,
      superseded: open && retry ? earlier : null,
      reservationId,
      childRunId: child === null ? null : childRunId(context.runId, call.callId),
    },
  };
}

function denied(state: RunState, call: ToolCallState, decision: RecordedDecision): Proposal {
  const error: ErrorInfo = { code: 'policy_denied', message: denialMessage(decision.record), retryable: false };
  const said = propose({
    decisions: [decision.row],
    events: [{ type: 'policy.denied', data: { step: state.step, callId: call.callId, decision: decision.record } }],
  });
  return merge([said, completed(state, call, { type: 'denied', error })]);
}

/** The time that a started call may take: what the budget granted, or the tool's own limit. */
export function grantedWallMs(engine: Engine, context: RunContext, start: ToolStart, outcome: LedgerOutcome | undefined): number {
  const wanted = timeLeft(engine, context.charge, start.tool.timeoutMs);
  return outcome?.type === 'reserved' && outcome.wallMs !== null ? Math.min(outcome.wallMs, wanted) : wanted;
}

/** Reserves and announces an attempt of a tool call. A sub-agent pays for itself, so its call is settled at once. */
export function proposeToolStart(engine: Engine, context: RunContext, state: RunState, start: ToolStart): Proposal {
  const { call, tool, decision, childDecision, reserve, reservationId } = start;
  const reserved = propose({
    ledger: reserve === null ? [] : [reserve],
    decisions: childDecision === null ? [decision.row] : [decision.row, childDecision.row],
    events([outcome]) {
      const events: NewEvent[] =
        outcome?.type === 'reserved' ? [{ type: 'budget.reserved', data: { reservationId, amounts: outcome.amounts } }] : [];
      events.push({
        type: 'tool.started',
        data: {
          step: state.step,
          callId: call.callId,
          attempt: start.attempt,
          name: tool.name,
          effects: tool.effects,
          input: start.input,
          idempotencyKey: start.idempotencyKey,
          timeoutMs: grantedWallMs(engine, context, start, outcome),
          reservationId,
          ...(start.childRunId === null ? {} : { childRunId: start.childRunId }),
          decision: decision.record,
        },
      });
      return events;
    },
  });
  if (start.childRunId !== null) return merge([reserved, settle(reservationId, { toolCalls: 1 })]);
  return start.superseded === null ? reserved : merge([reserved, charge(start.superseded)]);
}

/** Asks a person about a call: may it run, did it take effect, or what is the answer. */
export function ask(
  engine: Engine,
  context: RunContext,
  state: RunState,
  call: ToolCallState,
  kind: ApprovalKind,
  input: unknown,
  decision: RecordedDecision | null,
): Proposal {
  const now = engine.clock.now();
  const approvalId = engine.ids.next<string>('approval');
  const deadlineAt = now + context.agent.approvalTimeoutMs;
  const defaultDecision: ApprovalDecision = kind === 'unknown_outcome' ? 'fail' : 'deny';
  const role = decision?.record.obligations?.flatMap((obligation) =>
    obligation.type === 'require_approval' && obligation.role !== undefined ? [obligation.role] : [],
  )[0];
  const question = questionText(kind, call, input);
  const row: ApprovalRow = {
    tenantId: context.tenantId,
    approvalId,
    runId: context.runId,
    sessionId: context.sessionId,
    callId: call.callId,
    kind,
    status: 'pending',
    toolName: call.name,
    input,
    question,
    role: role ?? null,
    defaultDecision,
    deadlineAt,
    decision: null,
    answer: null,
    decidedBy: null,
    decidedAt: null,
    createdAt: now,
  };
  const data: JournalData<'approval.requested'> = {
    step: state.step,
    callId: call.callId,
    approvalId,
    kind,
    toolName: call.name,
    input,
    question,
    ...(role === undefined ? {} : { role }),
    deadlineAt: toTimestamp(deadlineAt),
    defaultDecision,
    ...(decision === null ? {} : { decision: decision.record }),
  };
  return propose({ approvals: [row], decisions: decision === null ? [] : [decision.row], events: [{ type: 'approval.requested', data }] });
}

function questionText(kind: ApprovalKind, call: ToolCallState, input: unknown): string {
  if (kind === 'tool_call') return `May ${call.name} run with exactly these arguments?`;
  if (kind === 'unknown_outcome')
    return `${call.name} was started and its worker was lost. Did it take effect? Answer done (with its result), retry or fail.`;
  const question = typeof input === 'object' && input !== null && 'question' in input ? input.question : null;
  return typeof question === 'string' ? question : 'The agent asks for an answer.';
}

export type ToolEnd =
  | { readonly type: 'ok'; readonly output: string; readonly durationMs?: number; readonly costMicroUsd?: number }
  | { readonly type: 'error' | 'denied' | 'cancelled'; readonly error: ErrorInfo; readonly durationMs?: number };

function failure(code: ErrorInfo['code'], message: string): ToolEnd {
  return { type: 'error', error: { code, message, retryable: false } };
}

/** Journals the end of a call. A failure becomes a result that tells the model what was wrong. */
export function completed(state: RunState, call: ToolCallState, end: ToolEnd): Proposal {
  const output =
    end.type === 'ok'
      ? end.output
      : JSON.stringify({
          error: {
            code: end.error.code,
            message: end.error.message,
            ...(end.error.details === undefined ? {} : { details: end.error.details }),
          },
        });
  const data: JournalData<'tool.completed'> = {
    step: state.step,
    callId: call.callId,
    name: call.name,
    status: end.type,
    output,
    ...(end.type === 'ok' ? {} : { error: end.error }),
    ...(end.type === 'ok' && end.costMicroUsd !== undefined ? { costMicroUsd: end.costMicroUsd } : {}),
    ...(end.durationMs === undefined ? {} : { durationMs: Math.round(end.durationMs) }),
  };
  return propose({ events: [{ type: 'tool.completed', data }] });
}

function written(proposal: Proposal): ToolPlan {
  return { type: 'written', proposal };
}

/** The attempt may have done its work: what was reserved for it is charged. */
function paid(call: ToolCallState): Proposal {
  const reservationId = call.attempt?.reservationId ?? null;
  return reservationId === null ? propose({}) : charge(reservationId);
}
