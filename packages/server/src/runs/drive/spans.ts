import type { JournalEvent } from '@nexus-agent/protocol';
import type { ModelTarget } from '#llm';
import type { RunState } from '#runs/journal';
import type { BegunTool, Engine, ModelCallPlan, RunContext } from '#runs/steps';
import { attributes as names, operations, type Span, spanNames, type Tracer } from '#telemetry';
import type { ToolCallEnd } from '#tools';
import type { RunModelOutcome } from './model-call.ts';

export interface EffectSpan<Result> {
  readonly traceparent: string;
  end(result: Result): void;
}

/** The spans and metrics of a run: run -> step -> model and tool calls, in the trace that the run was created with. */
export interface RunSpans {
  model(plan: ModelCallPlan, target: ModelTarget): EffectSpan<RunModelOutcome>;
  tool(start: BegunTool): EffectSpan<ToolCallEnd>;
  /** Counts what was written; a `step.started` begins the step's span. */
  wrote(events: readonly JournalEvent[]): void;
  close(state: RunState): void;
}

/** The span of a new run. Its `traceparent` is stored with the run, so that whoever goes on with it goes on with the trace. */
export function startRunSpan(
  tracer: Tracer,
  run: { readonly runId: string; readonly tenantId: string; readonly sessionId: string; readonly agent: string },
  parent: string | undefined,
): Span {
  return tracer.start(spanNames.run(run.agent), {
    attributes: {
      [names.operation]: operations.run,
      [names.agentName]: run.agent,
      [names.conversationId]: run.sessionId,
      [names.runId]: run.runId,
      [names.tenantId]: run.tenantId,
    },
    ...(parent === undefined ? {} : { parent }),
  });
}

function endTool(span: Span, end: ToolCallEnd): void {
  if (end.waitedMs !== undefined) span.setAttributes({ [names.waitedMs]: Math.round(end.waitedMs) });
  if (end.type === 'failed') {
    span.setAttributes({ [names.errorType]: end.error.code });
    span.recordError(new Error(end.error.code));
  }
  span.end();
}

/**
 * @param taken.span the run's own span, when this process created it; otherwise a new one continues the stored trace
 * @param taken.lostAt when the lease of whoever drove it before had ended
 */
export function createRunSpans(
  engine: Engine,
  context: RunContext,
  state: RunState,
  { span: begun, lostAt }: { readonly span?: Span; readonly lostAt?: number } = {},
): RunSpans {
  const { tracer, metrics } = engine;
  const startedAt = engine.clock.now();
  const runSpan = begun ?? startRunSpan(tracer, { ...context, agent: context.agent.name }, context.traceparent ?? undefined);
  // A run that begins here has its first step among the events that are counted next.
  let stepSpan: Span | null = begun === undefined && state.step > 0 ? startStep(state.step) : null;
  const owner = () => stepSpan ?? runSpan;

  function startStep(step: number): Span {
    return tracer.start(spanNames.step, { parent: runSpan, attributes: { [names.runId]: context.runId, [names.step]: step } });
  }

  function count(event: JournalEvent): void {
    switch (event.type) {
      case 'run.started':
        metrics.runStarted();
        break;
      case 'run.resumed':
        // Also one whose work was between two calls as its process died.
        if (lostAt !== undefined) metrics.runRecovered(engine.clock.now() - lostAt);
        else if (event.data.reason === 'recovered') metrics.runRecovered();
        runSpan.setAttributes({ [names.recovered]: event.data.reason === 'recovered' });
        break;
      case 'step.started':
        stepSpan?.end();
        stepSpan = startStep(event.data.step);
        break;
      case 'model.completed': {
        const { provider, model, durationMs, usage, costMicroUsd, timeToFirstTokenMs } = event.data;
        metrics.modelCompleted({
          provider,
          model,
          durationMs,
          inputTokens: usage.inputTokens,
          outputTokens: usage.outputTokens,
          costMicroUsd,
          ...(timeToFirstTokenMs === undefined ? {} : { timeToFirstTokenMs }),
        });
        break;
      }
      case 'model.failed':
        metrics.modelCompleted({ provider: event.data.provider, model: event.data.model, durationMs: 0, error: event.data.error.code });
        break;
      case 'tool.completed': {
        const { name, durationMs = 0, error } = event.data;
        metrics.toolCompleted({ tool: name, durationMs, ...(error === undefined ? {} : { error: error.code }) });
        break;
      }
      case 'budget.reserved':
        metrics.budgetOperation('reserved');
        break;
      case 'budget.settled':
        metrics.budgetOperation(event.data.outcome === 'released' ? 'released' : 'settled');
        break;
      case 'budget.refused':
        metrics.budgetOperation('refused');
        break;
      case 'approval.decided':
        metrics.approvalDecided(event.data.decision);
        break;
      case 'run.completed':
      case 'run.cancelled':
        metrics.runFinished({
          status: event.type === 'run.completed' ? 'completed' : 'cancelled',
          durationMs: engine.clock.now() - startedAt,
        });
        break;
      case 'run.failed':
        metrics.runFinished({ status: 'failed', durationMs: engine.clock.now() - startedAt, error: event.data.error.code });
        break;
      default:
        break;
    }
  }

  return {
    model(plan, target) {
      const span = tracer.start(spanNames.model(target.model), {
        kind: 'client',
        parent: owner(),
        attributes: {
          [names.operation]: operations.model,
          [names.provider]: target.provider,
          [names.requestModel]: target.model,
          [names.step]: plan.step,
        },
      });
      return {
        traceparent: span.traceparent,
        end(outcome) {
          if (outcome.type === 'completed') {
            const { part, grant, attempt } = outcome;
            span.setAttributes({
              [names.responseModel]: attempt.target.model,
              [names.maxTokens]: grant.maxTokens,
              [names.finishReasons]: [part.finishReason],
              [names.inputTokens]: part.usage.inputTokens,
              [names.outputTokens]: part.usage.outputTokens,
              [names.cacheReadTokens]: part.usage.cacheReadTokens,
              [names.cacheWriteTokens]: part.usage.cacheWriteTokens,
              [names.reasoningTokens]: part.usage.reasoningTokens,
              [names.attempt]: attempt.attempt,
              [names.decisionId]: attempt.decision.record.id,
            });
          } else {
            span.setAttributes({ [names.errorType]: outcome.error.code });
            span.recordError(new Error(outcome.error.code));
          }
          span.end();
        },
      };
    },
    tool(start) {
      const span = tracer.start(spanNames.tool(start.tool.name), {
        parent: owner(),
        attributes: {
          [names.operation]: operations.tool,
          [names.toolName]: start.tool.name,
          [names.toolCallId]: start.call.callId,
          [names.attempt]: start.attempt,
          ...(start.decision === null ? {} : { [names.decisionId]: start.decision.record.id }),
        },
      });
      return {
        traceparent: span.traceparent,
        end: (end) => endTool(span, end),
      };
    },
    wrote(events) {
      for (const event of events) count(event);
    },
    close(last) {
      stepSpan?.end();
      runSpan.setAttributes({ [names.runStatus]: last.status, [names.costMicroUsd]: last.totals.costMicroUsd });
      if (last.error !== null) runSpan.setAttributes({ [names.errorType]: last.error.code });
      runSpan.end();
    },
  };
}
