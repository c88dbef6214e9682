import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const program = fileURLToPath(new URL('../../../packages/server/bin/nexus.mjs', import.meta.url));

/** One line of a log. */
export interface LogLine {
  readonly level: string;
  readonly time: string;
  readonly message: string;
  readonly [field: string]: unknown;
}

/** `nexus serve` in a process of its own, with a folder of its own. */
export interface NodeProcess {
  readonly url: string;
  readonly folder: string;
  log(): LogLine[];
  // biome-ignore lint/suspicious/noExplicitAny: the tests assert on the shape
  call(method: string, path: string, body?: unknown, key?: string): Promise<{ status: number; body: any }>;
  /** Puts a file into the folder; `policies/a.cedar`. */
  put(path: string, text: string): void;
  signal(signal: NodeJS.Signals): void;
  /** SIGTERM; gives the exit code. */
  stop(): Promise<number | null>;
  kill(): Promise<void>;
}

/** Puts files into a folder that a node is to have. */
export function fillFolder(folder: string, files: Readonly<Record<string, string>>): void {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(folder, path, '..'), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
}

/** Runs the command to its end. */
export async function runNexus(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<{ code: number | null; out: string; err: string }> {
  const child = start(args, env);
  let [out, err] = ['', ''];
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    err += text;
  });
  return { code: await endOf(child), out, err };
}

/** Starts a node; rejects with what it said when it ends before it is ready. */
export async function startNode(folder: string, env: Readonly<Record<string, string>>): Promise<NodeProcess> {
  // Without a bus: what other nodes do is seen in the database alone.
  const child = start(['serve', '--port', '0'], { NEXUS_BUS: 'memory', NEXUS_LOG_PRETTY: 'false', NEXUS_AUTH_LOCAL: 'open', ...env });
  const ended = endOf(child);
  let text = '';
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  const ready = new Promise<string>((resolve) => {
    child.stdout?.setEncoding('utf8').on('data', (line: string) => {
      const url = /ready at (\S+)/.exec(line)?.[1];
      if (url !== undefined) resolve(url);
    });
  });
  const url = await Promise.race([ready, ended.then(() => null)]);
  if (url === null) throw new Error(`a node ended before it was ready: ${text}`);
  return {
    url,
    folder,
    log: () =>
      text
        .slice(0, text.lastIndexOf('\n') + 1)
        .split('\n')
        .filter((line) => line.startsWith('{'))
        .map((line) => JSON.parse(line)),
    async call(method, path, body, key) {
      const response = await fetch(url + path, {
        method,
        headers: {
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...(key === undefined ? {} : { authorization: `Bearer ${key}` }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      return { status: response.status, body: await response.json() };
    },
    put: (path, content) => fillFolder(folder, { [path]: content }),
    signal: (signal) => void child.kill(signal),
    async stop() {
      child.kill('SIGTERM');
      return ended;
    },
    async kill() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

function start(args: readonly string[], env: Readonly<Record<string, string>>): ChildProcess {
  // Replaced by itself otherwise, which costs a start; compiled code is kept between processes.
  return spawn(process.execPath, ['--conditions=nexus-source', program, ...args], {
    env: { PATH: process.env.PATH ?? '', NODE_COMPILE_CACHE: join(tmpdir(), 'nexus-nodes-compiled'), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

function endOf(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve) => child.once('close', (code) => resolve(code)));
}
