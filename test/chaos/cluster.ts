import { fork } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { AgentDefinition } from '@nexus-agent/protocol';
import type { ConfigInput } from '../../packages/server/src/apps/config/index.ts';
import { type Simulator, startSimulator } from '../../packages/server/src/llm/sim/index.ts';
import type { Store } from '../../packages/server/src/storage/index.ts';
import { acquirePostgres } from '../support/postgres.ts';
import { openTestStore } from '../support/stores.ts';
import { type Effect, readEffects } from './probes.ts';
import { chanceOf } from './seed.ts';
import type { WorkerMessage, WorkerProcessOptions } from './worker-process.ts';

const script = fileURLToPath(new URL('./worker-process.ts', import.meta.url));

/** Leases short enough for a test; `takeover` is measured with the product's own. */
const shortLease = { leaseMs: 1000, heartbeatMs: 250, pollMs: 100 };
/** For tests in which nobody may lose a lease by accident: a cold process on a busy machine can stand still for some seconds. */
export const steadyLease = { leaseMs: 5000, heartbeatMs: 250, pollMs: 100 };

export interface WorkerProcess {
  readonly pid: number;
  readonly url: string;
  readonly running: boolean;
  /** What it logged so far, a JSON object per line. */
  log(): string;
  /** Points at which it holds runs, by run. */
  readonly held: ReadonlyMap<string, string>;
  /** Lets all that it holds go on. */
  release(): void;
  signal(signal: NodeJS.Signals): void;
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>;
  /** Resolves when it has ended, with its exit code or signal. */
  readonly ended: Promise<number | NodeJS.Signals>;
}

/** One database with the processes that serve it, and the simulator that they call. All of it belongs to one suite. */
export interface Cluster {
  /** Of the database on Postgres; null for SQLite. */
  readonly databaseUrl: string | null;
  readonly simulator: Simulator;
  /** The test's own view of the database. */
  readonly store: Store;
  effects(): Effect[];
  /** Lets tools that wait for this barrier go on. */
  release(barrier: string): void;
  start(
    options?: Pick<WorkerProcessOptions, 'holds' | 'claimsNothing' | 'wrongByMs'> & {
      readonly runs?: ConfigInput['runs'];
      /** Another way to the database on Postgres. */
      readonly databaseUrl?: string;
    },
  ): Promise<WorkerProcess>;
  /** SIGSTOP between two writes: a process that stands still within one keeps the file of SQLite locked for everybody. */
  pause(worker: Pick<WorkerProcess, 'signal'>): Promise<void>;
  /** The data folder of the process that was started last. */
  dataDir(): string;
  /** Addresses of the processes that run now. */
  urls(): string[];
  /** Kills every process that still runs, for the next test: one that failed must not leave others behind that take runs over. */
  clear(): Promise<void>;
  close(): Promise<void>;
}

const agent = AgentDefinition.parse({
  name: 'prober',
  instructions: 'Do as you are told.',
  models: ['sim/sim-large'],
  tools: ['probe_*', 'wait'],
  policy: { allow: ['probe_read', 'probe_put', 'probe_pay', 'wait'] },
});
const filing: AgentDefinition = {
  ...agent,
  name: 'filing',
  tools: ['probe_*', 'fs_*', 'folder_*'],
  policy: { allow: ['probe_*', 'fs_*', 'folder_*'] },
};
const careful: AgentDefinition = { ...agent, name: 'careful', policy: { allow: ['probe_read'], approve: ['probe_pay'] } };

export interface ClusterOptions {
  /** Pace of the simulator's answers. */
  readonly tokensPerSecond?: number;
  /** Providers and prices instead of the simulator, and agents that ask them. */
  readonly models?: Pick<ConfigInput, 'providers' | 'prices' | 'budget'>;
  readonly agents?: readonly AgentDefinition[];
  readonly drainMs?: number;
  /** What joins the processes; by default what the product chooses. */
  readonly bus?: ConfigInput['bus'];
}

export async function openCluster(
  database: 'sqlite' | 'postgres',
  { tokensPerSecond = 400, drainMs = 5000, models, agents = [agent, careful, filing], bus = 'auto' }: ClusterOptions = {},
): Promise<Cluster | { readonly reason: string }> {
  const postgres = database === 'postgres' ? await acquirePostgres() : undefined;
  if (postgres !== undefined && 'reason' in postgres) return postgres;
  const dataDir = mkdtempSync(join(tmpdir(), 'nexus-chaos-'));
  const ledgerFile = join(dataDir, 'effects.jsonl');
  const barrierDir = join(dataDir, 'barriers');
  mkdirSync(barrierDir);
  mkdirSync(join(dataDir, 'agents'));
  for (const definition of agents) writeFileSync(join(dataDir, 'agents', `${definition.name}.yaml`), JSON.stringify(definition));
  const simulator = await startSimulator({ knobs: { latencyMs: 20, tokensPerSecond } });
  const store = await openTestStore(postgres === undefined ? { dataDir } : { url: postgres.url });
  const workers = new Set<WorkerProcess>();
  const chance = chanceOf(`processes on ${database}`);
  let folder = dataDir;

  return {
    databaseUrl: postgres?.url ?? null,
    simulator,
    store,
    effects: () => readEffects(ledgerFile),
    release: (barrier) => writeFileSync(join(barrierDir, barrier), ''),
    dataDir: () => folder,
    async start({ runs, databaseUrl = postgres?.url, ...options } = {}) {
      // Processes on one Postgres share no folder.
      if (postgres !== undefined) folder = mkdtempSync(join(dataDir, 'node-'));
      const worker = await startWorker({
        seed: String(chance.next()),
        config: {
          dataDir: folder,
          agentsDir: join(dataDir, 'agents'),
          port: 0,
          runs: { ...shortLease, ...runs },
          drainMs,
          bus,
          ...(databaseUrl === undefined ? {} : { databaseUrl }),
          ...models,
        },
        ...(models === undefined ? { simulatorUrl: simulator.url } : {}),
        ledgerFile,
        barrierDir,
        ...options,
      });
      workers.add(worker);
      return worker;
    },
    async pause(worker) {
      for (let attempt = 0; attempt < 50; attempt++) {
        worker.signal('SIGSTOP');
        await sleep(20); // the signal has arrived
        if (postgres !== undefined || canWrite(join(dataDir, 'nexus.db'))) return;
        worker.signal('SIGCONT');
        await sleep(3 + 7 * (attempt % 5)); // out of step with its heartbeat
      }
      throw new Error('the process was never paused between two writes');
    },
    async clear() {
      await Promise.all([...workers].map((worker) => worker.kill()));
    },
    urls: () => [...workers].filter((worker) => worker.running).map((worker) => worker.url),
    async close() {
      await Promise.all([...workers].map((worker) => worker.kill()));
      await store.close();
      await simulator.close();
      await postgres?.close();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

function canWrite(file: string): boolean {
  const database = new DatabaseSync(file, { timeout: 500 });
  try {
    database.exec('BEGIN IMMEDIATE; ROLLBACK');
    return true;
  } catch {
    return false;
  } finally {
    database.close();
  }
}

async function startWorker(options: WorkerProcessOptions): Promise<WorkerProcess> {
  const child = fork(script, [JSON.stringify(options)], {
    execArgv: ['--conditions=nexus-source', '--no-warnings'],
    // Compiled code is kept between processes: many of them are started.
    env: { PATH: process.env.PATH, NODE_COMPILE_CACHE: join(tmpdir(), 'nexus-chaos-compiled') },
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  let log = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    log += text;
  });
  let running = true;
  const ended = new Promise<number | NodeJS.Signals>((resolve) => {
    child.once('exit', (code, signal) => {
      running = false;
      resolve(code ?? signal ?? 'SIGKILL');
    });
  });
  const held = new Map<string, string>();
  const ready = new Promise<string>((resolve) => {
    child.on('message', (message: WorkerMessage) => {
      if (message.type === 'ready') resolve(message.url);
      else held.set(message.runId, message.point);
    });
  });
  const url = await Promise.race([ready, ended.then(() => null)]);
  if (url === null) throw new Error(`a worker process ended before it was ready: ${log}`);
  return {
    pid: child.pid ?? 0,
    url,
    get running() {
      return running;
    },
    log: () => log,
    held,
    release: () => void child.send('release'),
    signal: (signal) => void child.kill(signal),
    async kill() {
      if (running) child.kill('SIGKILL');
      await ended;
    },
    ended,
  };
}

/** Polls until the condition holds; fails with what it waited for. */
export async function until<T>(
  what: string,
  condition: () => Promise<T | undefined | false> | T | undefined | false,
  timeoutMs = 30_000,
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const value = await condition();
    if (value !== undefined && value !== false) return value;
    if (performance.now() > deadline) throw new Error(`${what} did not happen within ${timeoutMs} ms`);
    await sleep(20);
  }
}
