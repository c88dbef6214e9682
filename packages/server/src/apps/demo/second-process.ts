import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { NexusError } from '#core';
import type { SecondProcessAnswer, SecondProcessRequest } from './worker-process.ts';

// It runs beside this file, from source and from the built files alike.
const entry = fileURLToPath(new URL(import.meta.url.endsWith('.ts') ? './worker-process.ts' : './worker-process.js', import.meta.url));

export interface SecondProcess {
  readonly pid: number;
  readonly url: string;
  /** Ends it with SIGKILL: no handler of its runs. Resolves when the system reports its death, with the signal. */
  kill(): Promise<string | null>;
}

/** Starts the platform once more, in a process of its own. Leaves no process behind when it throws. */
export async function startSecondProcess(request: SecondProcessRequest, signal: AbortSignal): Promise<SecondProcess> {
  const child = fork(entry, [], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  const ended = once(child, 'exit');
  try {
    child.send(request);
    const url = await addressOf(child, ended, signal);
    return {
      pid: child.pid ?? 0,
      url,
      async kill() {
        if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
        await ended;
        return child.signalCode;
      },
    };
  } catch (error) {
    child.kill('SIGKILL');
    await ended;
    throw error;
  }
}

async function addressOf(child: ChildProcess, ended: Promise<unknown>, signal: AbortSignal): Promise<string> {
  const [answer] = await Promise.race([
    once(child, 'message', { signal }),
    ended.then(() => {
      throw new NexusError('unavailable', 'the second process ended before it was ready');
    }),
  ]);
  const message = answer as SecondProcessAnswer; // it sends nothing else
  if (message.type === 'failed') throw new NexusError('unavailable', `the second process did not start: ${message.message}`);
  return message.url;
}
