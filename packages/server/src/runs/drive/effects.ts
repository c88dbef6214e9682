import type { RunId } from '@nexus-agent/protocol';
import { type AttemptWish, modelGrant, performTool } from '#calls';
import { NexusError, settlesWithin, toErrorInfo } from '#core';
import type { LedgerOutcome } from '#ledger';
import type { ToolCallState } from '#runs/journal';
import {
  type Engine,
  grantedWallMs,
  type ModelCallPlan,
  type RunContext,
  type RunModelAttempt,
  type Start,
  type ToolStart,
} from '#runs/steps';
import type { LocalChannel } from '#runs/stream';
import { type NextAttempt, streamModelCall } from './model-call.ts';
import type { AttemptRequest, Mailbox, Report } from './reports.ts';
import type { RunSpans } from './spans.ts';
import type { Stopping } from './stopping.ts';

export interface ChildCall {
  readonly callId: string;
  readonly childRunId: RunId;
  readonly toolName: string;
  readonly input: unknown;
}

/** The work of a run beside its loop: model calls, tool calls, the creation of sub-agents. Each reports to the mailbox when it ends. */
export interface Effects {
  /** Ids of the calls that are being executed. */
  readonly inFlight: ReadonlySet<string>;
  /** Begins what was announced in the journal. `seq` and `step` are those of the state that announced it. */
  begin(start: Start, outcome: LedgerOutcome | undefined, at: { readonly seq: number; readonly step: number }): void;
  beginModel(attempt: RunModelAttempt, outcome: LedgerOutcome | undefined, seq: number): void;
  /** Goes on with the sub-agent of a call that a former owner of the run started. */
  resumeChild(call: ToolCallState): void;
  /** For when the loop has ended: waits for everything under way, for at most `maxMs`. A call that asks for another attempt is refused it. */
  settle(maxMs: number): Promise<void>;
}

export interface EffectsOptions {
  readonly engine: Engine;
  readonly context: RunContext;
  readonly channel: LocalChannel;
  readonly spans: RunSpans;
  readonly mailbox: Mailbox;
  readonly stopping: Stopping;
  /** Creates the child run of a sub-agent call unless it exists. */
  readonly startChild: (parent: RunContext, call: ChildCall) => Promise<void>;
}

export function createEffects(options: EffectsOptions): Effects {
  const { engine, context, channel, spans, mailbox, stopping } = options;
  const running = new Map<string, Promise<void>>();
  const inFlight = new Set<string>();
  const unanswered = new Set<(error: NexusError) => void>();

  function launch(callId: string, effect: () => Promise<Report>): void {
    inFlight.add(callId);
    const ended = effect()
      .catch((error: unknown): Report => {
        engine.logger.error({ runId: context.runId, callId, err: error }, 'an effect failed inside the engine');
        stopping.request({ type: 'fail', error: toErrorInfo(error), resumable: true });
        return { type: 'poke' };
      })
      .then((report) => {
        running.delete(callId);
        inFlight.delete(callId);
        mailbox.put(report);
      });
    running.set(callId, ended);
  }

  /** Pending until the loop answers; rejects once there is no loop any more that could. */
  function askForAttempt(request: AttemptRequest): Promise<NextAttempt> {
    const { promise, resolve, reject } = Promise.withResolvers<NextAttempt>();
    unanswered.add(reject);
    const answer = (next: NextAttempt) => {
      unanswered.delete(reject);
      resolve(next);
    };
    mailbox.put({ type: 'attempt', request, answer });
    return promise;
  }

  function beginModel(attempt: RunModelAttempt, outcome: LedgerOutcome | undefined, seq: number): void {
    const plan = attempt.call;
    launch(plan.callId, async () => {
      const span = spans.model(plan, attempt.target);
      const hooks = {
        signal: stopping.signal,
        channel,
        traceparent: span.traceparent,
        nextAttempt: (wish: AttemptWish<ModelCallPlan>) => askForAttempt({ plan, ...wish }),
      };
      const result = await streamModelCall(engine, context, { attempt, grant: modelGrant(attempt, outcome), seq }, hooks);
      span.end(result);
      return { type: 'model', outcome: result };
    });
  }

  function beginTool(start: ToolStart, outcome: LedgerOutcome | undefined, step: number): void {
    const wallMs = grantedWallMs(engine, context, start, outcome);
    const { tool, input, attempt, idempotencyKey, childRunId } = start;
    const { callId } = start.call;
    if (childRunId !== null) beginChild({ callId, childRunId, toolName: tool.name, input });
    else
      launch(callId, async () => {
        const span = spans.tool(start);
        const call = { tool, input, callId, attempt, idempotencyKey, timeoutMs: wallMs };
        const end = await performTool(engine, context.charge, call, {
          signal: stopping.signal,
          traceparent: span.traceparent,
          onOutput: (text) => channel.output({ step, callId, text }),
        });
        span.end(end);
        return { type: 'tool', start, wallMs, end };
      });
  }

  function beginChild(call: ChildCall): void {
    launch(call.callId, async () => {
      try {
        await options.startChild(context, call);
      } catch (error) {
        if (!(error instanceof NexusError) || error.retryable) throw error;
        return { type: 'childless', callId: call.callId, error: error.toInfo() };
      }
      return { type: 'poke' };
    });
  }

  return {
    inFlight,
    begin({ effect }, outcome, { seq, step }) {
      if (effect.type === 'model') beginModel(effect.attempt, outcome, seq);
      else beginTool(effect.start, outcome, step);
    },
    beginModel,
    resumeChild({ phase, attempt, callId, name }) {
      const childRunId = attempt?.childRunId ?? null;
      if (phase.type !== 'started' || childRunId === null) return;
      beginChild({ callId, childRunId: childRunId as RunId, toolName: name, input: attempt?.input }); // written by childRunId()
    },
    async settle(maxMs) {
      for (const reject of unanswered) reject(new NexusError('lease_lost', 'this process does not drive the run any more'));
      unanswered.clear();
      if (running.size > 0) await settlesWithin(engine.timers, Promise.all(running.values()), maxMs);
    },
  };
}
