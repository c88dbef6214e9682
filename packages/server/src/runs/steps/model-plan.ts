import type { ErrorInfo, NewEvent, ReservationId } from '@nexus-agent/protocol';
import { decideForRun, denialMessage, type RecordedDecision } from '#calls';
import { derivedId } from '#core';
import { type ModelRequest, type ModelTarget, reserveMicroUsd } from '#llm';
import { conversation, type RunState } from '#runs/journal';
import type { LedgerOutcome, ReserveOperation } from '#storage';
import { planCompaction } from './compaction.ts';
import type { RunContext } from './context.ts';
import type { Engine } from './engine.ts';
import { type Proposal, propose } from './proposal.ts';

/** A model call that is wanted: what to send, and what it may cost. */
export interface ModelCallPlan {
  readonly step: number;
  readonly newStep: boolean;
  readonly callId: string;
  readonly purpose: 'answer' | 'compaction';
  readonly replacesMessages: number | null;
  readonly firstAttempt: number;
  readonly request: ModelRequest;
  readonly inputTokens: number;
}

/** One attempt of it at one model, decided and ready to be reserved. */
export interface ModelAttemptPlan {
  readonly plan: ModelCallPlan;
  readonly target: ModelTarget;
  readonly attempt: number;
  readonly askedTokens: number;
  readonly decision: RecordedDecision;
  readonly reserve: ReserveOperation;
}

export type Planned<T> =
  | { readonly type: 'planned'; readonly plan: T }
  | { readonly type: 'impossible'; readonly error: ErrorInfo; readonly decision: RecordedDecision | null };

/** Builds the next model call of a run: the conversation, or the summary that must come first when it is too long. */
export function planModelCall(
  engine: Engine,
  context: RunContext,
  state: RunState,
  at: { readonly step: number; readonly newStep: boolean },
): Planned<ModelCallPlan> {
  const { agent, targets } = context;
  const tools = context.tools.map(({ name, description, inputSchema }) => ({ name, description, inputSchema }));
  const fixed = { system: agent.instructions, tools, ...(agent.outputSchema === undefined ? {} : { outputSchema: agent.outputSchema }) };
  const { messages, summary } = conversation(context.before, state);
  const smallest = targets.reduce((least, target) => Math.min(least, target.contextTokens), Number.POSITIVE_INFINITY);
  const limitTokens = Math.floor(smallest * engine.settings.compactAt) - Math.min(agent.maxOutputTokens, Math.floor(smallest / 4));
  const inputTokens = engine.llm.estimateInputTokens({ ...fixed, messages });

  if (inputTokens > limitTokens) {
    const overheadTokens = engine.llm.estimateInputTokens({ ...fixed, messages: [] });
    const compaction = planCompaction(engine.llm, [...context.before.messages, ...state.messages], summary, limitTokens, overheadTokens);
    if (compaction.type === 'summarise') {
      const callId = derivedId<string>('call', `${context.runId}/${at.step}/compaction/${state.compactions}`);
      const request: ModelRequest = { ...compaction.request, idempotencyKey: callId };
      return {
        type: 'planned',
        plan: {
          ...at,
          callId,
          purpose: 'compaction',
          replacesMessages: compaction.replaces,
          firstAttempt: nextAttempt(state, callId),
          request,
          inputTokens: engine.llm.estimateInputTokens(request),
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
    plan: {
      ...at,
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
      inputTokens,
    },
  };
}

function nextAttempt(state: RunState, callId: string): number {
  return state.model?.callId === callId ? state.model.attempt + 1 : 1;
}

/** Decides an attempt by policy and sizes its reservation. Called for the first attempt and for each retry or fallback. */
export function planModelAttempt(
  engine: Engine,
  context: RunContext,
  plan: ModelCallPlan,
  target: ModelTarget,
  attempt: number,
): Planned<ModelAttemptPlan> {
  const { price } = target;
  const inputCost = reserveMicroUsd(target, plan.inputTokens, 0) ?? 0;
  const outputRate = (reserveMicroUsd(target, plan.inputTokens, 1_000_000) ?? 0) - inputCost;
  const asked = Math.min(plan.request.maxOutputTokens, target.maxOutputTokens);
  const decision = decideForRun(engine, context, plan.callId, {
    action: 'model.invoke',
    resource: {
      type: 'Model',
      id: `${target.provider}/${target.model}`,
      attributes: { declared: context.declaredTargets.has(target), simulator: target.simulator },
    },
    context: {
      estimatedCostMicroUsd: inputCost + Math.ceil((asked * outputRate) / 1_000_000),
      priceKnown: price !== null,
      step: plan.step,
    },
  });
  if (decision.record.effect !== 'allow') {
    const code = price === null && decision.record.effect === 'deny' ? ('price_unknown' as const) : ('policy_denied' as const);
    const message =
      decision.record.effect === 'deny'
        ? denialMessage(decision.record)
        : `policy asks for approval of ${decision.record.resource}, which only tool calls support`;
    return { type: 'impossible', decision, error: { code, message, retryable: false, details: { decisionId: decision.record.id } } };
  }
  const caps = decision.record.obligations?.flatMap((obligation) => (obligation.type === 'cap_tokens' ? [obligation.maxTokens] : [])) ?? [];
  const askedTokens = Math.min(asked, ...caps);
  const now = engine.clock.now();
  const timeoutMs = Math.max(
    1,
    Math.min(context.agent.timeoutMs, context.deadlineAt === null ? Number.POSITIVE_INFINITY : context.deadlineAt - now),
  );
  return {
    type: 'planned',
    plan: {
      plan,
      target,
      attempt,
      askedTokens,
      decision,
      reserve: {
        type: 'reserve',
        reservationId: engine.ids.next<ReservationId>('reservation'),
        runId: context.runId,
        scopes: context.scopes,
        fixed: { tokens: plan.inputTokens, costMicroUsd: inputCost },
        tokens: { min: Math.min(engine.settings.minUsefulTokens, askedTokens), max: askedTokens, costMicroUsdPerMillion: outputRate },
        wallMs: { min: Math.min(1_000, timeoutMs), max: timeoutMs },
        dispatched: true,
        expiresAt: now + timeoutMs + engine.settings.reservationSlackMs,
      },
    },
  };
}

export interface ModelGrant {
  readonly maxTokens: number;
  readonly wallMs: number;
}

/** What a reserve for a model attempt was granted. */
export function modelGrant(attempt: ModelAttemptPlan, outcome: LedgerOutcome | undefined): ModelGrant {
  const granted = outcome?.type === 'reserved' ? outcome : null;
  return { maxTokens: granted?.maxTokens ?? attempt.askedTokens, wallMs: granted?.wallMs ?? attempt.reserve.wallMs?.max ?? 0 };
}

/** Reserves and announces an attempt. `model.started` is its last event: what is streamed is numbered after it. */
export function proposeModelAttempt(attempt: ModelAttemptPlan): Proposal {
  const { plan, target, reserve, decision } = attempt;
  return propose({
    ledger: [reserve],
    decisions: [decision.row],
    patch: { step: plan.step },
    events([outcome]) {
      const grant = modelGrant(attempt, outcome);
      const events: NewEvent[] =
        plan.newStep && attempt.attempt === plan.firstAttempt ? [{ type: 'step.started', data: { step: plan.step } }] : [];
      if (outcome?.type === 'reserved') {
        events.push({ type: 'budget.reserved', data: { reservationId: reserve.reservationId, amounts: outcome.amounts } });
      }
      events.push({
        type: 'model.started',
        data: {
          step: plan.step,
          callId: plan.callId,
          attempt: attempt.attempt,
          purpose: plan.purpose,
          provider: target.provider,
          model: target.model,
          maxTokens: grant.maxTokens,
          ...(grant.maxTokens < attempt.askedTokens ? { clamped: true } : {}),
          timeoutMs: grant.wallMs,
          reservationId: reserve.reservationId,
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
