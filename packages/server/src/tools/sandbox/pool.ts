import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { ErrorInfo } from '@nexus-agent/protocol';
import { type Clock, NexusError } from '#core';
import type { InterpreterOutcome, InterpreterRequest } from './interpreter.ts';
import type { Sandbox, SandboxLimits, SandboxRequest, SandboxResult } from './types.ts';
import type { WorkerAnswer } from './worker.ts';

export interface SandboxOptions {
  readonly clock: Clock;
  /** Threads at most; they start when they are needed. */
  readonly maxThreads?: number;
  /** Runs that may wait for a thread; further ones are refused. */
  readonly maxQueued?: number;
  /** A thread that had nothing to do for so long ends. */
  readonly idleMs?: number;
  /** What a request may not exceed and gets when it says nothing. */
  readonly limits?: Partial<SandboxLimits>;
}

const defaultSandboxLimits: SandboxLimits = {
  fuel: 5_000,
  wallMs: 15_000,
  memoryBytes: 64 * 1024 * 1024,
  stackBytes: 256 * 1024,
  maxOutputChars: 50_000,
};

const minMemoryBytes = 4 * 1024 * 1024;
const killGraceMs = 500;
/** Engines of past runs wait for the collector; a new thread now and then bounds what they can hold. */
const maxRunsPerThread = 500;
const threadLimits = { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 16, stackSizeMb: 4 };
// The thread runs beside this file, from source and from the built files alike.
const workerUrl = new URL(import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js', import.meta.url);

interface Thread {
  readonly worker: Worker;
  runs: number;
  job: Job | undefined;
  idleTimer: NodeJS.Timeout | undefined;
}

interface Job {
  readonly request: InterpreterRequest;
  readonly signal: AbortSignal | undefined;
  readonly onAbort: () => void;
  readonly resolve: (end: JobEnd) => void;
  killTimer: NodeJS.Timeout | undefined;
}

type JobEnd =
  | { readonly type: 'answered'; readonly outcome: InterpreterOutcome }
  | { readonly type: 'stopped'; readonly error: NexusError };

/** Runs code in QuickJS, each time in a fresh engine with a capped memory, in threads that are killed when they do not stop. */
export function createSandbox(options: SandboxOptions): Sandbox {
  const { clock, maxQueued = 64, idleMs = 30_000, maxThreads = Math.min(2, availableParallelism()) } = options;
  const ceiling = { ...defaultSandboxLimits, ...options.limits };
  const threads = new Set<Thread>();
  const ending = new Set<Promise<unknown>>();
  const queue: Job[] = [];
  let closed = false;

  const settle = (job: Job, end: JobEnd) => {
    clearTimeout(job.killTimer);
    job.signal?.removeEventListener('abort', job.onAbort);
    job.resolve(end);
  };

  const endThread = (thread: Thread) => {
    if (!threads.delete(thread)) return;
    clearTimeout(thread.idleTimer);
    const ended = thread.worker.terminate().catch(() => undefined); // it is gone either way
    ending.add(ended);
    void ended.then(() => ending.delete(ended));
  };

  /** Ends the job and its thread, which may be computing. */
  const kill = (thread: Thread, error: NexusError) => {
    const { job } = thread;
    thread.job = undefined;
    endThread(thread);
    if (job !== undefined) settle(job, { type: 'stopped', error });
    next();
  };

  const onAnswer = (thread: Thread, { outcome }: WorkerAnswer) => {
    const { job } = thread;
    if (job === undefined) return;
    if (outcome === undefined) return kill(thread, new NexusError('sandbox_unavailable', 'the sandbox broke; try again'));
    thread.job = undefined;
    settle(job, { type: 'answered', outcome });
    if (!outcome.intact || thread.runs >= maxRunsPerThread) endThread(thread);
    else rest(thread);
    next();
  };

  const rest = (thread: Thread) => {
    thread.worker.unref();
    thread.idleTimer = setTimeout(() => endThread(thread), idleMs).unref();
  };

  const startThread = (): Thread => {
    // No environment and no options of this process reach the thread, and what it prints goes nowhere: nobody reads it.
    // (Reading would also keep this process alive for an idle thread.)
    const worker = new Worker(workerUrl, { env: {}, execArgv: [], argv: [], stdout: true, stderr: true, resourceLimits: threadLimits });
    const thread: Thread = { worker, runs: 0, job: undefined, idleTimer: undefined };
    worker.on('message', (answer: WorkerAnswer) => onAnswer(thread, answer));
    worker.on('error', (error: Error & { code?: string }) =>
      kill(
        thread,
        error.code === 'ERR_WORKER_OUT_OF_MEMORY'
          ? new NexusError('sandbox_memory_exceeded', 'the code used up the memory of its thread')
          : new NexusError('sandbox_unavailable', 'the sandbox broke; try again', { cause: error }),
      ),
    );
    worker.on('exit', () => kill(thread, new NexusError('sandbox_unavailable', 'the sandbox ended unexpectedly; try again')));
    threads.add(thread);
    return thread;
  };

  const begin = (thread: Thread, job: Job) => {
    clearTimeout(thread.idleTimer);
    thread.job = job;
    thread.runs += 1;
    thread.worker.ref();
    const { wallMs } = job.request.limits;
    job.killTimer = setTimeout(
      () => kill(thread, new NexusError('sandbox_timeout', `the code did not finish within ${wallMs} ms`)),
      // A thread that has yet to start is not the fault of the code.
      wallMs + killGraceMs + (thread.runs === 1 ? threadStartMs : 0),
    );
    thread.worker.postMessage(job.request);
  };

  const next = () => {
    for (let job = queue[0]; job !== undefined; job = queue[0]) {
      const idle = [...threads].find((thread) => thread.job === undefined);
      if (idle === undefined && threads.size >= maxThreads) return;
      queue.shift();
      begin(idle ?? startThread(), job);
    }
  };

  const enqueue = (request: InterpreterRequest, signal: AbortSignal | undefined): Promise<JobEnd> =>
    new Promise((resolve) => {
      const onAbort = () => {
        const error = new NexusError('cancelled', 'the code was cancelled');
        const running = [...threads].find((thread) => thread.job === job);
        if (running !== undefined) return kill(running, error);
        const place = queue.indexOf(job);
        if (place >= 0) queue.splice(place, 1);
        settle(job, { type: 'stopped', error });
      };
      const job: Job = { request, signal, onAbort, resolve, killTimer: undefined };
      signal?.addEventListener('abort', onAbort, { once: true });
      queue.push(job);
      next();
    });

  const refuse = (request: InterpreterRequest, signal: AbortSignal | undefined): NexusError | undefined => {
    if (closed) return new NexusError('sandbox_unavailable', 'the sandbox is shutting down', { retryable: false });
    if (signal?.aborted) return new NexusError('cancelled', 'the code was cancelled before it began');
    // Texts take up to three times their length inside, and the code needs room to work with them.
    const chars = request.files.reduce((sum, [name, text]) => sum + name.length + text.length, request.code.length + request.input.length);
    const maxChars = Math.floor(request.limits.memoryBytes / 8);
    if (chars > maxChars) {
      return new NexusError(
        'payload_too_large',
        `code, input and files may have ${maxChars} characters together, these have ${chars}; pass a smaller part`,
      );
    }
    if (queue.length >= maxQueued)
      return new NexusError('sandbox_unavailable', `${maxQueued} runs wait for the sandbox already; try again later`);
    return undefined;
  };

  return {
    async run(request) {
      const startedAt = clock.monotonic();
      const prepared = prepare(request, ceiling);
      const refusal = refuse(prepared, request.signal);
      const end: JobEnd = refusal === undefined ? await enqueue(prepared, request.signal) : { type: 'stopped', error: refusal };
      return toResult(end, clock.monotonic() - startedAt);
    },
    async close() {
      closed = true;
      const error = new NexusError('cancelled', 'the sandbox is shutting down');
      for (const job of queue.splice(0)) settle(job, { type: 'stopped', error });
      for (const thread of threads) kill(thread, error);
      await Promise.all(ending);
    },
  };
}

/** How long a thread may take to load the engine on a busy machine. */
const threadStartMs = 10_000;

function prepare({ code, input, files = {}, limits = {} }: SandboxRequest, ceiling: SandboxLimits): InterpreterRequest {
  const limit = (name: keyof SandboxLimits) => Math.min(limits[name] ?? ceiling[name], ceiling[name]);
  return {
    code,
    input: input === undefined ? '' : (JSON.stringify(input) ?? ''),
    files: Object.entries(files),
    limits: {
      fuel: limit('fuel'),
      wallMs: limit('wallMs'),
      memoryBytes: Math.max(minMemoryBytes, limit('memoryBytes')),
      stackBytes: limit('stackBytes'),
      maxOutputChars: limit('maxOutputChars'),
    },
  };
}

function toResult(end: JobEnd, durationMs: number): SandboxResult {
  if (end.type === 'stopped') {
    return { type: 'error', error: end.error.toInfo() satisfies ErrorInfo, logs: '', fuelUsed: 0, memoryBytes: 0, durationMs };
  }
  const { result, logs, fuelUsed, memoryBytes } = end.outcome;
  const facts = { logs, fuelUsed, memoryBytes, durationMs };
  if (result.type === 'error') return { ...facts, type: 'error', error: result.error };
  return { ...facts, type: 'ok', value: result.value === '' ? undefined : JSON.parse(result.value) };
}
