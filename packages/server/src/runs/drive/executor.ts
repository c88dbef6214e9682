import type { BudgetRefusal, ErrorInfo, JournalEvent, NewEvent } from '@nexus-agent/protocol';
import { NexusError, toErrorInfo } from '#core';
import type { ModelTarget } from '#llm';
import { fold, type RunLimits, type RunState, toolCallId } from '#runs/journal';
import {
  assumedEvents,
  budgetStop,
  collectApprovals,
  collectChildren,
  commitProposal,
  completed,
  decideRound,
  type Engine,
  foldNew,
  grantedWallMs,
  isUnwritable,
  type ModelAttemptPlan,
  type ModelCallPlan,
  merge,
  modelGrant,
  type Proposal,
  planModelAttempt,
  propose,
  proposeDeniedModel,
  proposeModelAttempt,
  type Round,
  type RunContext,
  type RunFence,
  type Start,
  type Stop,
  type ToolStart,
} from '#runs/steps';
import type { LocalChannel } from '#runs/stream';
import type { CommitResult, LedgerOutcome, StoredEvent } from '#storage';
import type { ToolExecution } from '#tools';
import {
  callModel,
  checkSummary,
  type FailedAttempt,
  type ModelOutcome,
  type NextAttempt,
  proposeAnswer,
  proposeFailures,
  proposeFallback,
} from './model-call.ts';
import type { RunSpans } from './spans.ts';
import { callTool, proposeToolEnd } from './tool-call.ts';

export type ExecutorEnd = NonNullable<Round['end']> | 'lost' | 'broken';

/** A run that this process drives. */
export interface Executor {
  readonly context: RunContext;
  readonly epoch: number;
  /** Resolves when this process is done with the run; never rejects. */
  readonly done: Promise<ExecutorEnd>;
  /** Stops the model's request and the tools, and ends the run as cancelled. */
  cancel(reason: string): void;
  /** Lets what is in flight finish, starts nothing new, and gives the run back to the queue. */
  drain(): void;
  /** Gives up at once what `drain` would have waited for: its outcome stays unknown to this process. */
  abandon(): void;
  /** Something that the run may wait for has changed. */
  poke(): void;
}

export interface ExecutorOptions {
  readonly engine: Engine;
  readonly context: RunContext;
  readonly fence: RunFence;
  readonly state: RunState;
  readonly channel: LocalChannel;
  readonly spans: RunSpans;
  /** Creates the child run of a sub-agent call unless it exists. */
  readonly startChild: (parent: RunContext, call: ChildCall) => Promise<void>;
  /** How it begins: with the first model attempt, reserved together with the run's creation, or with what is to be written when a run is taken up. */
  readonly opening:
    | {
        readonly type: 'begun';
        readonly written: readonly JournalEvent[];
        readonly stored: readonly StoredEvent[];
        readonly attempt: ModelAttemptPlan;
        readonly outcome: LedgerOutcome | undefined;
      }
    | { readonly type: 'taken'; readonly proposal: Proposal };
}

export interface ChildCall {
  readonly callId: string;
  readonly childRunId: string;
  readonly toolName: string;
  readonly input: unknown;
}

/** What a finished effect leaves for the loop. */
type Report =
  | { readonly type: 'model'; readonly outcome: ModelOutcome }
  | { readonly type: 'tool'; readonly start: ToolStart; readonly wallMs: number; readonly execution: ToolExecution }
  /** A sub-agent that cannot begin, for instance because its agent is gone: a result for the model. */
  | { readonly type: 'childless'; readonly callId: string; readonly error: ErrorInfo }
  | { readonly type: 'poke' }
  | { readonly type: 'attempt'; readonly request: AttemptRequest; readonly answer: (next: NextAttempt) => void };

/** The model call wants another attempt: a retry, or a fallback to another target. */
interface AttemptRequest {
  readonly plan: ModelCallPlan;
  readonly target: ModelTarget;
  readonly attempt: number;
  readonly failures: readonly FailedAttempt[];
  readonly previous: { readonly target: ModelTarget; readonly error: ErrorInfo } | null;
}

/**
 * Drives one run. A single loop owns the state and is the only one that writes; effects run beside it and report
 * back. Each round writes what has finished together with what starts next, and only then starts it: whatever a crash
 * cuts off is either in the journal or known to have been under way.
 */
export function startExecutor(options: ExecutorOptions): Executor {
  const { engine, context, fence, channel, spans } = options;
  const { logger, clock } = engine;
  const limits: RunLimits = {
    maxSteps: context.agent.maxSteps,
    maxParallelTools: context.agent.maxParallelTools,
    maxEqualSteps: engine.settings.maxEqualSteps,
  };
  const abort = new AbortController();
  const inFlight = new Map<string, Promise<void>>();
  const reports: Report[] = [];
  let state = options.state;
  let ring: (() => void) | null = null;
  let stop: Stop | null = null;
  /** When effects that were told to stop are left behind. */
  let stopBy: number | null = null;
  let abandoned = false;

  function report(entry: Report): void {
    reports.push(entry);
    ring?.();
  }

  function launch(callId: string, effect: () => Promise<Report>): void {
    const running = effect()
      .catch((error: unknown): Report => {
        logger.error({ runId: context.runId, callId, err: error }, 'an effect failed inside the engine');
        requestStop({ type: 'fail', error: toErrorInfo(error), resumable: true });
        return { type: 'poke' };
      })
      .then((entry) => {
        inFlight.delete(callId);
        report(entry);
      });
    inFlight.set(callId, running);
  }

  /** The first reason stands, but for a person's cancel, which goes before everything. */
  function requestStop(next: Stop): void {
    if (stop?.type === 'cancel' || (stop?.type === 'fail' && next.type !== 'cancel')) return;
    stop = next;
    if (next.type !== 'drain') {
      abort.abort(new NexusError('cancelled', next.type === 'cancel' ? next.reason : next.error.message));
      stopBy ??= clock.monotonic() + engine.settings.stopGraceMs;
    }
    ring?.();
  }

  function beginModel(attempt: ModelAttemptPlan, outcome: LedgerOutcome | undefined, seq: number): void {
    const { plan } = attempt;
    launch(plan.callId, async () => {
      const span = spans.model(plan, attempt.target);
      const hooks = {
        signal: abort.signal,
        channel,
        traceparent: span.traceparent,
        nextAttempt: (request: Omit<AttemptRequest, 'plan'>) =>
          new Promise<NextAttempt>((resolve) => report({ type: 'attempt', request: { plan, ...request }, answer: resolve })),
      };
      const result = await callModel(engine, context, plan, { attempt, grant: modelGrant(attempt, outcome), seq }, hooks);
      span.end(result);
      return { type: 'model', outcome: result };
    });
  }

  function beginTool(start: ToolStart, outcome: LedgerOutcome | undefined): void {
    const wallMs = grantedWallMs(engine, context, start, outcome);
    const { callId } = start.call;
    if (start.childRunId !== null) {
      beginChild({ callId, childRunId: start.childRunId, toolName: start.tool.name, input: start.input });
      return;
    }
    launch(callId, async () => {
      const span = spans.tool(start);
      const execution = await callTool(engine, context, start, {
        signal: abort.signal,
        timeoutMs: wallMs,
        traceparent: span.traceparent,
        onOutput: (text) => channel.output({ step: state.step, callId, text }),
      });
      span.end(execution);
      return { type: 'tool', start, wallMs, execution };
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

  /** What finished since the last round, as events to be written. */
  async function collect(): Promise<{ facts: Proposal[]; attempts: Extract<Report, { type: 'attempt' }>[] }> {
    const facts: Proposal[] = [];
    const attempts: Extract<Report, { type: 'attempt' }>[] = [];
    let poked = false;
    for (const entry of reports.splice(0)) {
      switch (entry.type) {
        case 'model':
          facts.push(...modelFacts(entry.outcome));
          break;
        case 'tool':
          facts.push(
            proposeToolEnd(engine, context, state, entry.start, entry.wallMs, entry.execution, stop !== null && stop.type !== 'drain'),
          );
          break;
        case 'childless':
          for (const call of state.calls)
            if (call.callId === entry.callId) facts.push(completed(state, call, { type: 'error', error: entry.error }));
          break;
        case 'attempt':
          attempts.push(entry);
          break;
        case 'poke':
          poked = true;
          break;
      }
    }
    if (poked) {
      facts.push(await collectApprovals(engine, context, state));
      facts.push(await collectChildren(engine, context, state, new Set(inFlight.keys())));
    }
    return { facts, attempts };
  }

  function modelFacts(reported: ModelOutcome): Proposal[] {
    const outcome = checkSummary(reported);
    if (outcome.type === 'failed') {
      const resumable =
        outcome.error.retryable === true || outcome.error.code === 'budget_exceeded' || outcome.error.code.startsWith('provider_');
      if (stop === null) requestStop({ type: 'fail', error: outcome.error, resumable });
      return [proposeFailures(engine, outcome.failures)];
    }
    const answer = proposeAnswer(engine, outcome);
    const { plan } = outcome.attempt;
    if (plan.purpose === 'compaction') return [answer];
    const calls = outcome.part.content.filter((part) => part.type === 'tool_call');
    const requested = propose({
      events: calls.map((call, index) => ({
        type: 'tool.requested' as const,
        data: { step: plan.step, callId: toolCallId(context.runId, plan.step, index), index, name: call.name, input: call.input },
      })),
    });
    return [answer, requested];
  }

  function decide(facts: readonly Proposal[]): Round {
    const round = decideRound({ engine, context, state, limits, inFlight: new Set(inFlight.keys()), stop, working: working() }, facts);
    if (round.stop !== null) requestStop(round.stop);
    return round;
  }

  function begin({ effect }: Start, outcome: LedgerOutcome | undefined): void {
    if (effect.type === 'model') beginModel(effect.attempt, outcome, state.lastSeq);
    else beginTool(effect.start, outcome);
  }

  /** Writes a round, moves the state on and starts what was announced. */
  async function write(round: Round): Promise<ExecutorEnd | null> {
    const before = merge(round.written);
    const all = round.starts.length === 0 ? before : merge([...round.written, ...round.starts.map((start) => start.proposal)]);
    const result = await commit(all, round.totals);
    if (result.type === 'refused') return writeSingly(before, round.starts, result.refusal);
    if (result.type !== 'committed') return 'lost';
    let used = before.ledger.length;
    for (const start of round.starts) {
      begin(start, result.outcomes[used]);
      used += start.proposal.ledger.length;
    }
    return round.end;
  }

  /** A budget refused the whole: what finished is written for itself, then each start has its own try until one is refused. */
  async function writeSingly(before: Proposal, starts: readonly Start[], refusal: BudgetRefusal): Promise<ExecutorEnd | null> {
    if ((await commit(before)).type !== 'committed') return 'lost';
    let refused = refusal;
    let purpose = starts[0]?.effect.type ?? 'model';
    for (const start of starts) {
      const result = await commit(start.proposal);
      if (result.type === 'committed') {
        begin(start, result.outcomes[0]);
        continue;
      }
      if (result.type !== 'refused') return 'lost';
      refused = result.refusal;
      purpose = start.effect.type;
      break;
    }
    // What already runs may finish; its results are kept for when the run is resumed.
    stop ??= budgetStop(refused, purpose);
    return null;
  }

  async function commit(proposal: Proposal, totals = foldNew(state, assumedEvents(proposal)).totals): Promise<CommitResult> {
    let events: readonly NewEvent[] = [];
    const whole = {
      ...proposal,
      patch: { ...proposal.patch, totals },
      events: (outcomes: readonly LedgerOutcome[]) => (events = proposal.events(outcomes)),
    };
    const result = await commitProposal(engine.store, fence, state.lastSeq, whole);
    if (result.type !== 'committed') return result;
    const written = result.events.map((event, index) => ({ ...events[index], seq: event.seq, at: event.at }) as JournalEvent); // the store numbered exactly these
    state = fold(written, state);
    channel.appended(result.events);
    spans.wrote(written);
    return result;
  }

  /** Grants or refuses another attempt of a model call; its failures so far are written with it. */
  async function grant({ request, answer }: Extract<Report, { type: 'attempt' }>): Promise<boolean> {
    const failures = proposeFailures(engine, request.failures);
    if (stop !== null) {
      const error: ErrorInfo = { code: 'cancelled', message: 'the run is stopping', retryable: false };
      if (request.failures.length > 0 && (await commit(failures)).type !== 'committed') return false;
      answer({ type: 'refused', error, final: true });
      return true;
    }
    const planned = planModelAttempt(engine, context, request.plan, request.target, request.attempt);
    if (planned.type === 'impossible') {
      const denied = planned.decision === null ? propose({}) : proposeDeniedModel(planned.decision, request.plan.step);
      if ((await commit(merge([failures, denied]))).type !== 'committed') return false;
      answer({ type: 'refused', error: planned.error, final: false });
      return true;
    }
    const before = merge([failures, proposeFallback(request)]);
    const result = await commit(merge([before, proposeModelAttempt(planned.plan)]));
    if (result.type === 'committed') {
      answer({
        type: 'granted',
        attempt: planned.plan,
        grant: modelGrant(planned.plan, result.outcomes[before.ledger.length]),
        seq: state.lastSeq,
      });
      return true;
    }
    if (result.type !== 'refused' || (await commit(failures)).type !== 'committed') return false;
    stop ??= budgetStop(result.refusal, 'model');
    answer({
      type: 'refused',
      error: stop.type === 'fail' ? stop.error : { code: 'cancelled', message: 'the run is stopping' },
      final: true,
    });
    return true;
  }

  /** Effects are under way that will report back, or have some time left to do so. */
  function working(): boolean {
    return inFlight.size > 0 && (stopBy === null || clock.monotonic() < stopBy);
  }

  /** Sleeps until something is reported, somebody stops the run, or the time of stopped effects is up. */
  async function nextReport(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      ring = resolve;
      if (stopBy !== null) timer = setTimeout(resolve, Math.max(1, stopBy - clock.monotonic()));
    });
    clearTimeout(timer);
    ring = null;
  }

  function open(): Proposal[] {
    const { opening } = options;
    if (opening.type === 'begun') {
      channel.appended(opening.stored);
      spans.wrote(opening.written);
      beginModel(opening.attempt, opening.outcome, state.lastSeq);
      return [];
    }
    for (const call of state.calls) {
      const childRunId = call.attempt?.childRunId ?? null;
      if (call.phase.type === 'started' && childRunId !== null)
        beginChild({ callId: call.callId, childRunId, toolName: call.name, input: call.attempt?.input });
    }
    report({ type: 'poke' });
    return [opening.proposal];
  }

  async function loop(): Promise<ExecutorEnd> {
    let pending = open();
    for (;;) {
      if (pending.length === 0 && reports.length === 0 && (stop === null || working())) await nextReport();
      // Calls that end in the same turn of the event loop share a commit.
      if (inFlight.size > 0 && pending.length === 0 && stop === null) await new Promise<void>((resolve) => setImmediate(resolve));
      if (abandoned) return 'lost';
      const { facts, attempts } = await collect();
      for (const request of attempts) if (!(await grant(request))) return 'lost';
      const round = decide([...pending, ...facts]);
      pending = [];
      if (round.end === null && round.starts.length === 0 && assumedEvents(merge(round.written)).length === 0) continue;
      const end = await write(round);
      if (end === 'waiting') await wakeIfAnswered();
      if (end !== null) return end;
    }
  }

  /** An answer that came while the run was still busy found nobody to wake: look once more after going to sleep. */
  async function wakeIfAnswered(): Promise<void> {
    const news = [await collectApprovals(engine, context, state), await collectChildren(engine, context, state, new Set())];
    if (news.some((proposal) => assumedEvents(proposal).length > 0))
      await engine.store.commit({ tenantId: fence.tenantId, wake: [fence.runId] });
  }

  async function run(): Promise<ExecutorEnd> {
    const leftMs = context.deadlineAt === null ? null : context.deadlineAt - clock.now();
    const deadline = leftMs === null ? undefined : setTimeout(onDeadline, Math.max(0, Math.min(leftMs, 2 ** 31 - 1)));
    let end: ExecutorEnd = 'lost';
    try {
      // A run that is taken up too late must not go back to waiting before a timer can fire.
      if (leftMs !== null && leftMs <= 0) onDeadline();
      end = await loop();
    } catch (error) {
      logger.error({ runId: context.runId, err: error }, 'the run could not be written; another worker may take it over');
      if (isUnwritable(error)) end = 'broken';
    } finally {
      clearTimeout(deadline);
      if (end === 'lost' || end === 'broken') abort.abort(new NexusError('lease_lost', 'another worker took the run over'));
      await withinGrace([...inFlight.values()]);
      channel.close();
      spans.close(state);
    }
    return end;
  }

  async function withinGrace(effects: readonly Promise<void>[]): Promise<void> {
    if (effects.length === 0) return;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, engine.settings.stopGraceMs);
    });
    await Promise.race([Promise.allSettled(effects), late]);
    clearTimeout(timer);
  }

  function onDeadline(): void {
    requestStop({
      type: 'fail',
      resumable: false,
      error: { code: 'deadline_exceeded', message: 'the run did not end before its deadline', retryable: false },
    });
  }

  return {
    context,
    epoch: fence.epoch,
    done: run(),
    cancel: (reason) => requestStop({ type: 'cancel', reason }),
    drain: () => requestStop({ type: 'drain' }),
    abandon() {
      abandoned = true;
      abort.abort(new NexusError('unavailable', 'this process is shutting down'));
      ring?.();
    },
    poke: () => report({ type: 'poke' }),
  };
}
