import { type AttemptAnswer, type AttemptWish, callModel, type FailedAttempt, type GrantedAttempt, type ModelOutcome } from '#calls';
import type { Engine, ModelCallPlan, RunContext } from '#runs/steps';
import type { LocalChannel } from '#runs/stream';

export type FailedRunAttempt = FailedAttempt<ModelCallPlan>;
export type RunModelOutcome = ModelOutcome<ModelCallPlan>;

/** A granted attempt of a run, with the number of the event that announced it: what is streamed is numbered after it. */
export interface AnnouncedAttempt extends GrantedAttempt<ModelCallPlan> {
  readonly seq: number;
}

export type NextAttempt = AttemptAnswer<AnnouncedAttempt>;

export interface RunModelHooks {
  readonly signal: AbortSignal;
  readonly channel: LocalChannel;
  readonly traceparent: string | undefined;
  /** Writes down the failures so far, decides and reserves another attempt. Rejects when the run was lost. */
  readonly nextAttempt: (wish: AttemptWish<ModelCallPlan>) => Promise<NextAttempt>;
}

/**
 * Streams one model call whose first attempt is written and reserved. The text of an answer goes to the channel while it
 * arrives; the outcome, with every attempt's use, goes back to be written. Never rejects for a provider's failure.
 */
export async function streamModelCall(
  engine: Engine,
  context: RunContext,
  first: AnnouncedAttempt,
  { channel, ...hooks }: RunModelHooks,
): Promise<RunModelOutcome> {
  const { step, callId, purpose } = first.attempt.call;
  const visible = purpose === 'answer';
  const outcome = await callModel(engine, context.targets, first, {
    ...hooks,
    bound: {
      aheadTokens: engine.settings.aheadTokens,
      async write(reservationId, atMost) {
        const result = await engine.store.commit({ tenantId: context.tenantId, ledger: [{ type: 'bound', reservationId, atMost }] });
        return result.type === 'committed' && result.outcomes[0]?.type === 'bounded';
      },
    },
    onBegin({ seq }) {
      if (visible) channel.begin({ seq, step, callId });
    },
    onDelta(kind, text) {
      if (visible) channel.delta(kind, text);
    },
  });
  channel.flush();
  if (outcome.type === 'completed' && outcome.part.usage.inputTokens > outcome.attempt.inputTokens) {
    const { attempt, part } = outcome;
    const { provider, model } = attempt.target;
    const facts = { runId: context.runId, callId, provider, model, inputTokens: part.usage.inputTokens, boundTokens: attempt.inputTokens };
    engine.logger.warn(facts, 'a server charged more input than it can have been sent; later calls reserve as much more');
  }
  if (outcome.type === 'completed' && outcome.part.overran) {
    const { attempt, grant, part } = outcome;
    const { provider, model } = attempt.target;
    const facts = { runId: context.runId, callId, provider, model, maxTokens: grant.maxTokens, outputTokens: part.usage.outputTokens };
    engine.logger.warn(facts, 'a model went on beyond the tokens that it was granted');
  }
  return outcome;
}
