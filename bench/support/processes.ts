import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const folder = join(import.meta.dirname, '..');

export interface Started {
  readonly child: ChildProcess;
  /** The next line that it prints; rejects when it ends first. */
  line(): Promise<string>;
  /** Ends it and waits until it is gone. `SIGKILL` for what need not drain. */
  stop(signal?: 'SIGTERM' | 'SIGKILL'): Promise<void>;
}

/** Starts a script of this folder in a process of its own. */
export function start(script: string, args: readonly string[] = [], nodeArgs: readonly string[] = [], watchLoop = false): Started {
  const child = spawn(
    process.execPath,
    ['--conditions=nexus-source', '--disable-warning=ExperimentalWarning', ...nodeArgs, join(folder, script), ...args],
    { stdio: ['pipe', 'pipe', 'inherit'], env: watchLoop ? { ...process.env, BENCH_WATCH_LOOP: '1' } : process.env },
  );
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const lines: string[] = [];
  let rest = '';
  let wake: (() => void) | undefined;
  child.stdout?.on('data', (data: Buffer) => {
    const parts = (rest + data.toString()).split('\n');
    rest = parts.pop() ?? '';
    lines.push(...parts);
    wake?.();
  });
  return {
    child,
    async line() {
      const gone = exited.then(() => {
        throw new Error(`${script} ended before it answered`);
      });
      gone.catch(() => undefined);
      while (lines.length === 0) {
        const news = new Promise<void>((resolve) => {
          wake = resolve;
        });
        await Promise.race([news, gone]);
      }
      return lines.shift() ?? '';
    },
    async stop(signal = 'SIGTERM') {
      if (child.exitCode === null) child.kill(signal);
      child.stdin?.end();
      await exited;
    },
  };
}

export interface Platform {
  readonly url: string;
  readonly upstream: string;
  readonly server: Started;
  /**
   * Memory of the server, the runs that it works on, how many bytes of JavaScript it has made so far, and, where its loop is watched, the
   * longest time that it stood still since this was last asked.
   */
  usage(): Promise<{ rss: number; heapUsed: number; liveRuns: number; allocated: number; held: { ms: number; cpuMs: number } }>;
  close(signal?: 'SIGTERM' | 'SIGKILL'): Promise<void>;
}

/** The mock upstream and the whole server over it, with a database of its own. `BENCH_SERVER_ARGS` are given to the server's Node. */
export async function startPlatform(
  options: {
    readonly mockArgs?: readonly string[];
    readonly databaseUrl?: string;
    /** One that is there; else it is made, and goes with the platform. */
    readonly dataDir?: string;
    /** Fills the data folder before the server opens it. */
    readonly prepare?: (dataDir: string, upstream: string) => Promise<void>;
    /** What the model takes; undefined: what is taken for usual. */
    readonly contextTokens?: number;
    readonly watchLoop?: boolean;
  } = {},
): Promise<Platform> {
  const mock = start('mock-upstream.mjs', options.mockArgs);
  const upstream = `http://127.0.0.1:${await mock.line()}`;
  const dataDir = options.dataDir ?? mkdtempSync(join(tmpdir(), 'nexus-bench-'));
  await options.prepare?.(dataDir, upstream);
  const args = [upstream, dataDir, options.databaseUrl ?? '', String(options.contextTokens ?? '')];
  const server = start('nexus-server.ts', args, process.env.BENCH_SERVER_ARGS?.split(' '), options.watchLoop);
  const url = await server.line();
  return {
    url,
    upstream,
    server,
    async usage() {
      server.child.kill('SIGUSR2');
      return JSON.parse(await server.line()) as Awaited<ReturnType<Platform['usage']>>; // printed by nexus-server.ts
    },
    async close(signal) {
      await server.stop(signal);
      await mock.stop();
      if (options.dataDir === undefined) rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

/** User and system CPU of a process and its threads so far, in ms. */
export function cpuMs(pid: number | undefined): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

export interface Written {
  readonly calls: number;
  /** To files, sockets and pipes. */
  readonly kb: number;
  /** To files alone. */
  readonly fileKb: number;
}

/** What a process has written so far. */
export function writtenBy(pid: number | undefined): Written {
  const text = readFileSync(`/proc/${pid}/io`, 'utf8');
  const count = (name: string) => Number(new RegExp(`^${name}: (\\d+)`, 'm').exec(text)?.[1]);
  return { calls: count('syscw'), kb: count('wchar') / 1024, fileKb: count('write_bytes') / 1024 };
}

export function rssMb(pid: number | undefined): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
}

export const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** `concurrency` lanes share `count` pieces of work; resolves with the elapsed ms. */
export async function inLanes(concurrency: number, count: number, work: (index: number) => Promise<void>): Promise<number> {
  const startedAt = performance.now();
  let next = 0;
  const lane = async () => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: concurrency }, lane));
  return performance.now() - startedAt;
}
