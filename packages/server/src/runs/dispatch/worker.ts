import type { ErrorInfo, RunId, TenantId } from '@nexus-agent/protocol';
import type { AgentCatalog } from '#control';
import { NexusError, systemTimers, toErrorInfo } from '#core';
import { type ChildCall, createRunSpans, type Executor, type ExecutorEnd, type ExecutorOptions, startExecutor } from '#runs/drive';
import { loadState, type RunState, type Transcripts } from '#runs/journal';
import {
  charge,
  commitProposal,
  createContext,
  type Engine,
  merge,
  propose,
  proposeRecovery,
  type RunContext,
  resumedEvent,
  stoppedEvents,
  withEnding,
} from '#runs/steps';
import type { Bus, RunRow } from '#storage';
import type { Span } from '#telemetry';

export interface WorkerSettings {
  /** A worker that does not renew its lease for so long is taken for dead. */
  readonly leaseMs: number;
  readonly heartbeatMs: number;
  /** How often the queue is looked at when nobody wakes the worker. */
  readonly pollMs: number;
  readonly maxLiveRuns: number;
}

export interface WorkerDependencies {
  readonly engine: Engine;
  readonly bus: Bus;
  readonly catalog: AgentCatalog;
  readonly transcripts: Transcripts;
  readonly settings: WorkerSettings;
  readonly startChild: (parent: RunContext, call: ChildCall) => Promise<void>;
}

/** A message to whoever holds a run: something changed that it may wait for. */
interface WakeMessage {
  readonly tenantId: TenantId;
  readonly runId: RunId;
  readonly cancel?: string;
}

const wakeTopic = 'wake';
const retryTakeMs = 2_000;
/** So often in a row may the work of a run turn out to be impossible to write; each time may have cost a model call. */
const maxBreaks = 2;
const unwritable: ErrorInfo = { code: 'internal', message: 'what the run did could not be written; see the log', retryable: false };

/** A run that was taken by this worker at this epoch. */
type RunClaim = Pick<RunRow, 'tenantId' | 'runId' | 'epoch'>;

export interface AdoptOptions extends Pick<ExecutorOptions, 'context' | 'fence' | 'state' | 'opening'> {
  /** The run's span, when this process began it. */
  readonly span?: Span;
}

/**
 * Drives runs: those that this process accepted, and those it claims from the table. Nothing is in its memory that is
 * not in the store; a worker that dies is replaced by any other.
 */
export interface Worker {
  start(): Promise<void>;
  readonly liveRuns: number;
  hasCapacity(): boolean;
  /** Drives a run that was just written with this worker as its owner. */
  adopt(options: AdoptOptions): Executor;
  /** A run that this worker may own without driving it, as the answer to its creation was lost: it goes to the queue. */
  disown(claim: RunClaim): void;
  /** Tells the run's worker, wherever it is, and claims the run here when nobody drives it. */
  wake(message: WakeMessage): void;
  readonly draining: boolean;
  /** Starts nothing new, lets calls in flight finish for `timeoutMs`, gives the rest up, and ends the lease. */
  drain(timeoutMs: number): Promise<void>;
}

export function createWorker(dependencies: WorkerDependencies): Worker {
  const { engine, bus, settings } = dependencies;
  const { store, logger, workerId } = engine;
  const live = new Map<string, Executor>();
  const stopped = new AbortController();
  const loops: Promise<void>[] = [];
  const endings = new Set<Promise<void>>();
  /** Runs that this worker owns and does not drive, because the store did not answer when they were to be given back. */
  const undriven = new Map<string, RunClaim>();
  /** How often in a row a run was {@link ExecutorEnd broken} here. */
  const breaks = new Map<string, number>();
  let draining = false;
  let claimAgain = false;
  /** A claim failed: it may have happened all the same, and its runs belong to this worker unheard of. */
  let claimInDoubt = false;
  let claiming: Promise<void> | null = null;
  let lastBeat = { monotonic: Number.NEGATIVE_INFINITY, wall: Number.NEGATIVE_INFINITY };

  const keyOf = (tenantId: TenantId, runId: RunId) => `${tenantId}/${runId}`;
  // By both clocks: one stands still while a machine sleeps, the other may be set.
  const sinceBeat = () => Math.max(engine.clock.monotonic() - lastBeat.monotonic, engine.clock.now() - lastBeat.wall);

  function adopt(options: AdoptOptions): Executor {
    const { tenantId, runId } = options.context;
    const key = keyOf(tenantId, runId);
    const executor = startExecutor({
      ...options,
      engine,
      channel: engine.hub.openLocal(key),
      spans: createRunSpans(engine, options.context, options.state, options.span),
      startChild: dependencies.startChild,
    });
    live.set(key, executor);
    engine.metrics.runLive(1);
    const ending = executor.done.then(async (end) => {
      if (live.get(key) === executor) live.delete(key);
      engine.metrics.runLive(-1);
      await afterEnd(executor, end);
      endings.delete(ending);
    });
    endings.add(ending);
    return executor;
  }

  async function afterEnd(executor: Executor, end: ExecutorEnd): Promise<void> {
    const { tenantId, runId, parent } = executor.context;
    const key = keyOf(tenantId, runId);
    if (end === 'broken') breaks.set(key, (breaks.get(key) ?? 0) + 1);
    else breaks.delete(key);
    if (end === 'lost' || end === 'broken') await disown({ tenantId, runId, epoch: executor.epoch });
    if (end === 'ended' && parent !== null) wake({ tenantId, runId: parent.runId });
    if (end === 'handed_over') bus.publish(wakeTopic, JSON.stringify({ tenantId, runId }));
  }

  /**
   * A run that this worker owns but does not drive would wait for as long as its heartbeat goes on: back into the queue
   * with it. When the store cannot be reached it is tried again with each poll.
   */
  async function disown(claim: RunClaim): Promise<void> {
    const key = keyOf(claim.tenantId, claim.runId);
    if (live.get(key)?.epoch === claim.epoch) {
      undriven.delete(key);
      return;
    }
    undriven.set(key, claim);
    try {
      await giveBack(claim);
      if (undriven.get(key) === claim) undriven.delete(key);
    } catch (error) {
      logger.warn({ runId: claim.runId, err: error }, 'a run could not be given back to the queue; trying again');
    }
  }

  async function giveBack({ tenantId, runId, epoch }: RunClaim): Promise<void> {
    const row = await store.getRun(tenantId, runId);
    if (row === null || row.leaseOwner !== workerId || row.epoch !== epoch || row.status !== 'running') return;
    const dueAt = engine.clock.now() + (draining ? 0 : retryTakeMs);
    const patch = { status: 'queued' as const, leaseOwner: null, dueAt };
    await store.commit({ tenantId, run: { runId, epoch, owner: workerId, lastSeq: row.lastSeq, patch } });
  }

  /** Reads what the journal says of a claimed run and goes on from there. */
  async function take(row: RunRow): Promise<void> {
    try {
      const state = await loadState(store, row.tenantId, row.runId);
      const { created } = state;
      const session = await store.getSession(row.tenantId, row.sessionId);
      if (created === null || session === null) throw new NexusError('not_found', 'the run or its session has no beginning in the store');
      let context: RunContext;
      try {
        context = await createContext(engine, dependencies.catalog, dependencies.transcripts, {
          row,
          session,
          principal: created.principal,
          history: created.history,
          parent: created.parent ?? null,
          deadlineAt: created.deadlineAt ?? null,
          traceparent: created.traceparent ?? null,
        });
      } catch (error) {
        if (error instanceof NexusError && !error.retryable) return await endTaken(row, state, toErrorInfo(error));
        throw error;
      }
      if ((breaks.get(keyOf(row.tenantId, row.runId)) ?? 0) >= maxBreaks) return await endTaken(row, state, unwritable);
      const fence = { tenantId: row.tenantId, runId: row.runId, epoch: row.epoch, owner: workerId };
      const proposal = merge([
        propose({ events: [resumedEvent(state, workerId, row.epoch)], patch: { status: 'running', waiting: null } }),
        proposeRecovery(engine, context, state),
      ]);
      const executor = adopt({ context, fence, state, opening: { type: 'taken', proposal } });
      if (row.cancelRequested !== null) executor.cancel(row.cancelRequested);
      else if (draining) executor.drain();
    } catch (error) {
      logger.error({ runId: row.runId, err: error }, 'a claimed run could not be taken up');
      await disown(row);
    }
  }

  /** A taken run cannot go on (its agent or model is gone, or its work cannot be written): that is its end, and it says so. */
  async function endTaken(row: RunRow, state: RunState, error: ErrorInfo): Promise<void> {
    breaks.delete(keyOf(row.tenantId, row.runId));
    const patch = { status: 'failed' as const, error, resumable: true, leaseOwner: null, dueAt: null, waiting: null };
    const before = merge([
      propose({ events: [resumedEvent(state, workerId, row.epoch)] }),
      ...Object.keys(state.openReservations).map(charge),
      propose({ patch, wake: row.parentRunId === null ? [] : [row.parentRunId] }),
    ]);
    const fence = { tenantId: row.tenantId, runId: row.runId, epoch: row.epoch, owner: workerId };
    const ending = withEnding(state, before, (last) => ({ events: stoppedEvents(last, { type: 'fail', error, resumable: true }) }));
    await commitProposal(store, fence, state.lastSeq, ending);
  }

  function claimSoon(): void {
    claimAgain = true;
    claiming ??= claimLoop().finally(() => {
      claiming = null;
    });
  }

  async function claimLoop(): Promise<void> {
    while (claimAgain && !draining && !stopped.signal.aborted) {
      claimAgain = false;
      const room = settings.maxLiveRuns - live.size;
      if (room <= 0) return;
      try {
        // A worker that was paused must not find its own lease ended and its own runs lost.
        if (sinceBeat() > settings.heartbeatMs * 2) await beat();
        const limit = Math.min(room, 100);
        const rows = await claimOrDoubt(limit);
        await Promise.all(rows.map(take));
        if (rows.length === limit) claimAgain = true;
      } catch (error) {
        logger.warn({ err: error }, 'the queue could not be read; trying again');
        return;
      }
    }
  }

  async function claimOrDoubt(limit: number): Promise<readonly RunRow[]> {
    if (claimInDoubt) {
      for (const claim of await store.ownedRuns(workerId)) {
        const key = keyOf(claim.tenantId, claim.runId);
        if (!live.has(key)) undriven.set(key, claim);
      }
    }
    claimInDoubt = true;
    const rows = await store.claimRuns(workerId, limit);
    claimInDoubt = false;
    return rows;
  }

  async function beat(): Promise<void> {
    // The lease counts from before the request, however long its answer takes.
    const sentAt = { monotonic: engine.clock.monotonic(), wall: engine.clock.now() };
    const { cancelRequested } = await store.heartbeat(workerId, settings.leaseMs);
    lastBeat = sentAt;
    for (const { tenantId, runId, reason } of cancelRequested) live.get(keyOf(tenantId, runId))?.cancel(reason);
  }

  async function poll(): Promise<void> {
    claimSoon();
    await Promise.all([...undriven.values()].map(disown));
  }

  async function every(intervalMs: number, task: () => Promise<void> | void, what: string): Promise<void> {
    while (!stopped.signal.aborted) {
      await systemTimers.sleep(intervalMs, stopped.signal).catch(() => undefined);
      if (stopped.signal.aborted) return;
      try {
        await task();
      } catch (error) {
        logger.warn({ err: error }, `${what} failed; trying again`);
      }
    }
  }

  function wake(message: WakeMessage): void {
    if (bus.spansProcesses || !live.has(keyOf(message.tenantId, message.runId))) bus.publish(wakeTopic, JSON.stringify(message));
    else receive(message);
  }

  function receive({ tenantId, runId, cancel }: WakeMessage): void {
    const executor = live.get(keyOf(tenantId, runId));
    if (executor === undefined) claimSoon();
    else if (cancel !== undefined) executor.cancel(cancel);
    else executor.poke();
  }

  return {
    async start() {
      await beat();
      const stopListening = bus.subscribe(wakeTopic, (text) => receive(JSON.parse(text) as WakeMessage)); // see wake
      stopped.signal.addEventListener('abort', stopListening);
      loops.push(every(settings.heartbeatMs, beat, 'the heartbeat'), every(settings.pollMs, poll, 'the queue poll'));
      claimSoon();
    },
    get liveRuns() {
      return live.size;
    },
    hasCapacity: () => !draining && live.size < settings.maxLiveRuns && sinceBeat() < settings.leaseMs,
    adopt,
    disown: (run) => void undriven.set(keyOf(run.tenantId, run.runId), run),
    wake,
    get draining() {
      return draining;
    },
    async drain(timeoutMs) {
      draining = true;
      await claiming;
      const executors = [...live.values()];
      for (const executor of executors) executor.drain();
      const all = Promise.allSettled(executors.map((executor) => executor.done));
      const late = new AbortController();
      await Promise.race([all, systemTimers.sleep(timeoutMs, late.signal).catch(() => undefined)]);
      late.abort();
      for (const executor of live.values()) executor.abandon();
      await all;
      stopped.abort();
      await Promise.allSettled([...loops, ...endings]);
      await store.retireWorker(workerId);
    },
  };
}
