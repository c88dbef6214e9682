import type { BudgetRefusal, ErrorInfo } from '@nexus-agent/protocol';
import { lowerInputBound, modelGrant } from '#calls';
import {
  budgetStop,
  type Engine,
  merge,
  planRunAttempt,
  proposeDeniedModel,
  proposeModelAttempt,
  type RunContext,
  type Start,
  tooSmallFor,
} from '#runs/steps';
import { proposeFailures, proposeFallback, proposeLearned } from './model-outcome.ts';
import type { AttemptReport } from './reports.ts';
import type { Stopping } from './stopping.ts';
import type { RunWriter } from './writer.ts';

const stoppingError: ErrorInfo = { code: 'cancelled', message: 'the run is stopping', retryable: false };

/**
 * Grants or refuses another attempt of a model call; its failures so far are written with it. False when the run was lost:
 * the call then has no answer, and is told so when the effects are settled.
 */
export async function grantAttempt(
  parts: { readonly engine: Engine; readonly context: RunContext; readonly writer: RunWriter; readonly stopping: Stopping },
  report: AttemptReport,
): Promise<boolean> {
  const { request, answer } = report;
  const { engine, context, writer, stopping } = parts;
  const failures = proposeFailures(request.failures);
  if (stopping.why !== null) {
    if (request.failures.length > 0 && (await writer.commit(failures)).type !== 'committed') return false;
    answer({ type: 'refused', error: stoppingError, final: true });
    return true;
  }
  const contextTokens = tooSmallFor(request.plan, request.target);
  if (contextTokens !== null) {
    const learned = proposeLearned({ call: request.plan, target: request.target }, contextTokens, 'known');
    if ((await writer.commit(merge([failures, learned]))).type !== 'committed') return false;
    answer({ type: 'refused', error: tooSmall(request, contextTokens), final: false });
    return true;
  }
  const planned = planRunAttempt(engine, context, request.plan, request.target, request.attempt);
  if (planned.type === 'impossible') {
    const denied = proposeDeniedModel(planned.decision, request.plan.step);
    if ((await writer.commit(merge([failures, denied]))).type !== 'committed') return false;
    answer({ type: 'refused', error: planned.error, final: false });
    return true;
  }
  const before = merge([failures, proposeFallback(request)]);
  const result = await writer.commit(merge([before, proposeModelAttempt(planned.attempt)]));
  if (result.type === 'refused' && (await lowerInputBound(engine, planned.attempt, result.refusal, stopping.signal)))
    return grantAttempt(parts, report);
  if (result.type === 'committed') {
    const grant = modelGrant(planned.attempt, result.outcomes[before.ledger.length]);
    answer({ type: 'granted', granted: { attempt: planned.attempt, grant, seq: writer.state.lastSeq } });
    return true;
  }
  if (result.type !== 'refused' || (await writer.commit(failures)).type !== 'committed') return false;
  stopping.after(budgetStop(result.refusal, 'model'));
  answer({ type: 'refused', error: errorOf(stopping), final: true });
  return true;
}

/** The start of a model call that a budget refused, once its input was counted and is known to cost less; null when nothing is gained. */
export async function lowerModelStart(
  { engine, context, stopping }: { readonly engine: Engine; readonly context: RunContext; readonly stopping: Stopping },
  { effect }: Start,
  refusal: BudgetRefusal,
): Promise<Start | null> {
  if (effect.type !== 'model' || !(await lowerInputBound(engine, effect.attempt, refusal, stopping.signal))) return null;
  const { call, target, attempt } = effect.attempt;
  const planned = planRunAttempt(engine, context, call, target, attempt);
  if (planned.type === 'impossible') return null;
  return { proposal: proposeModelAttempt(planned.attempt), effect: { type: 'model', attempt: planned.attempt } };
}

function tooSmall({ target, plan }: AttemptReport['request'], contextTokens: number): ErrorInfo {
  const message = `${target.provider}/${target.model} takes about ${contextTokens} tokens and the conversation has about ${plan.fittedTokens}`;
  return { code: 'context_overflow', message, retryable: false, details: { contextTokens, inputTokens: plan.fittedTokens } };
}

function errorOf({ why }: Stopping): ErrorInfo {
  return why?.type === 'fail' ? why.error : stoppingError;
}
