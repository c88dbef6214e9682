/**
 * A server of the crash tests: the whole platform in a process of its own, over a given database, with probe tools and
 * the simulator that runs in the test's process. Its argument is the JSON of {@link WorkerProcessOptions}.
 */
import { flushCompileCache } from 'node:module';
import { type ConfigInput, resolveConfig } from '../../packages/server/src/apps/config/index.ts';
import { startAllInOne } from '../../packages/server/src/apps/index.ts';
import { createChance } from '../../packages/server/src/apps/testing/index.ts';
import { systemClock } from '../../packages/server/src/core/index.ts';
import { createLogger } from '../../packages/server/src/telemetry/index.ts';
import { createHolds, holdingModels, holdingStore } from './holds.ts';
import { folderTools, probeTools } from './probes.ts';

export interface WorkerProcessOptions {
  readonly config: ConfigInput;
  /** Absent: the providers of the configuration answer. */
  readonly simulatorUrl?: string;
  /** Probe tools append a line here for each effect. */
  readonly ledgerFile: string;
  /** Files in this folder are barriers: a tool that waits for one goes on once it exists. */
  readonly barrierDir: string;
  /** Runs that name a point are held there; see `holds.ts`. */
  readonly holds?: 'asked' | 'resumed';
  /** It only drives the runs that are started at it, and takes none from the queue. */
  readonly claimsNothing?: boolean;
  /** The clock on its wall is off by this. */
  readonly wrongByMs?: number;
  /** What it draws by itself. */
  readonly seed?: string;
}

/** What it sends to the test: that it serves, or that a run has reached the point where it is held. */
export type WorkerMessage =
  | { readonly type: 'ready'; readonly url: string }
  | { readonly type: 'held'; readonly runId: string; readonly point: string };

const options: WorkerProcessOptions = JSON.parse(process.argv[2] ?? '{}');
const send = (message: WorkerMessage) => process.send?.(message);
const holds = createHolds(options.holds ?? 'none', (runId, point) => send({ type: 'held', runId, point }));

const { wrongByMs = 0, seed = '' } = options;
const random = createChance(seed).next;
const clock = { ...systemClock, now: () => systemClock.now() + wrongByMs };
const app = await startAllInOne({
  clock,
  config: resolveConfig({ env: {}, flags: { auth: { local: 'open' }, ...options.config } }),
  version: '0.0.0',
  logger: createLogger({ level: 'info', pretty: false }),
  tools: [...probeTools({ ...options, reach: holds.reach }), ...folderTools({ reach: holds.reach })],
  ...(options.simulatorUrl === undefined ? {} : { models: holdingModels({ simulatorUrl: options.simulatorUrl, clock, random, holds }) }),
  wrapStore: (store) => holdingStore(store, { holds, claimsNothing: options.claimsNothing === true }),
});

process.on('message', (message) => {
  if (message === 'release') holds.release();
});
process.on('SIGTERM', () => {
  app.close().then(
    () => process.exit(0),
    () => process.exit(1),
  );
});
// The test's process is gone: nobody else would end this one.
process.on('disconnect', () => process.exit(2));
send({ type: 'ready', url: app.url });
// Node writes its compile cache at exit, and these processes are killed: without this each would compile everything anew.
flushCompileCache();
