import type { Bus } from '#bus';
import { createCountedCache, NexusError, settlesWithin } from '#core';
import { type ChildCall, createRunSpans, type Executor, type ExecutorEnd, startExecutor } from '#runs/drive';
import type { Transcripts } from '#runs/journal';
import type { AgentSource, Engine, RunContext } from '#runs/steps';
import type { ClaimedRun } from '#storage';
import { createAlone } from './alone.ts';
import { type Claims, createClaims } from './claims.ts';
import { type RunKey, runKey } from './keys.ts';
import { createLease } from './lease.ts';
import { createPlaces } from './places.ts';
import { setAsideAfter } from './poisonous.ts';
import type { AdoptOptions, Dispatcher, DispatchSettings } from './port.ts';
import { createRounds } from './rounds.ts';
import { takeRun } from './take-run.ts';
import { createUndrivenRuns } from './undriven.ts';
import { createWakeTopic } from './wake.ts';

export interface WorkerDependencies {
  readonly engine: Engine;
  readonly bus: Bus;
  readonly agents: AgentSource;
  readonly transcripts: Transcripts;
  readonly settings: DispatchSettings;
  /** Creates the run of a sub-agent call unless it exists; true when it is new. */
  readonly startChild: (parent: RunContext, call: ChildCall) => Promise<boolean>;
}

/** Drives runs: those that this process accepted, and those it claims from the table. */
export function createWorker({ engine, bus, agents, transcripts, settings, startChild }: WorkerDependencies): Dispatcher {
  const { store, logger, clock, timers, workerId } = engine;
  const live = new Map<RunKey, Executor>();
  const endings = new Set<Promise<void>>();
  /** How often in a row a run was {@link ExecutorEnd broken} here. */
  const breaks = createCountedCache<RunKey, number>(10_000);
  let draining = false;
  /** The time to drain is over: what is driven now is given up at once. */
  let drained = false;

  const isLive = (run: Parameters<typeof runKey>[0]) => live.has(runKey(run));
  const undriven = createUndrivenRuns({
    store,
    clock,
    workerId,
    logger,
    isDriven: (claim) => live.get(runKey(claim))?.epoch === claim.epoch,
    restMs: () => (draining ? 0 : settings.retryTakeMs),
  });
  const lease = createLease({
    ...{ store, clock, logger, workerId, settings, liveRuns: () => live.size },
    onCancel: (run) => live.get(runKey(run))?.cancel(run.reason),
    onGap: () => void giveUpLost({ store, workerId, logger, live: [...live.values()] }),
  });
  const places = createPlaces({ most: settings.maxLiveRuns, live: () => live.size, freed: () => claims.madeRoom() });
  const claims: Claims = createClaims({
    store,
    lease,
    workerId,
    logger,
    places,
    isClosed: () => alone.isClosed,
    // Longer than a round of those that look: what falls due just after a look is there for the next one, which may be late.
    restMs: 2 * settings.pollMs,
    take: async (row) => void (await take(row)),
    found: undriven.add,
  });
  const alone = createAlone({
    ...{ store, clock, timers, logger, workerId, places, aloneMs: settings.aloneMs, setAside: setAsideAfter(settings.maxDeaths) },
    take,
    handOver() {
      for (const executor of live.values()) executor.drain();
    },
    opened: () => claims.claimSoon(),
  });
  const topic = createWakeTopic(bus, {
    isHere: isLive,
    receive(message) {
      const executor = live.get(runKey(message));
      if (executor === undefined) claims.claimSoon();
      else if (message.cancel !== undefined) executor.cancel(message.cancel);
      else executor.poke();
    },
  });
  const rounds = createRounds({ timers, logger });

  function adopt(options: AdoptOptions): Executor {
    const key = runKey(options.context);
    const executor = startExecutor({
      ...options,
      engine,
      channel: engine.hub.openLocal(key),
      spans: alone.hearing(key, createRunSpans(engine, options.context, options.state, options)),
      lease,
      async startChild(parent, call) {
        if (await startChild(parent, call)) topic.wake({ tenantId: parent.tenantId, runId: call.childRunId });
      },
    });
    // One of an earlier epoch can write nothing any more: what it has under way is not waited for.
    live.get(key)?.abandon();
    live.set(key, executor);
    engine.metrics.runLive(1);
    const ending = executor.done.then(async (end) => {
      if (live.get(key) === executor) live.delete(key);
      claims.madeRoom();
      engine.metrics.runLive(-1);
      await afterEnd(executor, end);
      endings.delete(ending);
    });
    endings.add(ending);
    // A run whose request was under way when draining began comes this late.
    if (draining) executor.drain();
    if (drained) executor.abandon();
    return executor;
  }

  async function afterEnd({ context, epoch, nextRun }: Executor, end: ExecutorEnd): Promise<void> {
    const { tenantId, runId, parent } = context;
    const [key, next] = [runKey(context), nextRun()];
    if (end === 'broken') breaks.set(key, (breaks.get(key) ?? 0) + 1);
    else breaks.delete(key);
    if (end === 'lost' || end === 'broken') await undriven.giveBack({ tenantId, runId, epoch });
    if (end === 'ended' && parent !== null) topic.wake({ tenantId, runId: parent.runId });
    if (next !== null) topic.wake({ tenantId, runId: next });
    if (end === 'handed_over') topic.publish({ tenantId, runId });
  }

  function take(row: ClaimedRun): Promise<Executor | null> {
    return takeUp({ engine, agents, transcripts, settings, breaks, undriven, adopt, ended: () => claims.claimSoon() }, row);
  }

  return {
    async start() {
      if (draining) throw new NexusError('unavailable', 'this process is shutting down');
      await lease.beat();
      topic.listen();
      rounds.every(settings.heartbeatMs, 'the heartbeat', () => lease.beat());
      rounds.every(settings.pollMs, 'the queue poll', async () => {
        await alone.look();
        claims.claimSoon();
        await undriven.retry();
      });
      claims.claimSoon();
    },
    get liveRuns() {
      return live.size;
    },
    get leaseStands() {
      return lease.stands();
    },
    hold({ background }) {
      const isFull = draining || alone.isClosed || places.free <= 0;
      return isFull || !lease.stands() || (background && lease.isBusier()) ? null : places.hold(1);
    },
    adopt: (options) => void adopt(options),
    disown: (claim) => undriven.add(claim),
    wake: topic.wake,
    get draining() {
      return draining;
    },
    async drain(timeoutMs, onLeft = () => undefined) {
      draining = true;
      // What is being claimed is drained as it comes.
      const claimed = claims.stop();
      const taken = alone.stop();
      for (const executor of live.values()) executor.drain();
      const left = noneOf(live);
      const ended = Promise.all([claimed, taken, left]).then(() => noneOf(live));
      void settlesWithin(timers, left, timeoutMs).then(onLeft);
      const inTime = await settlesWithin(timers, ended, timeoutMs);
      drained = true;
      if (!inTime) for (const executor of live.values()) executor.abandon();
      await ended;
      topic.close();
      await rounds.stop();
      await Promise.allSettled(endings);
      await store.retireWorker(workerId);
    },
  };
}

/** Resolves once none is driven, also of those that come meanwhile. */
async function noneOf(live: ReadonlyMap<RunKey, Executor>): Promise<void> {
  while (live.size > 0) await Promise.all([...live.values()].map((executor) => executor.done));
}

interface LostParts extends Pick<WorkerDependencies['engine'], 'store' | 'workerId' | 'logger'> {
  readonly live: readonly Executor[];
}

/** What others took over is given up at once, and not when it is to be written next. Never rejects: what is to be written finds it, too. */
async function giveUpLost({ store, workerId, logger, live }: LostParts): Promise<void> {
  try {
    const owned = new Map((await store.ownedRuns(workerId)).map((claim) => [runKey(claim), claim.epoch]));
    for (const executor of live) if (owned.get(runKey(executor.context)) !== executor.epoch) executor.abandon();
  } catch (error) {
    logger.warn({ err: error }, 'what others took over could not be looked up');
  }
}

interface TakeParts extends Pick<WorkerDependencies, 'engine' | 'agents' | 'transcripts' | 'settings'> {
  readonly breaks: ReturnType<typeof createCountedCache<RunKey, number>>;
  readonly undriven: ReturnType<typeof createUndrivenRuns>;
  readonly adopt: (options: AdoptOptions) => Executor;
  /** A run was ended instead of driven. */
  readonly ended: () => void;
}

/** Drives a claimed run; null when it has been ended instead, or given back. Never rejects. */
async function takeUp(parts: TakeParts, row: ClaimedRun): Promise<Executor | null> {
  const { engine, settings, breaks, undriven, adopt, ended } = parts;
  if (row.deaths > 0)
    engine.logger.warn(
      { runId: row.runId, deaths: row.deaths },
      'the process that drove this run died, or gave no sign of life for longer than its lease; the run is taken up again',
    );
  try {
    const options = await takeRun(parts, row, (breaks.get(runKey(row)) ?? 0) >= settings.maxBreaks);
    if (options === null) {
      breaks.delete(runKey(row));
      ended(); // the next run of its session may be due
      return null;
    }
    const executor = adopt({ ...options, ...(row.lostAt === null ? {} : { lostAt: row.lostAt }) });
    if (row.cancelRequested !== null) executor.cancel(row.cancelRequested);
    return executor;
  } catch (error) {
    engine.logger.error({ runId: row.runId, err: error }, 'a claimed run could not be taken up');
    await undriven.giveBack(row);
    return null;
  }
}
