import { constants } from 'node:os';
import type { Readable } from 'node:stream';
import type { ErrorInfo } from '@nexus-agent/protocol';
import { type Clock, NexusError, settlesWithin, type Timers } from '#core';
import { limitExceeded } from '../limit-error.ts';
import type { JailChild } from './child.ts';
import { type FolderLimit, watchFolder } from './folder.ts';
import { withForwarder } from './forwarder.ts';
import type { JailOutput } from './output.ts';
import type { Defence, JailEnd, JailRequest } from './types.ts';
import { createSharedMappings, createSharedMemory, lookIntoJail, pauseAfter } from './watch.ts';

export interface RunOptions {
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly timers: Timers;
  readonly folderLimit: FolderLimit;
  readonly maxTmpFiles: number;
  readonly without: ReadonlySet<Defence>;
  /** A kernel of its own that the program has: what it takes itself, and how it says that it could not run. */
  readonly kernel?: { readonly bytes: number; readonly memoryFile: string; readonly faultCode: number; readonly faultWords: RegExp };
}

export interface JailRun {
  readonly child: JailChild;
  readonly ended: Promise<JailEnd>;
  stop(error: ErrorInfo): void;
}

/** Once nothing of it runs, what it said before is read without waiting. */
const drainMs = 2_000;

/** Holds what was started to its limits, up to its end. */
export function superviseRun(
  child: JailChild,
  request: JailRequest,
  streams: readonly ('stdout' | 'stderr')[],
  output: JailOutput,
  options: RunOptions,
): JailRun {
  const { clock, timers, kernel, without } = options;
  const { onOutput } = request;
  const forwarded = request.proxySocket === undefined ? request.limits : withForwarder(request.limits);
  const limits = { ...forwarded, memoryBytes: forwarded.memoryBytes + (kernel?.bytes ?? 0) };
  const startedAt = clock.monotonic();
  const most = { cpuMs: 0, memoryBytes: 0 };
  const shared = kernel === undefined ? createSharedMappings() : createSharedMemory(kernel.memoryFile);
  let stopped: ErrorInfo | undefined;
  const over = new AbortController();
  const stop = (error: ErrorInfo) => {
    if (over.signal.aborted) return;
    stopped ??= error;
    child.kill();
  };
  const reached = (defence: Defence, limit: Parameters<typeof limitExceeded>[0], message: string) => {
    if (!without.has(defence)) stop(limitExceeded(limit, message));
  };
  for (const name of streams) {
    child[name].on('data', (bytes: Buffer) => {
      if (stopped !== undefined) return;
      onOutput?.(name, bytes);
      if (!output.add(name, bytes)) reached('limit-output', 'output', `the program printed more than ${limits.outputBytes} bytes`);
    });
  }
  const cancelWall = timers.after(limits.wallMs, () => reached('limit-wall', 'wall', `the program did not end within ${limits.wallMs} ms`));

  async function look(hasOutgrown: () => Promise<boolean>): Promise<void> {
    const pid = child.firstPid();
    if (pid === undefined || without.has('processes-apart')) return;
    const seen = await lookIntoJail(pid, limits.memoryBytes, shared);
    if (seen === null) return;
    most.cpuMs = Math.max(most.cpuMs, seen.cpuMs);
    most.memoryBytes = Math.max(most.memoryBytes, seen.memoryBytes);
    if (seen.cpuMs > limits.cpuMs) reached('limit-cpu', 'cpu', `the program used more than ${limits.cpuMs} ms of processor time`);
    if (seen.memoryBytes > limits.memoryBytes)
      reached('limit-memory', 'memory', `the processes of the program took more than ${limits.memoryBytes} bytes of memory together`);
    if (seen.tmpFiles > options.maxTmpFiles)
      reached('limit-disk', 'disk', `the program made more than ${options.maxTmpFiles} files in /tmp`);
    if (await hasOutgrown()) {
      const { bytes, files } = options.folderLimit;
      reached('limit-disk', 'disk', `the folder of the session came to hold more than ${bytes} bytes or ${files} files`);
    }
  }

  async function watch(): Promise<void> {
    const { folder } = request;
    const hasOutgrown = folder?.writable === true ? watchFolder(folder.path, options.folderLimit, clock) : async () => false;
    while (!over.signal.aborted) {
      const before = clock.monotonic();
      await look(hasOutgrown);
      await timers.sleep(pauseAfter(clock.monotonic() - before), over.signal).catch(() => undefined);
    }
  }

  async function end(): Promise<JailEnd> {
    const watching = watch();
    const { exitCode, fault } = await child.gone;
    cancelWall();
    over.abort();
    await watching;
    await settlesWithin(timers, Promise.all(streams.map((name) => closed(child[name]))), drainMs);
    const { stdout, stderr } = output;
    const facts = { stdout, stderr, ...most, durationMs: clock.monotonic() - startedAt };
    const signal = exitCode === null ? null : signalOf(exitCode);
    const broke = exitCode === null || (exitCode === kernel?.faultCode && kernel.faultWords.test(Buffer.from(stderr).toString('utf8')));
    const error = stopped ?? (broke ? unstarted(fault, stderr) : endedByLimit(signal, most.cpuMs, limits));
    if (error !== undefined) return { ...facts, type: 'stopped', error };
    return { ...facts, type: 'exited', exitCode: exitCode ?? 0, signal };
  }

  return { child, ended: end(), stop };
}

function closed(stream: Readable): Promise<void> {
  if (stream.closed || stream.destroyed) return Promise.resolve();
  return new Promise((resolve) => stream.once('close', resolve));
}

/** What killed a program, as shells and bubblewrap tell it. */
function signalOf(exitCode: number): string | null {
  return Object.entries(constants.signals).find(([, number]) => number === exitCode - 128)?.[0] ?? null;
}

/** The kernel ends a program that reaches the limit of a process. */
function endedByLimit(signal: string | null, cpuMs: number, limits: JailRequest['limits']): ErrorInfo | undefined {
  if (signal === 'SIGXCPU' || (signal === 'SIGKILL' && cpuMs >= limits.cpuMs))
    return limitExceeded('cpu', `the program used more than ${limits.cpuMs} ms of processor time`);
  if (signal === 'SIGXFSZ') return limitExceeded('disk', `the program wrote a file of more than ${limits.fileBytes} bytes`);
  return undefined;
}

const maxShown = 300;

function unstarted(fault: string | null, stderr: Uint8Array): ErrorInfo {
  const said = fault ?? Buffer.from(stderr).toString('utf8').trim();
  const shown = said === '' ? 'it was killed from outside' : said.slice(-maxShown);
  return new NexusError('sandbox_unavailable', `the jail broke: ${shown}`, { retryable: false }).toInfo();
}
