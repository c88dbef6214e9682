import type { AssistantPart, AssumedCount, ErrorInfo, JournalData } from '@nexus-agent/protocol';
import { modelAmounts } from '#calls';
import { isBlank } from '#core';
import type { ModelTarget } from '#llm';
import { toolCallId } from '#runs/journal';
import { joinSummary, merge, type Proposal, propose, type RunContext, release, settle } from '#runs/steps';
import type { FailedRunAttempt, RunModelOutcome } from './model-call.ts';
import type { AttemptRequest } from './reports.ts';

/** The text of a summary, with the calls that it has to keep: a model may leave out what must not be done twice. */
function withKeptEffects(content: readonly AssistantPart[], kept: string): readonly AssistantPart[] {
  const said = content.map((part) => (part.type === 'text' ? part.text : '')).join('');
  return [{ type: 'text', text: joinSummary(said, kept) }, ...content.filter(({ type }) => type === 'reasoning')];
}

/** A summary replaces what it sums up, so one that is empty, or that the budget cut short, is no answer: nothing may be lost by it. */
export function checkSummary(outcome: RunModelOutcome): RunModelOutcome {
  if (outcome.type === 'failed' || outcome.attempt.call.purpose !== 'compaction') return outcome;
  const { attempt, grant, part } = outcome;
  const empty = !part.content.some((piece) => piece.type === 'text' && !isBlank(piece.text));
  const cut = part.finishReason === 'length' && grant.maxTokens < attempt.askedTokens;
  if (!empty && !cut) return { ...outcome, part: { ...part, content: withKeptEffects(part.content, attempt.call.keptEffects ?? '') } };
  const error: ErrorInfo = cut
    ? {
        code: 'budget_exceeded',
        message: `the summary of the conversation was cut after ${grant.maxTokens} tokens, which is all that the budget affords`,
        retryable: false,
        details: { unit: 'tokens', granted: grant.maxTokens },
      }
    : { code: 'provider_malformed', message: 'the model gave no summary of the conversation', retryable: true };
  const { usage, assumed, durationMs } = part;
  const own = assumed === undefined ? {} : { assumed };
  const failure: FailedRunAttempt = { attempt, grant, error, usage, ...own, sent: true, content: [], durationMs };
  return { type: 'failed', failures: [...outcome.failures, failure], error };
}

/** Journals the failed attempts and settles each at what it used; one that never left this process costs nothing. */
export function proposeFailures(failures: readonly FailedRunAttempt[]): Proposal {
  return merge(
    failures.flatMap((failure) => {
      const { attempt, grant, error, usage, assumed, sent, content, durationMs } = failure;
      const { call, target, reserve } = attempt;
      const event = propose({
        events: [
          {
            type: 'model.failed',
            data: {
              step: call.step,
              callId: call.callId,
              attempt: attempt.attempt,
              provider: target.provider,
              model: target.model,
              error,
              ...(sent ? { usage, ...assumedIn(assumed) } : {}),
              // What a summary said is shown to nobody.
              ...(content.length === 0 || call.purpose !== 'answer' ? {} : { content: [...content] }),
            },
          },
        ],
      });
      return [
        event,
        proposeLearned(attempt, failure.contextTokens, 'refused'),
        sent ? settle(reserve.reservationId, modelAmounts(attempt, grant, usage, durationMs)) : release(reserve.reservationId),
      ];
    }),
  );
}

function assumedIn(assumed: FailedRunAttempt['assumed']): { readonly assumed?: AssumedCount[] } {
  return assumed === undefined ? {} : { assumed: [...assumed] };
}

/** Journals an answer and settles it. */
export function proposeAnswer(outcome: Extract<RunModelOutcome, { type: 'completed' }>): Proposal {
  const { attempt, grant, part } = outcome;
  const { call, target, reserve } = attempt;
  const actual = modelAmounts(attempt, grant, part.usage, part.durationMs);
  return merge([
    proposeFailures(outcome.failures),
    propose({
      events: [
        {
          type: 'model.completed',
          data: {
            step: call.step,
            callId: call.callId,
            attempt: attempt.attempt,
            purpose: call.purpose,
            provider: target.provider,
            model: target.model,
            content: [...part.content],
            finishReason: part.finishReason,
            ...(part.overran ? { overran: part.overran } : {}),
            usage: part.usage,
            ...assumedIn(part.assumed),
            costMicroUsd: actual.costMicroUsd,
            ...(part.timeToFirstTokenMs === null ? {} : { timeToFirstTokenMs: Math.round(part.timeToFirstTokenMs) }),
            durationMs: Math.round(part.durationMs),
            ...(call.replacesMessages === null ? {} : { replacesMessages: call.replacesMessages }),
          },
        },
      ],
    }),
    proposeLearned(attempt, part.contextTokens, 'cut'),
    settle(reserve.reservationId, actual),
  ]);
}

/** Journals what a model takes, as its server taught; nothing when it taught nothing. */
export function proposeLearned(
  { call, target }: Pick<FailedRunAttempt['attempt'], 'call' | 'target'>,
  contextTokens: number | undefined,
  reason: JournalData<'context.learned'>['reason'],
): Proposal {
  if (contextTokens === undefined) return propose({});
  const { step, callId, fittedTokens: inputTokens } = call;
  const { provider, model } = target;
  return propose({ events: [{ type: 'context.learned', data: { step, callId, provider, model, contextTokens, inputTokens, reason } }] });
}

/** Journals that another target takes the call over; nothing for another attempt at the same one. */
export function proposeFallback({ plan, target, previous }: AttemptRequest): Proposal {
  if (previous.target === target) return propose({});
  const named = ({ provider, model }: ModelTarget) => ({ provider, model });
  const data = { step: plan.step, callId: plan.callId, from: named(previous.target), to: named(target), error: previous.error };
  return propose({ events: [{ type: 'route.fallback', data }] });
}

/** Journals the tools that an answer asks for. */
export function proposeRequestedTools(context: RunContext, { attempt, part }: Extract<RunModelOutcome, { type: 'completed' }>): Proposal {
  const { step } = attempt.call;
  const calls = part.content.filter((piece) => piece.type === 'tool_call');
  return propose({
    events: calls.map(({ name, input }, index) => ({
      type: 'tool.requested' as const,
      data: { step, callId: toolCallId(context.runId, step, index), index, name, input },
    })),
  });
}
