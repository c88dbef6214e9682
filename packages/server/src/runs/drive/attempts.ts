import type { ErrorInfo } from '@nexus-agent/protocol';
import { modelGrant } from '#calls';
import { budgetStop, type Engine, merge, planRunAttempt, proposeDeniedModel, proposeModelAttempt, type RunContext } from '#runs/steps';
import { proposeFailures, proposeFallback } from './model-outcome.ts';
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
  { request, answer }: AttemptReport,
): Promise<boolean> {
  const { engine, context, writer, stopping } = parts;
  const failures = proposeFailures(request.failures);
  if (stopping.why !== null) {
    if (request.failures.length > 0 && (await writer.commit(failures)).type !== 'committed') return false;
    answer({ type: 'refused', error: stoppingError, final: true });
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

function errorOf({ why }: Stopping): ErrorInfo {
  return why?.type === 'fail' ? why.error : stoppingError;
}
