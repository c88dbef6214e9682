import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type AgentDefinition, isTerminal, type Key, type KeyScope, type Run, type RunStatus, type WireEvent } from '@nexus-agent/protocol';
import { type ConfigInput, resolveConfig } from '#apps/config';
import type { Tool } from '#tools';
import { type AllInOne, startAllInOne } from '../all-in-one.ts';
import { createKeptLog, type LogLine } from './log.ts';
import { metricValue } from './metrics.ts';
import { createStoreFaults, type StoreFaults } from './store-faults.ts';

export interface TestPlatformOptions {
  /** As a command does that only looks. */
  readonly onlyLooks?: boolean;
  readonly config?: ConfigInput;
  /** Tools besides the built-in ones. */
  readonly tools?: readonly Tool[];
  /** A folder of the test's own, which stays; without one a temporary folder is made and removed. */
  readonly dataDir?: string;
}

export interface TestPlatform {
  readonly app: AllInOne;
  readonly url: string;
  readonly port: number;
  readonly logs: readonly LogLine[];
  /** Makes the store fail. */
  readonly faults: Pick<StoreFaults, 'fail'>;
  /** The sum of a metric's samples with these labels, scraped now. */
  metric(name: string, labels?: Readonly<Record<string, string>>): Promise<number>;
  /** The answer of the API as the caller says it is; fails when it is not a 2xx. */
  ask<T>(method: string, path: string, body?: unknown): Promise<T>;
  /** Stores an agent; by default one on the simulator that may use every tool without asking. */
  agent(name: string, definition?: Partial<AgentDefinition>): Promise<void>;
  /** A new API key's secret. */
  key(scopes: readonly KeyScope[], tenant?: string): Promise<string>;
  /** Starts a run in the background and gives its id. */
  start(request: Readonly<Record<string, unknown>>): Promise<string>;
  /** Waits until the run has the status. */
  until(runId: string, status: RunStatus): Promise<Run>;
  /** Starts a run, waits until it is completed, and gives its id. */
  complete(request: Readonly<Record<string, unknown>>): Promise<string>;
  /** The log of a run, as the API gives it. */
  events(runId: string): Promise<LogEvent[]>;
  close(): Promise<void>;
}

/** An event of a run's log on the wire. */
export type LogEvent = Extract<WireEvent, { seq: number }>;

const patienceMs = 15_000;

/** Starts the platform on a free port. Live runs are given up at once when it closes. */
export async function startTestPlatform({
  config,
  tools = [],
  dataDir,
  onlyLooks = false,
}: TestPlatformOptions = {}): Promise<TestPlatform> {
  const folder = dataDir ?? (await mkdtemp(join(tmpdir(), 'nexus-test-')));
  const { logger, lines } = createKeptLog();
  const faults = createStoreFaults();
  // Most tests are the local operator without more ado.
  const flags: ConfigInput = { port: 0, dataDir: folder, drainMs: 0, ...config, auth: { local: 'open', ...config?.auth } };
  const removeFolder = () => (dataDir === undefined ? rm(folder, { recursive: true, force: true }) : Promise.resolve());
  const app = await startAllInOne({
    config: resolveConfig({ env: {}, flags }),
    version: '0.0.0-test',
    logger,
    tools,
    onlyLooks,
    wrapStore: (store) => faults.wrap(store),
  }).catch(async (error: unknown) => {
    await removeFolder();
    throw error;
  });

  async function ask<T>(method: string, path: string, body?: unknown): Promise<T> {
    const response = await fetch(app.url + path, {
      method,
      ...(body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
    });
    if (!response.ok) throw new Error(`${method} ${path} answered ${response.status}: ${await response.text()}`);
    return (await response.json()) as T; // the caller knows the route
  }

  async function until(runId: string, status: RunStatus): Promise<Run> {
    for (const endAt = performance.now() + patienceMs; ; ) {
      const run = await ask<Run>('GET', `/v1/runs/${runId}`);
      if (run.status === status) return run;
      if (isTerminal(run.status) || performance.now() > endAt) throw new Error(`the run is not ${status}: ${JSON.stringify(run)}`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  const start = async (request: Readonly<Record<string, unknown>>) => (await ask<Run>('POST', '/v1/runs', request)).id;

  return {
    app,
    url: app.url,
    port: app.port,
    logs: lines,
    faults,
    metric: async (name, labels) => metricValue(await (await fetch(`${app.url}/metrics`)).text(), name, labels),
    ask,
    async agent(name, definition = {}) {
      await ask('POST', '/v1/agents', { name, models: ['sim/sim-large'], tools: ['*'], policy: { allow: ['*'] }, ...definition });
    },
    async key(scopes, tenant) {
      const { secret = '' } = await ask<Key>('POST', '/v1/keys', { name: 'test', scopes, ...(tenant === undefined ? {} : { tenant }) });
      return secret;
    },
    start,
    until,
    async complete(request) {
      const runId = await start(request);
      await until(runId, 'completed');
      return runId;
    },
    events: async (runId) => (await ask<{ data: LogEvent[] }>('GET', `/v1/runs/${runId}/events?limit=1000`)).data,
    async close() {
      await app.close();
      await removeFolder();
    },
  };
}
