import { type AssistantPart, type ErrorInfo, noUsage, type Usage } from '@nexus-agent/protocol';
import type { AttemptGrant, ModelPart, ModelTarget } from '#llm';
import {
  type Engine,
  type ModelAttemptPlan,
  type ModelCallPlan,
  type ModelGrant,
  merge,
  type Proposal,
  propose,
  type RunContext,
  release,
  settle,
} from '#runs/steps';
import type { LocalChannel } from '#runs/stream';

/** An attempt that was granted and ended without an answer. */
export interface FailedAttempt {
  readonly attempt: ModelAttemptPlan;
  readonly grant: ModelGrant;
  readonly error: ErrorInfo;
  readonly usage: Usage;
  readonly sent: boolean;
  readonly content: readonly AssistantPart[];
  readonly durationMs: number;
}

export type ModelOutcome =
  | {
      readonly type: 'completed';
      readonly attempt: ModelAttemptPlan;
      readonly grant: ModelGrant;
      readonly part: Extract<ModelPart, { type: 'completed' }>;
      readonly failures: readonly FailedAttempt[];
    }
  /** `refused`: the next attempt was not granted, which says more than the last failure. */
  | { readonly type: 'failed'; readonly failures: readonly FailedAttempt[]; readonly error: ErrorInfo };

export type NextAttempt =
  | { readonly type: 'granted'; readonly attempt: ModelAttemptPlan; readonly grant: ModelGrant; readonly seq: number }
  | { readonly type: 'refused'; readonly error: ErrorInfo; readonly final: boolean };

export interface ModelCallHooks {
  readonly signal: AbortSignal;
  readonly channel: LocalChannel;
  readonly traceparent: string | undefined;
  /** Writes down the failures so far, decides and reserves another attempt. Rejects when the run was lost. */
  readonly nextAttempt: (request: {
    readonly target: ModelTarget;
    readonly attempt: number;
    readonly failures: readonly FailedAttempt[];
    readonly previous: { readonly target: ModelTarget; readonly error: ErrorInfo } | null;
  }) => Promise<NextAttempt>;
}

/**
 * Streams one model call whose first attempt is written and reserved. Text goes to the channel while it arrives; the
 * outcome, with every attempt's use, goes back to be written. Never rejects for a provider's failure.
 */
export async function callModel(
  engine: Engine,
  context: RunContext,
  plan: ModelCallPlan,
  first: { readonly attempt: ModelAttemptPlan; readonly grant: ModelGrant; readonly seq: number },
  hooks: ModelCallHooks,
): Promise<ModelOutcome> {
  const visible = plan.purpose === 'answer';
  let current = first;
  let startedAt = engine.clock.monotonic();
  let failures: FailedAttempt[] = [];
  let content: AssistantPart[] = [];
  let refusal: ErrorInfo | null = null;

  function begin(next: typeof first): AttemptGrant {
    current = next;
    startedAt = engine.clock.monotonic();
    content = [];
    refusal = null;
    if (visible) hooks.channel.begin({ seq: next.seq, step: plan.step, callId: plan.callId });
    // The call is stopped a little before what was reserved, so that stopping it stays within the reservation.
    const timeoutMs = Math.max(1, next.grant.wallMs - Math.min(50, Math.floor(next.grant.wallMs / 10)));
    return { type: 'granted', maxOutputTokens: next.grant.maxTokens, timeoutMs };
  }

  const failed = (error: ErrorInfo, usage: Usage, sent: boolean): FailedAttempt => ({
    attempt: current.attempt,
    grant: current.grant,
    error,
    usage,
    sent,
    // What a summary said is shown to nobody.
    content: visible ? content : [],
    durationMs: engine.clock.monotonic() - startedAt,
  });

  const parts = engine.llm.stream(plan.request, {
    signal: hooks.signal,
    targets: [first.attempt.target, ...context.targets.filter((target) => target !== first.attempt.target)],
    ...(hooks.traceparent === undefined ? {} : { traceparent: hooks.traceparent }),
    gate: {
      async begin(attempt) {
        if (attempt.attempt === 1) return begin(first);
        const next = await hooks.nextAttempt({
          target: attempt.target,
          attempt: plan.firstAttempt + attempt.attempt - 1,
          failures,
          previous: attempt.previous,
        });
        failures = [];
        if (next.type === 'granted') return begin(next);
        refusal = next.error;
        return next;
      },
      async failed(attempt) {
        failures.push(failed(attempt.error, attempt.usage, attempt.sent));
      },
    },
  });

  for await (const part of parts) {
    switch (part.type) {
      case 'attempt.started':
        break;
      case 'text.delta':
      case 'reasoning.delta': {
        const kind = part.type === 'text.delta' ? 'text' : 'reasoning';
        if (visible) hooks.channel.delta(kind, part.text);
        const last = content.at(-1);
        if (last?.type === kind) content[content.length - 1] = { ...last, text: last.text + part.text };
        else content.push({ type: kind, text: part.text });
        break;
      }
      case 'completed':
        hooks.channel.flush();
        return { type: 'completed', attempt: current.attempt, grant: current.grant, part, failures };
      case 'failed': {
        hooks.channel.flush();
        if (refusal !== null) return { type: 'failed', failures, error: refusal };
        const reported = failures.some((failure) => failure.attempt === current.attempt);
        return { type: 'failed', failures: reported ? failures : [...failures, failed(part.error, part.usage, true)], error: part.error };
      }
    }
  }
  const error: ErrorInfo = { code: 'internal', message: 'the model stream ended without saying how', retryable: false };
  return { type: 'failed', failures: [...failures, failed(error, noUsage, true)], error };
}

/** A summary replaces what it sums up, so one that is empty, or that the budget cut short, is no answer: nothing may be lost by it. */
export function checkSummary(outcome: ModelOutcome): ModelOutcome {
  if (outcome.type === 'failed' || outcome.attempt.plan.purpose !== 'compaction') return outcome;
  const { attempt, grant, part } = outcome;
  const empty = !part.content.some((piece) => piece.type === 'text' && piece.text.trim() !== '');
  const cut = part.finishReason === 'length' && grant.maxTokens < attempt.askedTokens;
  if (!empty && !cut) return outcome;
  const error: ErrorInfo = cut
    ? {
        code: 'budget_exceeded',
        message: `the summary of the conversation was cut after ${grant.maxTokens} tokens, which is all that the budget affords`,
        retryable: false,
        details: { unit: 'tokens', granted: grant.maxTokens },
      }
    : { code: 'provider_malformed', message: 'the model gave no summary of the conversation', retryable: true };
  const { usage, durationMs } = part;
  const failure: FailedAttempt = { attempt, grant, error, usage, sent: true, content: [], durationMs };
  return { type: 'failed', failures: [...outcome.failures, failure], error };
}

function amountsOf(engine: Engine, attempt: ModelAttemptPlan, grant: ModelGrant, usage: Usage, durationMs: number) {
  return {
    tokens: usage.inputTokens + usage.outputTokens,
    costMicroUsd: engine.costOf(attempt.target, usage),
    wallMs: Math.min(Math.ceil(durationMs), grant.wallMs),
  };
}

/** Journals the failed attempts and settles each at what it used; one that never left this process costs nothing. */
export function proposeFailures(engine: Engine, failures: readonly FailedAttempt[]): Proposal {
  return merge(
    failures.flatMap(({ attempt, grant, error, usage, sent, content, durationMs }) => {
      const { plan, target, reserve } = attempt;
      const event = propose({
        events: [
          {
            type: 'model.failed',
            data: {
              step: plan.step,
              callId: plan.callId,
              attempt: attempt.attempt,
              provider: target.provider,
              model: target.model,
              error,
              ...(sent ? { usage } : {}),
              ...(content.length === 0 ? {} : { content: [...content] }),
            },
          },
        ],
      });
      return [
        event,
        sent ? settle(reserve.reservationId, amountsOf(engine, attempt, grant, usage, durationMs)) : release(reserve.reservationId),
      ];
    }),
  );
}

/** Journals an answer and settles it. */
export function proposeAnswer(engine: Engine, outcome: Extract<ModelOutcome, { type: 'completed' }>): Proposal {
  const { attempt, grant, part } = outcome;
  const { plan, target, reserve } = attempt;
  const actual = amountsOf(engine, attempt, grant, part.usage, part.durationMs);
  return merge([
    proposeFailures(engine, outcome.failures),
    propose({
      events: [
        {
          type: 'model.completed',
          data: {
            step: plan.step,
            callId: plan.callId,
            attempt: attempt.attempt,
            purpose: plan.purpose,
            provider: target.provider,
            model: target.model,
            content: [...part.content],
            finishReason: part.finishReason,
            usage: part.usage,
            costMicroUsd: actual.costMicroUsd,
            ...(part.timeToFirstTokenMs === null ? {} : { timeToFirstTokenMs: Math.round(part.timeToFirstTokenMs) }),
            durationMs: Math.round(part.durationMs),
            ...(plan.replacesMessages === null ? {} : { replacesMessages: plan.replacesMessages }),
          },
        },
      ],
    }),
    settle(reserve.reservationId, actual),
  ]);
}

/** Journals that another target takes the call over; nothing for another attempt at the same one. */
export function proposeFallback(request: {
  readonly plan: ModelCallPlan;
  readonly target: ModelTarget;
  readonly previous: { readonly target: ModelTarget; readonly error: ErrorInfo } | null;
}): Proposal {
  const { plan, target, previous } = request;
  if (previous === null || previous.target === target) return propose({});
  const named = ({ provider, model }: ModelTarget) => ({ provider, model });
  const data = { step: plan.step, callId: plan.callId, from: named(previous.target), to: named(target), error: previous.error };
  return propose({ events: [{ type: 'route.fallback', data }] });
}
