import { Worker } from 'node:worker_threads';
import { type Cancel, NexusError, type Timers } from '#core';
import type { InterpreterOutcome, InterpreterRequest } from './interpreter.ts';
import { limitExceeded, type SandboxLimit } from './limit-error.ts';
import type { ThreadAnswer, ThreadMessage } from './worker.ts';

export type JobEnd =
  | { readonly type: 'answered'; readonly outcome: InterpreterOutcome }
  /** `isBroken`: the thread itself failed, by no fault of the code that is known. */
  | { readonly type: 'stopped'; readonly error: NexusError; readonly isBroken?: true };

/** One run of code, from when it is asked for until `settle` is called. */
export interface Job {
  readonly request: InterpreterRequest;
  readonly settle: (end: JobEnd) => void;
}

export interface ThreadOptions {
  readonly timers: Timers;
  /** It ends after having had nothing to do for so long. */
  readonly idleMs: number;
  /** It takes no more jobs; resolves when it is gone. */
  readonly onEnd: (thread: SandboxThread, gone: Promise<unknown>) => void;
}

const killGraceMs = 500;
/** How long a thread may take to load the engine on a busy machine. */
const threadStartMs = 10_000;
/** The longest that a job may take on a thread that has yet to start. */
export const longestThreadMs = (wallMs: number) => threadStartMs + wallMs + killGraceMs;
/** Engines of past runs wait for the collector; a new thread now and then bounds what they can hold. */
const maxRunsPerThread = 500;
const threadLimits = { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 16, stackSizeMb: 4 };
// The thread runs beside this file, from source and from the built files alike.
const workerUrl = new URL(import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js', import.meta.url);

/** A thread that runs one job at a time and is killed with a job that does not stop. An idle one does not keep the process alive. */
export class SandboxThread {
  readonly #options: ThreadOptions;
  readonly #worker: Worker;
  #job: Job | undefined;
  #runs = 0;
  #ended = false;
  /** It has loaded the engine. */
  #ready = false;
  #cancelTimer: Cancel | undefined;

  constructor(options: ThreadOptions) {
    this.#options = options;
    // No environment and no options of this process reach the thread, and what it prints goes nowhere: nobody reads it.
    // (Reading would also keep this process alive for an idle thread.)
    this.#worker = new Worker(workerUrl, { env: {}, execArgv: [], argv: [], stdout: true, stderr: true, resourceLimits: threadLimits });
    this.#worker.on('message', (message: ThreadMessage) => (message.type === 'ready' ? this.#onReady() : this.#onAnswer(message)));
    this.#worker.on('error', (error: Error & { code?: string }) => {
      if (error.code === 'ERR_WORKER_OUT_OF_MEMORY') this.kill(reached('memory', 'the code used up the memory of its thread'));
      else this.#break('the sandbox broke; try again', error);
    });
    this.#worker.on('exit', () => this.#break('the sandbox ended unexpectedly; try again'));
  }

  get job(): Job | undefined {
    return this.#job;
  }

  /** Only when it has no job. */
  run(job: Job): void {
    this.#cancelTimer?.();
    this.#job = job;
    this.#runs += 1;
    this.#worker.ref();
    if (this.#ready) this.#limitTime(job);
    // A thread that has yet to start is not the fault of the code.
    else this.#cancelTimer = this.#options.timers.after(threadStartMs, () => this.#break('the sandbox did not start; try again'));
    this.#worker.postMessage(job.request);
  }

  /** Ends the thread, which may be computing, and its job with this error. */
  kill(error: NexusError): void {
    this.#stop({ type: 'stopped', error });
  }

  /** As if it had died: for what it does without having been told to. */
  #break(message: string, cause?: unknown): void {
    this.#stop({ type: 'stopped', error: new NexusError('sandbox_unavailable', message, { cause }), isBroken: true });
  }

  #stop(end: JobEnd): void {
    const job = this.#job;
    this.#job = undefined;
    this.#end();
    job?.settle(end);
  }

  #onReady(): void {
    this.#ready = true;
    if (this.#job === undefined) return;
    this.#cancelTimer?.();
    this.#limitTime(this.#job);
  }

  #limitTime(job: Job): void {
    const { wallMs } = job.request.limits;
    this.#cancelTimer = this.#options.timers.after(wallMs + killGraceMs, () =>
      this.kill(reached('wall', `the code did not finish within ${wallMs} ms`)),
    );
  }

  #onAnswer({ outcome }: ThreadAnswer) {
    const job = this.#job;
    if (job === undefined) return;
    if (outcome === undefined) return this.#break('the sandbox broke; try again');
    this.#job = undefined;
    this.#cancelTimer?.();
    job.settle({ type: 'answered', outcome });
    if (!outcome.intact || this.#runs >= maxRunsPerThread) this.#end();
    else this.#rest();
  }

  #rest(): void {
    this.#worker.unref();
    // Unlike `after`, this does not keep the process alive. It fires once: the end cancels it.
    this.#cancelTimer = this.#options.timers.every(this.#options.idleMs, () => this.#end());
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#cancelTimer?.();
    this.#options.onEnd(
      this,
      this.#worker.terminate().catch(() => undefined), // it is gone either way
    );
  }
}

/** For a thread that has to be ended. */
export function reached(limit: SandboxLimit, message: string): NexusError {
  const { code, details = {} } = limitExceeded(limit, message);
  return new NexusError(code, message, { details });
}
