import type { ErrorInfo, NewEvent } from '@nexus-agent/protocol';
import { type ModelAttempt, type ModelCall, modelGrant, planModelAttempt, type RecordedDecision } from '#calls';
import { derivedId } from '#core';
import { estimateInputTokens, type ModelRequest, type ModelTarget } from '#llm';
import { conversation, type RunState } from '#runs/journal';
import { planCompaction } from './compaction.ts';
import type { RunContext } from './context.ts';
import type { Engine } from './engine.ts';
import { type Proposal, propose } from './proposal.ts';

/** A model call of a run that is wanted: what to send, and what it may cost. */
export interface ModelCallPlan extends ModelCall {
  readonly newStep: boolean;
  readonly purpose: 'answer' | 'compaction';
  readonly replacesMessages: number | null;
  readonly firstAttempt: number;
}

export type RunModelAttempt = ModelAttempt<ModelCallPlan>;

export type PlannedCall =
  | { readonly type: 'planned'; readonly call: ModelCallPlan }
  | { readonly type: 'impossible'; readonly error: ErrorInfo; readonly decision: null };

/** Builds the next model call of a run: the conversation, or the summary that must come first when it is too long. */
export function planModelCall(
  engine: Engine,
  context: RunContext,
  state: RunState,
  at: { readonly step: number; readonly newStep: boolean },
): PlannedCall {
  const { agent, targets } = context;
  const tools = context.tools.map(({ name, description, inputSchema }) => ({ name, description, inputSchema }));
  const fixed = { system: agent.instructions, tools, ...(agent.outputSchema === undefined ? {} : { outputSchema: agent.outputSchema }) };
  const { messages, summary } = conversation(context.before, state);
  const smallest = targets.reduce((least, target) => Math.min(least, target.contextTokens), Number.POSITIVE_INFINITY);
  const limitTokens = Math.floor(smallest * engine.settings.compactAt) - Math.min(agent.maxOutputTokens, Math.floor(smallest / 4));
  const inputTokens = estimateInputTokens({ ...fixed, messages });

  if (inputTokens > limitTokens) {
    const overheadTokens = estimateInputTokens({ ...fixed, messages: [] });
    const compaction = planCompaction(
      [...context.before.messages, ...state.messages],
      summary,
      limitTokens,
      overheadTokens,
      engine.settings,
    );
    if (compaction.type === 'summarise') {
      const callId = derivedId<string>('call', `${context.runId}/${at.step}/compaction/${state.compactions}`);
      const request: ModelRequest = { ...compaction.request, idempotencyKey: callId };
      return {
        type: 'planned',
        call: {
          ...at,
          timeoutMs: agent.timeoutMs,
          callId,
          purpose: 'compaction',
          replacesMessages: compaction.replaces,
          firstAttempt: nextAttempt(state, callId),
          request,
        },
      };
    }
    if (compaction.type === 'impossible') {
      const message = `the conversation needs about ${inputTokens} tokens, the model takes ${smallest}, and its newest turn alone is too long to be summarised`;
      return {
        type: 'impossible',
        decision: null,
        error: { code: 'context_overflow', message, retryable: false, details: { inputTokens, contextTokens: smallest } },
      };
    }
  }

  const callId = derivedId<string>('call', `${context.runId}/${at.step}/answer`);
  return {
    type: 'planned',
    call: {
      ...at,
      timeoutMs: agent.timeoutMs,
      callId,
      purpose: 'answer',
      replacesMessages: null,
      firstAttempt: nextAttempt(state, callId),
      request: {
        ...fixed,
        messages,
        maxOutputTokens: agent.maxOutputTokens,
        idempotencyKey: callId,
        ...(agent.temperature === undefined ? {} : { temperature: agent.temperature }),
      },
    },
  };
}

function nextAttempt(state: RunState, callId: string): number {
  return state.model?.callId === callId ? state.model.attempt + 1 : 1;
}

/** Decides and sizes an attempt of a run's call at one of its targets. */
export function planRunAttempt(
  engine: Engine,
  context: RunContext,
  call: ModelCallPlan,
  target: ModelTarget,
  { attempt, whole }: { readonly attempt: number; readonly whole: boolean },
) {
  return planModelAttempt(engine, context.charge, call, target, { attempt, whole, declared: context.declaredTargets.has(target) });
}

/** Reserves and announces an attempt. `model.started` is its last event: what is streamed is numbered after it. */
export function proposeModelAttempt(attempt: RunModelAttempt): Proposal {
  const { call, target, reserve, decision } = attempt;
  return propose({
    ledger: [reserve],
    decisions: [decision.row],
    patch: { step: call.step },
    events([outcome]) {
      const grant = modelGrant(attempt, outcome);
      const events: NewEvent[] =
        call.newStep && attempt.attempt === call.firstAttempt ? [{ type: 'step.started', data: { step: call.step } }] : [];
      if (outcome?.type === 'reserved') {
        events.push({ type: 'budget.reserved', data: { reservationId: reserve.reservationId, amounts: outcome.amounts } });
      }
      events.push({
        type: 'model.started',
        data: {
          step: call.step,
          callId: call.callId,
          attempt: attempt.attempt,
          purpose: call.purpose,
          provider: target.provider,
          model: target.model,
          maxTokens: grant.maxTokens,
          ...(grant.maxTokens < attempt.askedTokens ? { clamped: true } : {}),
          timeoutMs: grant.wallMs,
          reservationId: reserve.reservationId,
          inputTokens: attempt.inputTokens,
          decision: decision.record,
        },
      });
      return events;
    },
  });
}

/** Journals that policy did not allow a model call. */
export function proposeDeniedModel(decision: RecordedDecision, step: number): Proposal {
  return propose({ decisions: [decision.row], events: [{ type: 'policy.denied', data: { step, decision: decision.record } }] });
}
