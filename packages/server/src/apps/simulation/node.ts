import type { Approvals, Budgets, Tools } from '#control';
import type { Orchestrator } from '#runs';
import { createSharedClock, type Store } from '#storage';
import type { Logger } from '#telemetry';
import { assembleNode, storeTimeoutMs } from './assembly.ts';
import type { Chance } from './chance.ts';
import { createFaultyDriver, type StoreWeather } from './faulty-store.ts';
import { createNodeClock, createNodeTimers, type NodeClock } from './node-time.ts';
import type { Surroundings } from './surroundings.ts';
import type { Owner, World } from './world.ts';

export interface Node extends Owner {
  gone: boolean;
  stillUntil: number;
  readonly clock: NodeClock;
  /** Of the way from this node to the database. */
  readonly weather: StoreWeather;
  readonly orchestrator: Orchestrator;
  readonly approvals: Approvals;
  readonly budgets: Budgets;
  readonly tools: Tools;
  readonly store: Store;
  /** Serves clients. */
  readonly isReady: boolean;
  /** Resolves once it drives runs; rejects where the store does not take its first sign of life. */
  start(): Promise<void>;
  /** Stops as it is told to: what it does not finish in time, it gives up to others. */
  stop(): Promise<void>;
  /** Loses its memory: nothing of it happens any more. */
  crash(): void;
}

const followMs = 15_000;
const drainMs = 3_000;

/** A whole process of the platform, with its time, its way to the database, and its end. */
export function createNode(name: string, wrongByMs: number, chance: Chance, around: Surroundings): Node {
  const { world, epochMs, database, onCommit } = around;
  let phase: 'new' | 'ready' | 'stopping' = 'new';
  const clockOfNode = createNodeClock(world, { epochMs, wrongByMs });
  const clock = createSharedClock(clockOfNode);
  const weather: StoreWeather = { silentUntil: 0, roughUntil: 0, lostAnswers: 0, refusals: 0 };
  const owner = {
    ...{ name, gone: false, stillUntil: 0 },
    get isReady(): boolean {
      return phase === 'ready' && !owner.gone;
    },
  };
  const timers = createNodeTimers(world, owner);
  const driver = createFaultyDriver({
    ...{ world, owner, database, weather: [around.weather, weather], timeoutMs: storeTimeoutMs, onCommit },
    chance: chance.fork('store'),
  });
  const logger = createNodeLogger(world, name);
  const parts = assembleNode({ owner, clock, timers, chance, driver, logger }, around);
  const { store, orchestrator, retention, sweeper, approvals, budgets, tools } = parts;

  return Object.assign(owner, {
    ...{ weather, store, orchestrator, approvals, budgets, tools },
    clock: clockOfNode,
    async start() {
      await clock.follow(() => store.now());
      timers.every(
        followMs * around.pace,
        () => void clock.follow(() => store.now()).catch((err: unknown) => logger.warn({ err }, 'the clock could not be compared')),
      );
      if (around.policies.matters) await parts.follow();
      sweeper.start();
      retention.start();
      await orchestrator.start();
      phase = 'ready';
      world.say(name, 'is ready');
    },
    async stop() {
      phase = 'stopping';
      world.say(name, 'drains');
      await Promise.all([retention.stop(), orchestrator.drain(drainMs)]).catch((err: unknown) =>
        logger.warn({ err }, 'the end could not be told'),
      );
      owner.gone = true;
      world.say(name, 'is down');
    },
    crash() {
      owner.gone = true;
      world.say(name, 'crashes');
    },
  });
}

/** What a node says of itself, among what happens. */
function createNodeLogger(world: World, name: string): Logger {
  const line = (level: string) => (fields: object, message: string) => {
    const err = 'err' in fields && fields.err instanceof Error ? ` (${fields.err.message})` : '';
    world.say(name, `${level}: ${message}${err}`);
  };
  const logger: Logger = { debug: () => undefined, info: line('info'), warn: line('warn'), error: line('error'), child: () => logger };
  return logger;
}
