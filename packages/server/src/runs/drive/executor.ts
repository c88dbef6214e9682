import type { ErrorInfo, JournalEvent, RunId } from '@nexus-agent/protocol';
import { needsOf } from '#budget';
import { type Cancel, NexusError } from '#core';
import type { LedgerOutcome } from '#ledger';
import type { CallIds, RunLimits, RunState } from '#runs/journal';
import {
  assumedEvents,
  decideRound,
  type Engine,
  isUnwritable,
  merge,
  type Proposal,
  type Round,
  type RunContext,
  type RunFence,
  type RunModelAttempt,
  type Start,
} from '#runs/steps';
import type { LocalChannel } from '#runs/stream';
import type { StoredEvent } from '#storage';
import { type AskingParts, writeRound } from './asking.ts';
import { WaitingAttempts } from './attempts.ts';
import { type ChildCall, Effects } from './effects.ts';
import { collectFacts } from './facts.ts';
import { createOwnership, type RunLease } from './ownership.ts';
import { createPatience } from './patience.ts';
import { withoutRefused } from './refused.ts';
import { Mailbox, type Report } from './reports.ts';
import { createRoomPause } from './room-pause.ts';
import type { RunSpans } from './spans.ts';
import { Stopping } from './stopping.ts';
import { RunWriter } from './writer.ts';

/**
 * How a run left this process: it ended, waits, was given back on shutdown, is another worker's (`lost`), or what it did
 * cannot be written (`broken`).
 */
export type ExecutorEnd = NonNullable<Round['end']> | 'lost' | 'broken';

/** A run that this process drives. */
export interface Executor {
  readonly context: RunContext;
  readonly epoch: number;
  /** Resolves when this process is done with the run; never rejects. */
  readonly done: Promise<ExecutorEnd>;
  /** A run of the session that is due now that this one has left it. */
  nextRun(): RunId | null;
  /** Stops the model's request and the tools, and ends the run as cancelled. */
  cancel(reason: string): void;
  /** Lets what is in flight finish that would be lost with this process, starts nothing new, and gives the run back to the queue. */
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
  readonly lease: RunLease;
  /** How it begins: with the first model attempt, reserved together with the run's creation, or with what is to be written when a run is taken up. */
  readonly opening:
    | {
        readonly type: 'begun';
        readonly written: readonly JournalEvent[];
        readonly stored: readonly StoredEvent[];
        readonly attempt: RunModelAttempt;
        readonly outcome: LedgerOutcome | undefined;
        /** When it was asked for, by the monotonic clock. */
        readonly askedAt: number;
      }
    | { readonly type: 'taken'; readonly proposal: Proposal };
}

function limitsOf({ settings }: Engine, { agent }: RunContext): RunLimits {
  return { maxSteps: agent.maxSteps, maxParallelTools: agent.maxParallelTools, maxEqualSteps: settings.maxEqualSteps };
}

/**
 * Drives one run. A single loop owns the state and is the only one that writes; effects run beside it and report
 * back. Each round writes what has finished together with what starts next, and only then starts it: whatever a crash
 * cuts off is either in the journal or known to have been under way.
 */
export function startExecutor({ opening: first, state: stateAtFirst, ...options }: ExecutorOptions): Executor {
  const { engine, context, fence, channel, spans, lease } = options;
  const { logger, clock, timers, settings } = engine;
  const limits = limitsOf(engine, context);
  const mailbox = new Mailbox(timers);
  const failFor = (error: ErrorInfo) => stopping.request({ type: 'fail', resumable: true, error });
  const room = createRoomPause({ timers, logger, runId: context.runId, failFor });
  const onChange = () => {
    mailbox.ring();
    room.end();
  };
  const stopping = new Stopping({ clock, graceMs: settings.stopGraceMs, onChange });
  let abandoned = false;
  const patience = createPatience({
    clock,
    timers,
    logger,
    runId: context.runId,
    // Beyond the lease the fence tells whether another process has the run; one that cannot reach the store has not.
    mayGoOn: (elapsedMs) => !abandoned && (lease.stands() || elapsedMs < settings.outagePatienceMs),
  });
  const ownership = createOwnership({ store: engine.store, clock, fence, lease, patience });
  const writer = new RunWriter({ ...options, patience, ownership }, stateAtFirst);
  const effects = new Effects({ ...options, mailbox, stopping, patience });
  const place = engine.admission.join(context.tenantId, () => mailbox.ring());
  const parts: AskingParts = { engine, context, writer, stopping, place, begin };
  const waiting = new WaitingAttempts(parts);
  const { inFlight } = effects;
  /** Nothing keeps what a run began with once it has begun. */
  let opening: typeof first | null = first;

  /** Effects are under way that will report back, or have some time left to do so. */
  function working(calls: CallIds = inFlight): boolean {
    return effects.areBound(calls, stopping.why) && (stopping.leftMs() ?? 1) > 0;
  }

  function begin(start: Start, outcome: LedgerOutcome | undefined): void {
    const { lastSeq, step } = writer.state;
    effects.begin(start, outcome, { seq: lastSeq, step });
  }

  /** What is to be written first; null: the run is another worker's by now. */
  async function open(): Promise<readonly Proposal[] | null> {
    const begun = opening;
    opening = null;
    if (begun?.type === 'begun') {
      if (!ownership.isCertain(begun.askedAt) && !(await ownership.isOurs())) return null;
      channel.appended(begun.stored);
      spans.wrote(begun.written);
      effects.beginModel(begun.attempt, begun.outcome, writer.state.lastSeq);
      return [];
    }
    effects.resume(writer.state);
    mailbox.put({ type: 'poke' });
    return begun === null ? [] : [begun.proposal];
  }

  async function loop(): Promise<ExecutorEnd> {
    let pending = await open();
    if (pending === null) return 'lost';
    for (;;) {
      const hasTurn = stopping.why === null ? place.isDue() : waiting.any;
      const isIdle = pending.length === 0 && mailbox.isEmpty && !hasTurn;
      if (isIdle && (stopping.why === null || working())) await mailbox.wait(stopping.leftMs());
      // Calls that end in the same turn of the event loop share a commit.
      if (inFlight.size > 0 && pending.length === 0 && stopping.why === null) await timers.soon();
      if (abandoned) return 'lost';
      const reports = mailbox.take();
      // What ends while this round is put together has a report that is still to be read: for this round it goes on.
      const underWay = new Set(inFlight.keys());
      const input = { engine, context, state: writer.state, inFlight: underWay, stopping };
      const { facts, attempts } = await patience(() => collectFacts(input, reports));
      if ((await waiting.grant(attempts)) === 'lost') return 'lost';
      const { state } = writer;
      const current = { engine, context, state, limits, inFlight: underWay, stop: stopping.why, working: working(underWay) };
      const whole = !place.isOver();
      const before = pending;
      const decide = (found: readonly Proposal[]): Round => {
        let decided = decideRound({ ...current, whole, held: false }, [...before, ...found]);
        const needs = decided.starts.flatMap(({ effect }) => needsOf((effect.type === 'model' ? effect.attempt : effect.start).reserve));
        if (needs.length > 0 && !place.mayAsk(needs)) decided = decideRound({ ...current, whole, held: true }, [...before, ...found]);
        // What it stood in line for is not wanted any more.
        else if (needs.length === 0 && !waiting.any) place.done();
        if (decided.stop !== null) stopping.request(decided.stop);
        return decided;
      };
      const round = decide(facts);
      pending = [];
      if (round.end === null && round.starts.length === 0 && assumedEvents(merge(round.written)).length === 0) continue;
      // Nothing of a round with something refused was written: it is put together anew, and what wants another attempt has been granted that.
      const anew = async (told: readonly Report[]) => decide((await patience(() => collectFacts(input, told))).facts);
      const write = async (told: readonly Report[]) => writeRound(parts, told === reports ? round : await anew(told));
      const end = await withoutRefused(reports, write).catch(async (error: unknown) => {
        room.requireWaiting(error, before.length > 0);
        for (const report of reports) if (report.type !== 'attempt') mailbox.put(report);
        await room.wait();
        pending = before;
        return 'no room' as const;
      });
      if (end === 'no room') continue;
      room.reset();
      if (end !== null) return end;
    }
  }

  function onDeadline(): void {
    const error = { code: 'deadline_exceeded' as const, message: 'the run did not end before its deadline', retryable: false };
    stopping.request({ type: 'fail', resumable: false, error });
  }

  async function run(): Promise<ExecutorEnd> {
    const leftMs = context.deadlineAt === null ? null : context.deadlineAt - clock.now();
    const cancelDeadline: Cancel | undefined = leftMs === null ? undefined : timers.after(leftMs, onDeadline);
    let end: ExecutorEnd = 'lost';
    try {
      // A run that is taken up too late must not go back to waiting before a timer can fire.
      if (leftMs !== null && leftMs <= 0) onDeadline();
      end = await loop();
    } catch (error) {
      logger.error({ runId: context.runId, err: error }, 'the run could not be written; another worker may take it over');
      if (isUnwritable(error)) end = 'broken';
    } finally {
      cancelDeadline?.();
      place.close();
      if (end !== 'ended' && end !== 'waiting') stopping.abort(new NexusError('lease_lost', 'another worker takes the run over'));
      await effects.settle(settings.stopGraceMs);
      channel.close();
      spans.close(writer.state);
    }
    return end;
  }

  return {
    context,
    epoch: fence.epoch,
    done: run(),
    nextRun: () => writer.next,
    cancel: (reason) => stopping.request({ type: 'cancel', reason }),
    drain: () => effects.giveBack(),
    abandon() {
      abandoned = true;
      stopping.abort(new NexusError('unavailable', 'this process is shutting down'));
      room.end();
    },
    poke() {
      mailbox.put({ type: 'poke' });
      room.end();
    },
  };
}
