import { availableParallelism } from 'node:os';
import { dictionary } from '@nexus-agent/protocol';
import { type Clock, createShares, NexusError, type Timers, type WaitObserver } from '#core';
import type { InterpreterRequest } from './interpreter.ts';
import { createThreadPool } from './pool.ts';
import { type JobEnd, longestThreadMs } from './thread.ts';
import type { ProgramRequest, ProgramResult, Sandbox, SandboxLimits, SandboxResult } from './types.ts';

export interface SandboxOptions {
  readonly clock: Clock;
  readonly timers: Timers;
  /**
   * Threads at most that one session keeps busy; they start when they are needed and end when they are idle. The cores that this process
   * may use when left out, as the limits of its cgroup have them.
   */
  readonly maxThreads?: number;
  /** Further threads, for tenants, sessions and runs of which nothing runs yet. */
  readonly spareThreads?: number;
  /** Nothing waits longer for a thread. */
  readonly maxWaitMs?: number;
  /** So many runs of code may wait in this process; what waits is otherwise bounded by time. */
  readonly maxQueued?: number;
  /** A thread that had nothing to do for so long ends. */
  readonly idleMs?: number;
  /** What a request may not exceed and gets when it says nothing. */
  readonly limits?: Partial<SandboxLimits>;
  /** Hears of the queue. */
  readonly observer?: WaitObserver;
}

const defaultSandboxLimits: SandboxLimits = {
  fuel: 5_000,
  wallMs: 15_000,
  memoryBytes: 64 * 1024 * 1024,
  stackBytes: 256 * 1024,
  maxOutputChars: 50_000,
  maxCalls: 100,
};

const nobody = { tenantId: '', sessionId: '' };
const minMemoryBytes = 4 * 1024 * 1024;

/** Runs code in QuickJS, each time in a fresh engine with a capped memory, in threads that are killed when they do not stop. */
export function createSandbox(options: SandboxOptions): Sandbox {
  const { clock, timers, maxQueued = 10_000, maxWaitMs = 30_000, idleMs = 30_000, spareThreads = 2, observer } = options;
  const { maxThreads = availableParallelism() } = options;
  const ceiling = dictionary({ ...defaultSandboxLimits, ...options.limits });
  const pool = createThreadPool({ timers, idleMs });
  const shares = createShares({
    ...{ clock, timers, observer, what: 'programs', places: maxThreads, spare: spareThreads, maxWaitMs, maxWaiting: maxQueued },
    settings: { maxWaitMs: 'sandbox.maxWaitMs', maxWaiting: 'sandbox.maxQueued' },
  });
  let closed = false;

  /** In its turn: everything that takes room is made now. */
  async function runNow(request: ProgramRequest): Promise<JobEnd> {
    const { files = {}, signal } = request;
    if (closed || signal?.aborted) return stopped(new NexusError('cancelled', 'the code was cancelled'));
    const prepared = prepare(request, typeof files === 'function' ? await files() : files, ceiling);
    const refusal = tooLarge(prepared);
    if (refusal !== null) return stopped(refusal);
    // Reading the files may have taken a while.
    if (closed || signal?.aborted) return stopped(new NexusError('cancelled', 'the code was cancelled'));
    return pool.run(prepared, signal);
  }

  async function advance(request: ProgramRequest): Promise<ProgramResult> {
    const { holder = nobody, signal } = request;
    const askedAt = clock.monotonic();
    let entry: Awaited<ReturnType<typeof shares.enter>>;
    try {
      if (closed) throw new NexusError('sandbox_unavailable', 'the sandbox is shutting down', { retryable: false });
      if (signal?.aborted) throw new NexusError('cancelled', 'the code was cancelled before it began');
      entry = await shares.enter(holder, signal);
    } catch (error) {
      // What the signal says itself is not for the model.
      const isOwn = error instanceof NexusError && error !== signal?.reason;
      const told = isOwn ? error : new NexusError('cancelled', 'the code was cancelled', { cause: error });
      return toResult(stopped(told), { waitedMs: clock.monotonic() - askedAt, durationMs: 0 });
    }
    try {
      const startedAt = clock.monotonic();
      const end = await runNow(request);
      return toResult(end, { waitedMs: entry.waitedMs, durationMs: clock.monotonic() - startedAt });
    } finally {
      entry.leave();
    }
  }

  return {
    longestMs: maxWaitMs + longestThreadMs(ceiling.wallMs),
    advance,
    async run(request) {
      const result = await advance(request);
      if (result.type === 'suspended') throw new NexusError('internal', 'code that has no tools waits for one');
      return result;
    },
    load: pool.load,
    async close() {
      closed = true;
      const error = new NexusError('cancelled', 'the sandbox is shutting down');
      shares.close(error);
      await pool.close(error);
    },
  };
}

function stopped(error: NexusError): JobEnd {
  return { type: 'stopped', error };
}

function tooLarge(request: InterpreterRequest): NexusError | null {
  // Texts take up to three times their length inside, and the code needs room to work with them.
  const chars = request.files.reduce((sum, [name, text]) => sum + name.length + text.length, request.code.length + request.input.length);
  const maxChars = Math.floor(request.limits.memoryBytes / 8);
  if (chars <= maxChars) return null;
  return new NexusError(
    'payload_too_large',
    `code, input and files may have ${maxChars} characters together, these have ${chars}; pass a smaller part`,
  );
}

function prepare(
  { code, input, tools, resume, limits = {} }: ProgramRequest,
  files: Readonly<Record<string, string>>,
  ceiling: SandboxLimits,
): InterpreterRequest {
  const limit = (name: keyof SandboxLimits) => Math.min(limits[name] ?? ceiling[name], ceiling[name]);
  return {
    code,
    input: input === undefined ? '' : (JSON.stringify(input) ?? ''),
    files: Object.entries(files),
    ...(tools === undefined ? {} : { tools }),
    ...(resume === undefined ? {} : { resume }),
    limits: {
      fuel: limit('fuel'),
      wallMs: limit('wallMs'),
      memoryBytes: Math.max(minMemoryBytes, limit('memoryBytes')),
      stackBytes: limit('stackBytes'),
      maxOutputChars: limit('maxOutputChars'),
      maxCalls: limit('maxCalls'),
    },
  };
}

function toResult(end: JobEnd, times: Pick<SandboxResult, 'durationMs' | 'waitedMs'>): ProgramResult {
  if (end.type !== 'answered') {
    return { type: 'error', error: end.error.toInfo(), logs: '', newLogs: '', fuelUsed: 0, memoryBytes: 0, ...times };
  }
  const { result, logs, newLogs, fuelUsed, memoryBytes } = end.outcome;
  const facts = { logs, newLogs, fuelUsed, memoryBytes, ...times };
  if (result.type === 'error') return { ...facts, type: 'error', error: result.error };
  if (result.type === 'suspended') return { ...facts, ...result };
  return { ...facts, type: 'ok', value: result.value === '' ? undefined : JSON.parse(result.value) };
}
