import type { RunId } from '@nexus-agent/protocol';
import { type AttemptWish, modelGrant, performTool, readsArtifacts, timeLeft } from '#calls';
import { NexusError, settlesWithin, toErrorInfo } from '#core';
import type { LedgerOutcome } from '#ledger';
import type { CallIds, RunState, ToolCallState } from '#runs/journal';
import {
  type BegunTool,
  callingOf,
  type Engine,
  grantedWallMs,
  type ModelCallPlan,
  type RejoinedTool,
  type RunContext,
  type RunModelAttempt,
  rejoinedTools,
  type Start,
  type Stop,
  type ToolStart,
} from '#runs/steps';
import type { LocalChannel } from '#runs/stream';
import { type NextAttempt, streamModelCall } from './model-call.ts';
import type { Patience } from './patience.ts';
import type { AttemptRequest, Mailbox, Report } from './reports.ts';
import type { RunSpans } from './spans.ts';
import type { Stopping } from './stopping.ts';
import { type TimeUsed, WallTime } from './wall-time.ts';

/** A call that is not found yet, as it has just begun, is looked for again after so long. */
const findAgainMs = 250;

interface EndOfTool {
  readonly durationMs: number;
  readonly isUnknown: boolean;
  readonly began: boolean;
}

export interface ChildCall {
  readonly callId: string;
  readonly childRunId: RunId;
  readonly toolName: string;
  readonly input: unknown;
}

export interface EffectsOptions {
  readonly engine: Engine;
  readonly context: RunContext;
  readonly channel: LocalChannel;
  readonly spans: RunSpans;
  readonly mailbox: Mailbox;
  readonly stopping: Stopping;
  readonly patience: Patience;
  /** Creates the child run of a sub-agent call unless it exists. */
  readonly startChild: (parent: RunContext, call: ChildCall) => Promise<void>;
}

/**
 * The work of a run beside its loop: model calls, tool calls, the creation of sub-agents. Each reports to the mailbox when it
 * ends. A class, as there is one for each live run: its methods are shared.
 */
export class Effects {
  readonly #options: EffectsOptions;
  readonly #running = new Map<string, Promise<void>>();
  /** Keys of those of them that can be found again, and whether each was found: then it goes on without this process. */
  readonly #rejoinable = new Map<string, { readonly key: string; isFound: boolean }>();
  #looking: Promise<void> | null = null;
  readonly #wall = new WallTime();
  /** How model calls hear that nobody is left to grant them another attempt. */
  #unanswered: Set<(error: NexusError) => void> | null = null;

  constructor(options: EffectsOptions) {
    this.#options = options;
  }

  /** The calls that are being executed. */
  get inFlight(): CallIds {
    return this.#running;
  }

  /** Whether any of them is lost with this process where it gives the run back: whoever takes that over does not find it again. */
  areBound(calls: CallIds, stop: Stop | null): boolean {
    return [...calls.keys()].some((callId) => stop?.type !== 'drain' || this.#rejoinable.get(callId)?.isFound !== true);
  }

  /** Has the run given back once nothing is under way but what goes on without this process, which it finds out meanwhile. */
  giveBack(): void {
    const { stopping, mailbox } = this.#options;
    stopping.request({ type: 'drain' });
    this.#looking ??= this.#find(() => mailbox.ring());
  }

  async #find(onFound: () => void): Promise<void> {
    const { engine, context, stopping } = this.#options;
    while (!stopping.signal.aborted) {
      const open = [...this.#rejoinable.values()].filter(({ isFound }) => !isFound);
      if (open.length === 0) return;
      const keys = open.map(({ key }) => key);
      const states = await engine.store.toolCallStates(context.tenantId, keys).catch(() => []); // it is asked again, and they are waited for meanwhile
      const known = new Set(states.map(({ callKey }) => callKey));
      for (const call of open) call.isFound = known.has(call.key);
      if (known.size > 0) onFound();
      await engine.timers.sleep(findAgainMs, stopping.signal).catch(() => undefined);
    }
  }

  /** Begins what was announced in the journal. `seq` and `step` are those of the state that announced it. */
  begin({ effect }: Start, outcome: LedgerOutcome | undefined, { seq, step }: { readonly seq: number; readonly step: number }): void {
    if (effect.type === 'model') this.beginModel(effect.attempt, outcome, seq);
    else this.#beginTool(effect.start, outcome, step);
  }

  beginModel(attempt: RunModelAttempt, outcome: LedgerOutcome | undefined, seq: number): void {
    const { engine, context, channel, spans, stopping } = this.#options;
    const plan = attempt.call;
    this.#launch(plan.callId, async () => {
      const span = spans.model(plan, attempt.target);
      const hooks = {
        signal: stopping.signal,
        channel,
        traceparent: span.traceparent,
        nextAttempt: (wish: AttemptWish<ModelCallPlan>) => this.#askForAttempt({ plan, ...wish }),
      };
      const result = await streamModelCall(engine, context, { attempt, grant: modelGrant(attempt, outcome), seq }, hooks);
      span.end(result);
      return { type: 'model', outcome: result };
    });
  }

  /** Goes on with what a former owner of the run started, and is not lost with it. */
  resume(state: RunState): void {
    for (const call of state.calls) this.#resumeChild(call);
    for (const going of rejoinedTools(this.#options.context, state)) this.#rejoin(going, state.step);
  }

  #resumeChild({ phase, attempt, callId, name }: ToolCallState): void {
    const childRunId = attempt?.childRunId ?? null;
    if (phase.type !== 'started' || childRunId === null) return;
    this.#beginChild({ callId, childRunId: childRunId as RunId, toolName: name, input: attempt?.input }); // written by childRunId()
  }

  /** Waits for a call that goes on where another process began it. How long it took is not known: all the time that it holds is booked. */
  #rejoin({ begun, heldWallMs }: RejoinedTool, step: number): void {
    const { engine, context } = this.#options;
    const { timeoutMs } = begun.tool;
    this.#perform(begun, timeLeft(engine, context.charge, Math.min(heldWallMs ?? timeoutMs, timeoutMs)), step, () => ({
      wallMs: heldWallMs ?? 0,
    }));
  }

  /** For when the loop has ended: waits for everything under way, for at most `maxMs`. A call that asks for another attempt is refused it. */
  async settle(maxMs: number): Promise<void> {
    for (const reject of this.#unanswered ?? []) reject(new NexusError('lease_lost', 'this process does not drive the run any more'));
    this.#unanswered = null;
    const open = [...this.#running.values(), ...(this.#looking === null ? [] : [this.#looking])];
    if (open.length > 0) await settlesWithin(this.#options.engine.timers, Promise.all(open), maxMs);
  }

  #launch(callId: string, effect: () => Promise<Report>): void {
    const { engine, context, mailbox, stopping } = this.#options;
    const ended = effect()
      .catch((error: unknown): Report => {
        engine.logger.error({ runId: context.runId, callId, err: error }, 'an effect failed inside the engine');
        stopping.request({ type: 'fail', error: toErrorInfo(error), resumable: true });
        return { type: 'poke' };
      })
      .then((report) => {
        this.#running.delete(callId);
        this.#rejoinable.delete(callId);
        mailbox.put(report);
      });
    this.#running.set(callId, ended);
  }

  /** Pending until the loop answers; rejects once there is no loop any more that could. */
  #askForAttempt(request: AttemptRequest): Promise<NextAttempt> {
    const { promise, resolve, reject } = Promise.withResolvers<NextAttempt>();
    this.#unanswered ??= new Set();
    this.#unanswered.add(reject);
    const answer = (next: NextAttempt) => {
      this.#unanswered?.delete(reject);
      resolve(next);
    };
    this.#options.mailbox.put({ type: 'attempt', request, answer });
    return promise;
  }

  #beginTool(start: ToolStart, outcome: LedgerOutcome | undefined, step: number): void {
    const { engine, context } = this.#options;
    const { tool, input, childRunId } = start;
    const { callId } = start.call;
    if (start.until !== null) {
      // Nothing is done but to look again: a round that announces something does not end with the run waiting, as a budget may refuse it.
      this.#launch(callId, () => Promise.resolve({ type: 'poke' }));
      return;
    }
    if (childRunId !== null) {
      this.#beginChild({ callId, childRunId, toolName: tool.name, input });
      return;
    }
    const beganMs = engine.clock.monotonic();
    this.#wall.begin(callId, start.reserve.reservationId, outcome?.type === 'reserved' ? (outcome.amounts.wallMs ?? 0) : 0, beganMs);
    this.#perform(start, grantedWallMs(engine, context, start, outcome), step, ({ durationMs, isUnknown, began }) =>
      this.#wall.end(callId, beganMs + durationMs, began, isUnknown),
    );
  }

  #perform(start: BegunTool, timeoutMs: number, step: number, usedOf: (end: EndOfTool) => TimeUsed): void {
    const { engine, context, channel, spans, stopping } = this.#options;
    const { tool, input, attempt, idempotencyKey, resume } = start;
    const { callId } = start.call;
    if (tool.rejoinable === true) this.#rejoinable.set(callId, { key: idempotencyKey, isFound: false });
    this.#launch(callId, async () => {
      const span = spans.tool(start);
      const { filesOf } = context;
      const going = resume === null ? {} : { resume: { state: resume.state, results: resume.ended } };
      // One whose decision was recorded before was begun before.
      const rejoins = start.decision === null;
      const call = {
        ...{ tool, input, callId, attempt, idempotencyKey, timeoutMs, filesOf, rejoins },
        ...{ ...callingOf(context, tool), ...going, readsArtifacts: readsArtifacts(context.tools) },
      };
      const end = await performTool(engine, context.charge, call, {
        signal: stopping.signal,
        traceparent: span.traceparent,
        onOutput: (text) => channel.output({ step, callId, text }),
      });
      span.end(end);
      const isUnknown = end.type === 'failed' && end.error.code === 'tool_outcome_unknown';
      const began = end.type !== 'failed' || end.began;
      return { type: 'tool', start, used: usedOf({ durationMs: end.durationMs, isUnknown, began }), end };
    });
  }

  #beginChild(call: ChildCall): void {
    const { context, startChild, patience } = this.#options;
    this.#launch(call.callId, async () => {
      try {
        await patience(() => startChild(context, call));
      } catch (error) {
        if (!(error instanceof NexusError) || error.retryable) throw error;
        return { type: 'childless', callId: call.callId, error: error.toInfo() };
      }
      return { type: 'poke' };
    });
  }
}
