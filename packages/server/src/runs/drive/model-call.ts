import { type AssistantPart, type ErrorInfo, noUsage, type Usage } from '@nexus-agent/protocol';
import type { ModelGrant } from '#calls';
import type { AttemptGrant, ModelPart, ModelTarget } from '#llm';
import type { Engine, ModelCallPlan, RunContext, RunModelAttempt } from '#runs/steps';
import type { LocalChannel } from '#runs/stream';

/** An attempt that was granted and ended without an answer. */
export interface FailedAttempt {
  readonly attempt: RunModelAttempt;
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
      readonly attempt: RunModelAttempt;
      readonly grant: ModelGrant;
      readonly part: Extract<ModelPart, { type: 'completed' }>;
      readonly failures: readonly FailedAttempt[];
    }
  /** `refused`: the next attempt was not granted, which says more than the last failure. */
  | { readonly type: 'failed'; readonly failures: readonly FailedAttempt[]; readonly error: ErrorInfo };

export type NextAttempt =
  | { readonly type: 'granted'; readonly attempt: RunModelAttempt; readonly grant: ModelGrant; readonly seq: number }
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
  first: { readonly attempt: RunModelAttempt; readonly grant: ModelGrant; readonly seq: number },
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
