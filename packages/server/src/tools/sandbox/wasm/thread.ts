import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import { type Cancel, type Clock, NexusError, type Timers } from '#core';
import { reached } from '../thread.ts';
import type { CompiledModule, FromThread, HostAnswer, HostQuestion, WasmEnd, WasmJob } from './messages.ts';
import type { ThreadStart } from './wasm-worker.ts';

/** One run of a module, and who hears of it. `settle` is called once, and nothing after it. */
export interface WasmTask {
  readonly job: WasmJob;
  readonly answer: (question: HostQuestion) => Promise<HostAnswer>;
  readonly onLog: (text: string) => void;
  readonly onCompiled: (compiled: CompiledModule) => void;
  readonly settle: (end: WasmEnd | NexusError) => void;
}

export interface WasmThreadOptions {
  readonly timers: Timers;
  readonly clock: Pick<Clock, 'monotonic'>;
  /** It ends after having had nothing to do for so long. */
  readonly idleMs: number;
  /** It takes no more tasks; resolves when it is gone. */
  readonly onEnd: (thread: WasmThread, gone: Promise<unknown>) => void;
}

const killGraceMs = 250;
/** How long a thread may take to start on a busy machine. */
export const threadStartMs = 10_000;
/** Instances of past runs wait for the collector; a new thread now and then bounds what they can hold. */
const maxRunsPerThread = 200;
const threadLimits = { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 16, stackSizeMb: 4 };
// The thread runs beside this file from source; built, all entries lie in one folder.
const workerUrl = new URL(import.meta.url.endsWith('.ts') ? './wasm-worker.ts' : './wasm-worker.js', import.meta.url);

/**
 * A thread that runs one module at a time, each in an instance of its own, and is killed with one that does not stop. The time that a
 * module waits for an answer is not its own. An idle thread does not keep the process alive.
 */
export class WasmThread {
  readonly #options: WasmThreadOptions;
  readonly #worker: Worker;
  readonly #bell = new Int32Array(new SharedArrayBuffer(4));
  readonly #answers: MessagePort;
  #task: WasmTask | undefined;
  #runs = 0;
  #ended = false;
  #ready = false;
  #leftMs = 0;
  #resumedAt = 0;
  #cancelTimer: Cancel | undefined;

  constructor(options: WasmThreadOptions) {
    this.#options = options;
    const { port1, port2 } = new MessageChannel();
    this.#answers = port1;
    port1.unref();
    const workerData = { bell: this.#bell, answers: port2 } satisfies ThreadStart;
    // No environment and no options of this process reach the thread, and what it prints goes nowhere.
    this.#worker = new Worker(workerUrl, {
      ...{ env: {}, execArgv: [], argv: [], stdout: true, stderr: true, resourceLimits: threadLimits },
      workerData,
      transferList: [port2],
    });
    this.#worker.on('message', (message: FromThread) => this.#hear(message));
    this.#worker.on('error', (error: Error & { code?: string }) => {
      if (error.code === 'ERR_WORKER_OUT_OF_MEMORY') this.kill(reached('memory', 'the module used up the memory of its thread'));
      else this.#break('the sandbox broke; try again', error);
    });
    this.#worker.on('exit', () => this.#break('the sandbox ended unexpectedly; try again'));
  }

  get busy(): boolean {
    return this.#task !== undefined;
  }

  /** Only when it is not busy. */
  run(task: WasmTask): void {
    this.#cancelTimer?.();
    this.#task = task;
    this.#runs += 1;
    this.#leftMs = task.job.limits.wallMs;
    this.#worker.ref();
    if (this.#ready) this.#resume();
    // A thread that has yet to start is not the fault of the module.
    else this.#cancelTimer = this.#options.timers.after(threadStartMs, () => this.#break('the sandbox did not start; try again'));
    this.#worker.postMessage(task.job);
  }

  /** Ends the thread, which may be computing, and its task with this error. */
  kill(error: NexusError): void {
    const task = this.#task;
    this.#task = undefined;
    this.#end();
    task?.settle(error);
  }

  #break(message: string, cause?: unknown): void {
    this.kill(new NexusError('sandbox_unavailable', message, { cause }));
  }

  #hear(message: FromThread): void {
    if (message.type === 'ready') this.#ready = true;
    const task = this.#task;
    if (task === undefined) return;
    if (message.type === 'ready') this.#resume();
    else if (message.type === 'compiled') task.onCompiled(message.compiled);
    else if (message.type === 'log') task.onLog(message.text);
    else if (message.type === 'asks') this.#answer(task, message.question);
    else this.#finish(task, message.end);
  }

  #resume(): void {
    this.#cancelTimer?.();
    this.#resumedAt = this.#options.clock.monotonic();
    this.#cancelTimer = this.#options.timers.after(this.#leftMs + killGraceMs, () =>
      this.kill(reached('wall', `the module did not finish within ${this.#task?.job.limits.wallMs} ms`)),
    );
  }

  /** The task owns the wait: it settles only after the answers that it asked for. */
  #answer(task: WasmTask, question: HostQuestion): void {
    this.#cancelTimer?.();
    this.#leftMs = Math.max(0, this.#leftMs - (this.#options.clock.monotonic() - this.#resumedAt));
    task.answer(question).then(
      (answer) => this.#give(task, answer),
      () => this.#give(task, { type: 'refused', error: { code: 'internal', message: 'the host failed', retryable: false } }),
    );
  }

  #give(task: WasmTask, answer: HostAnswer): void {
    if (this.#task !== task) return; // it was killed meanwhile
    this.#resume();
    this.#answers.postMessage(answer);
    Atomics.store(this.#bell, 0, 1);
    Atomics.notify(this.#bell, 0);
  }

  #finish(task: WasmTask, end: WasmEnd): void {
    this.#task = undefined;
    this.#cancelTimer?.();
    task.settle(end);
    if (this.#runs >= maxRunsPerThread) this.#end();
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
    this.#answers.close();
    this.#options.onEnd(
      this,
      this.#worker.terminate().catch(() => undefined), // it is gone either way
    );
  }
}
