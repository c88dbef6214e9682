import { type ChildProcess, spawn } from 'node:child_process';
import { setPriority } from 'node:os';
import type { Duplex, Readable, Writable } from 'node:stream';
import { settlesWithin, type Timers } from '#core';
import { descriptors, type JailPlan } from './plan.ts';
import { childrenOf, isGone, processesWith, startTimeOf } from './watch.ts';

/** Jailed programs are served after the server itself. */
const niceness = 5;
const maxStatusChars = 8_192;
/** How long what was told before the end takes to be read. */
const statusMs = 1_000;
const lookMs = 5;
/** After so many looks what should be dying is killed. */
const patientLooks = 20;

export interface ChildOptions {
  readonly timers: Pick<Timers, 'sleep' | 'after'>;
  readonly filter: Buffer | null;
  /** The environment that the first process is given. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The end is the end of all that the program left behind, not only its own. */
  readonly waitsForAll: boolean;
}

export interface JailChild {
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** The first process of the jail, once it is there. */
  readonly firstPid: () => number | undefined;
  /** Resolves once no process of it is left: how the program ended, or null when it was killed or never began. Never rejects. */
  readonly gone: Promise<{ readonly exitCode: number | null; readonly fault: string | null }>;
  /** Sends SIGTERM to the program, as far as it runs. */
  terminate(): Promise<void>;
  kill(): void;
}

/** Starts what is planned. All that it hands over goes by descriptors that the program does not get. */
export function startJailChild(
  { command, args, options, users, bundle, mark }: JailPlan,
  { timers, filter, env, waitsForAll }: ChildOptions,
): JailChild {
  const stdio = Array.from({ length: 8 }, () => 'pipe' as const);
  // In a session of its own: what a terminal sends to the server is not for it.
  const child = spawn(command, args, { env, stdio, detached: true, cwd: '/' });
  let status = '';
  let first: Promise<{ readonly pid: number; readonly startedAt: string }> | undefined;
  let firstPid: number | undefined;
  const pipe = (descriptor: number) => child.stdio[descriptor] as Duplex; // each is a pipe, which goes both ways
  // What it no longer reads, it need not.
  for (const stream of child.stdio) stream?.on('error', () => undefined);
  pipe(descriptors.status).on('data', (chunk: Buffer) => {
    if (status.length < maxStatusChars) status += chunk.toString('latin1');
    const pid = /"child-pid": (\d+)/.exec(status)?.[1];
    if (pid === undefined || first !== undefined) return;
    const known = Number(pid);
    firstPid = known;
    first = startTimeOf(known).then((startedAt) => ({ pid: known, startedAt }));
  });
  if (child.pid !== undefined) trySetPriority(child.pid);
  pipe(descriptors.arguments).end(options.map((option) => `${option}\0`).join(''));
  pipe(descriptors.filter).end(filter ?? '');
  pipe(descriptors.users).end(users);
  pipe(descriptors.bundle).end(bundle);

  const told = new Promise((resolve) => pipe(descriptors.status).once('close', resolve));

  const kill = () => {
    // The first process before the one that waits for it: with it go all others, for the kernel ends its namespace.
    if (firstPid !== undefined && child.exitCode === null && child.signalCode === null) killPid(firstPid);
    child.kill('SIGKILL');
  };

  async function terminate(): Promise<void> {
    if (firstPid === undefined) return;
    // The first process waits for the program, and takes no signal that it was not made for.
    for (const pid of await childrenOf(firstPid)) signalTo(pid, 'SIGTERM');
  }

  /** One that was still being built has not said which its first process is, and that one does not die with the others by itself yet. */
  async function endUnborn(): Promise<void> {
    for (let left = await processesWith(mark); left.length > 0; left = await processesWith(mark)) {
      for (const pid of left) killPid(pid);
      await timers.sleep(lookMs);
    }
  }

  async function end() {
    const fault = await exited(child);
    if (fault === null) await settlesWithin(timers, told, statusMs);
    if (first === undefined && fault === null) await endUnborn();
    if (first !== undefined && waitsForAll) {
      const { pid, startedAt } = await first;
      // What the program left behind lives on until its first process dies of the end of its parent.
      for (let looks = 0; startedAt !== '' && !(await isGone(pid, startedAt)); looks++) {
        if (looks >= patientLooks) killPid(pid);
        await timers.sleep(lookMs);
      }
    }
    const code = /"exit-code": (-?\d+)/.exec(status)?.[1];
    return { exitCode: code === undefined ? null : Number(code), fault };
  }

  const [stdin, stdout, stderr] = [child.stdin, child.stdout, child.stderr];
  if (stdin === null || stdout === null || stderr === null) throw new Error('a child with pipes has streams');
  return { stdin, stdout, stderr, firstPid: () => firstPid, gone: end(), terminate, kill };
}

function exited(child: ChildProcess): Promise<string | null> {
  return new Promise((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('exit', () => resolve(null));
  });
}

function trySetPriority(pid: number): void {
  try {
    setPriority(pid, niceness);
  } catch {
    // It is gone already, which its end tells.
  }
}

function killPid(pid: number): void {
  signalTo(pid, 'SIGKILL');
}

function signalTo(pid: number, signal: 'SIGTERM' | 'SIGKILL'): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It is gone already.
  }
}
