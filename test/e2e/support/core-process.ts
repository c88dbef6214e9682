import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { ConfigInput } from '../../../packages/server/src/apps/config/index.ts';

export interface CoreProcess {
  readonly port: number;
  /** Where its health and metrics are told. */
  readonly watchUrl: string;
  signal(signal: NodeJS.Signals): void;
  kill(): Promise<void>;
}

/** An agent core in a process of its own, which can be killed. */
export async function startCoreProcess(flags: ConfigInput, calls: string, closers: (() => unknown)[]): Promise<CoreProcess> {
  return coreOf(
    await startScript(
      new URL('./agent-core-process.ts', import.meta.url),
      { calls, flags: { log: { level: 'silent' }, ...flags } },
      closers,
    ),
  );
}

/** One with tools that write into a folder, and wait for files there; see `core-probe-process.ts`. */
export async function startProbingCore(flags: ConfigInput, folder: string, closers: (() => unknown)[]): Promise<CoreProcess> {
  return coreOf(
    await startScript(
      new URL('./core-probe-process.ts', import.meta.url),
      { folder, flags: { log: { level: 'silent' }, ...flags } },
      closers,
    ),
  );
}

export interface ScriptProcess {
  /** The first line that it printed. */
  readonly line: string;
  signal(signal: NodeJS.Signals): void;
  kill(): Promise<void>;
}

/** A program that says a line once it serves. */
export async function startScript(script: URL, about: object, closers: (() => unknown)[]): Promise<ScriptProcess> {
  const child = spawn(process.execPath, ['--conditions=nexus-source', fileURLToPath(script), JSON.stringify(about)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const kill = () => {
    child.kill('SIGKILL');
    return ended;
  };
  closers.push(kill);
  return { line: await firstLine(child), kill, signal: (signal) => child.kill(signal) };
}

function coreOf({ line, kill, signal }: ScriptProcess): CoreProcess {
  const [port, watchUrl = ''] = line.split(' ');
  return { port: Number(port), watchUrl, kill, signal };
}

/** The first line that a process prints. Rejects when it ends before. */
function firstLine(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
      if (text.includes('\n')) resolve(text.slice(0, text.indexOf('\n')));
    });
    child.once('exit', (code) => reject(new Error(`it ended with ${code} before it said anything`)));
  });
}
