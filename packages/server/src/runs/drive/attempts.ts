import type { BudgetRefusal, ErrorInfo } from '@nexus-agent/protocol';
import { modelNeeds, type Place } from '#budget';
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

export interface AttemptParts {
  readonly engine: Engine;
  readonly context: RunContext;
  readonly writer: RunWriter;
  readonly stopping: Stopping;
  /** Of the run, before its budgets. */
  readonly place: Place;
}

/** Further attempts of model calls, granted or refused as they are asked for, unless they wait for the turn of their run. */
export class WaitingAttempts {
  readonly #parts: AttemptParts;
  #reports: readonly AttemptReport[] = [];

  constructor(parts: AttemptParts) {
    this.#parts = parts;
  }

  get any(): boolean {
    return this.#reports.length > 0;
  }

  async grant(more: readonly AttemptReport[]): Promise<'lost' | 'done'> {
    const { stopping, place, context } = this.#parts;
    const waiting: AttemptReport[] = [];
    for (const report of [...this.#reports, ...more]) {
      const isHeld = stopping.why === null && !place.mayAsk(modelNeeds(context.charge.scopes));
      const result = isHeld ? await this.#lineUp(report) : await grantAttempt(this.#parts, report);
      if (result === 'lost') return 'lost';
      if (result !== 'answered') waiting.push(result.waits);
    }
    this.#reports = waiting;
    return 'done';
  }

  /** What failed is settled first: those in line before it may wait for what it holds. */
  async #lineUp(report: AttemptReport): Promise<AttemptResult> {
    const { request } = report;
    if (request.failures.length === 0) return { waits: report };
    if ((await this.#parts.writer.commit(proposeFailures(request.failures))).type !== 'committed') return 'lost';
    return { waits: { ...report, request: { ...request, failures: [] } } };
  }
}

/** `lost`: the run is another worker's. The call then has no answer, and is told so when the effects are settled. */
type AttemptResult = 'answered' | 'lost' | { readonly waits: AttemptReport };

/**
 * Grants or refuses another attempt of a model call; its failures so far are written with it. While only what others hold
 * stands in its way it waits: it is to be asked for again when the place of the run is due.
 */
async function grantAttempt(parts: AttemptParts, report: AttemptReport): Promise<AttemptResult> {
  const { type, request, answer } = report;
  const { engine, context, writer, stopping, place } = parts;
  const failures = proposeFailures(request.failures);
  if (stopping.why !== null) {
    if (request.failures.length > 0 && (await writer.commit(failures)).type !== 'committed') return 'lost';
    answer({ type: 'refused', error: stoppingError, final: true });
    return 'answered';
  }
  const contextTokens = tooSmallFor(request.plan, request.target);
  if (contextTokens !== null) {
    const learned = proposeLearned({ call: request.plan, target: request.target }, contextTokens, 'known');
    if ((await writer.commit(merge([failures, learned]))).type !== 'committed') return 'lost';
    answer({ type: 'refused', error: tooSmall(request, contextTokens), final: false });
    return 'answered';
  }
  const planned = planRunAttempt(engine, context, request.plan, request.target, { attempt: request.attempt, whole: !place.isOver() });
  if (planned.type === 'impossible') {
    const denied = proposeDeniedModel(planned.decision, request.plan.step);
    if ((await writer.commit(merge([failures, denied]))).type !== 'committed') return 'lost';
    answer({ type: 'refused', error: planned.error, final: false });
    return 'answered';
  }
  const before = merge([failures, proposeFallback(request)]);
  const result = await writer.commit(merge([before, proposeModelAttempt(planned.attempt)]));
  if (result.type === 'refused' && (await lowerInputBound(engine, planned.attempt, result.refusal, stopping.signal)))
    return grantAttempt(parts, report);
  if (result.type === 'committed') {
    const grant = modelGrant(planned.attempt, result.outcomes[before.ledger.length]);
    answer({ type: 'granted', granted: { attempt: planned.attempt, grant, seq: writer.state.lastSeq } });
    place.done();
    return 'answered';
  }
  if (result.type !== 'refused') return 'lost';
  if (request.failures.length > 0 && (await writer.commit(failures)).type !== 'committed') return 'lost';
  const waitedMs = place.waitedMs();
  if (place.refused(result)) return { waits: { type, request: { ...request, failures: [] }, answer } };
  place.done();
  stopping.after(budgetStop(result.refusal, 'model', waitedMs));
  answer({ type: 'refused', error: errorOf(stopping), final: true });
  return 'answered';
}

/** The start of a model call that a budget refused, once its input was counted and is known to cost less; null when nothing is gained. */
export async function lowerModelStart(
  { engine, context, stopping, place }: Omit<AttemptParts, 'writer'>,
  { effect }: Start,
  refusal: BudgetRefusal,
): Promise<Start | null> {
  if (effect.type !== 'model' || !(await lowerInputBound(engine, effect.attempt, refusal, stopping.signal))) return null;
  const { call, target, attempt } = effect.attempt;
  const planned = planRunAttempt(engine, context, call, target, { attempt, whole: !place.isOver() });
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
