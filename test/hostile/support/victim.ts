import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { acquirePostgres } from '../../support/postgres.ts';
import { type Health, watchHealth } from './health.ts';

const program = fileURLToPath(new URL('../../../packages/server/bin/nexus.mjs', import.meta.url));

/** Nobody waits longer than this because of somebody else's input, whatever the machine does besides. */
export const longestWaitMs = 250;
/** What an input takes, it takes each time; the machine stands still for other reasons too, some of which no figure of it tells. */
const mostTries = 3;

export type Database = 'sqlite' | 'postgres';

export interface VictimOptions {
  /** Default: `sqlite`. */
  readonly database?: Database;
  /** What `nexus.config.yaml` has, besides the port and the data folder. */
  readonly config?: Readonly<Record<string, unknown>>;
  readonly env?: Readonly<Record<string, string>>;
  /** Files in the folder that the server is started in; `policies/a.cedar`. */
  readonly files?: Readonly<Record<string, string>>;
  /** Further arguments of `nexus serve`. */
  readonly args?: readonly string[];
  /** A module that starts a server instead of `nexus serve`, for tools of the test's own; it gets the path of the configuration as its argument and prints `ready at <url>`. */
  readonly program?: string;
}

export interface Reply {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: the tests assert on the shape
  readonly body: any;
}

/** A real server in a process of its own, which attacks are tried on. */
export interface Victim {
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  /** The folder that it was started in. */
  readonly folder: string;
  readonly dataDir: string;
  readonly databaseUrl: string | undefined;
  /** Headers of one who may do everything. */
  readonly authorization: Readonly<Record<string, string>>;
  /** A request of one who may do everything, where its headers do not say otherwise. */
  call(method: string, path: string, body?: unknown, headers?: Readonly<Record<string, string>>): Promise<Reply>;
  /** All that it has said on its standard output and error. */
  output(): string;
  /** How it ended, where it has. */
  exited(): { readonly code: number | null; readonly signal: string | null } | null;
  /** Resident memory, in MB. */
  residentMb(): number;
  /** Stores an agent; by default one on the simulator that may use every tool without asking. */
  agent(name: string, definition?: Readonly<Record<string, unknown>>): Promise<void>;
  /** The secret of a new API key. */
  key(scopes: readonly string[], tenant?: string): Promise<string>;
  /** Starts a run in the background and gives its id. */
  start(request: Readonly<Record<string, unknown>>, headers?: Readonly<Record<string, string>>): Promise<string>;
  /** Waits until a run has ended or waits for somebody, and gives it. */
  // biome-ignore lint/suspicious/noExplicitAny: the tests assert on the shape
  end(runId: string, headers?: Readonly<Record<string, string>>): Promise<any>;
  /** Does the work while an own thread watches `/healthz`; fails when the process ended, or when somebody else had to wait each of three times. */
  unmoved<T>(work: () => Promise<T>): Promise<T>;
  /** The same without the judgement. */
  watch<T>(work: () => Promise<T>): Promise<Health & { readonly result: T }>;
  /** Kills the process, and starts it again on the same data. */
  restart(): Promise<void>;
  close(): Promise<void>;
}

/** The databases that are here; the reason of a missing one was printed. */
export async function databases(): Promise<readonly Database[]> {
  const postgres = await acquirePostgres();
  if ('reason' in postgres) return ['sqlite'];
  await postgres.close();
  return ['sqlite', 'postgres'];
}

/** Starts `nexus serve` in a process of its own, on a folder and a database of its own. Fails with what it said when it does not start. */
export async function startVictim(options: VictimOptions = {}): Promise<Victim> {
  const folder = mkdtempSync(join(tmpdir(), 'nexus-hostile-'));
  const dataDir = join(folder, 'data');
  const postgres = options.database === 'postgres' ? await acquirePostgres() : null;
  if (postgres !== null && 'reason' in postgres) throw new Error(postgres.reason);
  const databaseUrl = postgres?.url;
  const config = { port: 0, dataDir, log: { level: 'info' }, drainMs: 500, auth: { local: 'open' }, ...options.config };
  const files = { 'victim.config.yaml': JSON.stringify(config), ...options.files };
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
  let running = await launch(folder, options, databaseUrl);

  const victim: Victim = {
    get url() {
      return running.url;
    },
    get port() {
      return Number(new URL(running.url).port);
    },
    get pid() {
      return running.child.pid ?? 0;
    },
    folder,
    dataDir,
    databaseUrl,
    authorization: {},
    async call(method, path, body, headers = {}) {
      const response = await fetch(running.url + path, {
        method,
        headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
        ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      });
      const text = await response.text();
      const isJson = /json/.test(response.headers.get('content-type') ?? '');
      return { status: response.status, headers: response.headers, text, body: isJson ? JSON.parse(text) : text };
    },
    output: () => running.output(),
    exited: () => running.exited(),
    residentMb: () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${running.child.pid}/status`, 'utf8'))?.[1] ?? 0) / 1024,
    async agent(name, definition = {}) {
      const stored = { name, models: ['sim/sim-large'], tools: ['*'], policy: { allow: ['*', 'net:*'] }, ...definition };
      const answer = await victim.call('POST', '/v1/agents', stored);
      expect(answer.status, answer.text).toBeLessThan(300);
    },
    async key(scopes, tenant) {
      const answer = await victim.call('POST', '/v1/keys', { name: 'test', scopes, ...(tenant === undefined ? {} : { tenant }) });
      expect(answer.status, answer.text).toBeLessThan(300);
      return answer.body.secret;
    },
    async start(request, headers) {
      const answer = await victim.call('POST', '/v1/runs', request, headers);
      expect(answer.status, answer.text).toBeLessThan(300);
      return answer.body.id;
    },
    async end(runId, headers) {
      for (const endAt = performance.now() + 30_000; ; ) {
        const { body } = await victim.call('GET', `/v1/runs/${runId}`, undefined, headers);
        if (['completed', 'failed', 'cancelled', 'waiting'].includes(body.status)) return body;
        if (performance.now() > endAt) throw new Error(`the run does not end: ${JSON.stringify(body)}`);
        await pause(10);
      }
    },
    async watch(work) {
      const watched = await watchHealth(running.url, running.child.pid ?? 0);
      try {
        const result = await work();
        return { ...(await watched.stop()), result };
      } catch (error) {
        await watched.stop();
        throw error;
      }
    },
    async unmoved(work) {
      for (let tries = 1; ; tries++) {
        const { result, ...health } = await victim.watch(work);
        expect(victim.exited(), victim.output().slice(-2_000)).toBeNull();
        expect(health.failures, JSON.stringify(health)).toBe(0);
        // What comes near is said, before a slower machine finds it.
        if (health.maxMs > longestWaitMs / 2)
          process.stderr.write(`${expect.getState().currentTestName}: others waited ${JSON.stringify(health)}\n`);
        if (health.maxMs >= longestWaitMs && tries < mostTries) continue;
        expect(health.maxMs, JSON.stringify(health)).toBeLessThan(longestWaitMs);
        return result;
      }
    },
    async restart() {
      await running.end('SIGKILL');
      running = await launch(folder, options, databaseUrl);
    },
    async close() {
      await running.end('SIGTERM');
      await postgres?.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
  return victim;
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

interface Running {
  readonly url: string;
  readonly child: ChildProcess;
  output(): string;
  exited(): { readonly code: number | null; readonly signal: string | null } | null;
  end(signal: NodeJS.Signals): Promise<void>;
}

async function launch(folder: string, options: VictimOptions, databaseUrl: string | undefined): Promise<Running> {
  const { PATH = '', TMPDIR } = process.env;
  const config = join(folder, 'victim.config.yaml');
  const args =
    options.program === undefined ? [program, 'serve', ...(options.args ?? [])] : ['--conditions=nexus-source', options.program, config];
  const child = spawn(process.execPath, args, {
    cwd: folder,
    env: {
      PATH,
      HOME: folder,
      ...(TMPDIR === undefined ? {} : { TMPDIR }),
      NEXUS_CONFIG: config,
      NEXUS_LOG_PRETTY: 'false',
      ...(databaseUrl === undefined ? {} : { NEXUS_DATABASE_URL: databaseUrl, NEXUS_BUS: 'postgres' }),
      ...options.env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  let ended: { code: number | null; signal: string | null } | null = null;
  const over = new Promise<void>((resolve) => {
    child.once('close', (code, signal) => {
      ended = { code, signal };
      resolve();
    });
  });
  const ready = new Promise<string>((resolve) => {
    const listen = (text: string) => {
      output += text;
      const url = /ready at (\S+)/.exec(output)?.[1];
      if (url !== undefined) resolve(url);
    };
    child.stdout.setEncoding('utf8').on('data', listen);
    child.stderr.setEncoding('utf8').on('data', listen);
  });
  const url = await Promise.race([ready, over.then(() => null)]);
  if (url === null) throw new Error(`the server did not start: ${output}`);
  return {
    url,
    child,
    output: () => output,
    exited: () => ended,
    async end(signal) {
      if (ended === null) child.kill(signal);
      const late = setTimeout(() => child.kill('SIGKILL'), 10_000);
      await over;
      clearTimeout(late);
    },
  };
}
