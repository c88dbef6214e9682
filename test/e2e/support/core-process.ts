import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { ConfigInput } from '../../../packages/server/src/apps/config/index.ts';

export interface CoreProcess {
  readonly port: number;
  /** Where its health and metrics are told. */
  readonly watchUrl: string;
  kill(): Promise<void>;
}

/** An agent core in a process of its own, which can be killed. */
export async function startCoreProcess(flags: ConfigInput, calls: string, closers: (() => unknown)[]): Promise<CoreProcess> {
  const script = fileURLToPath(new URL('./agent-core-process.ts', import.meta.url));
  const about = JSON.stringify({ calls, flags: { log: { level: 'silent' }, ...flags } });
  const child = spawn(process.execPath, ['--conditions=nexus-source', script, about], { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const kill = () => {
    child.kill('SIGKILL');
    return ended;
  };
  closers.push(kill);
  const [port, watchUrl = ''] = (await firstLine(child)).split(' ');
  return { port: Number(port), watchUrl, kill };
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
