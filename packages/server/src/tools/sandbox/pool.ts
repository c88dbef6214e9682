import { NexusError, type Timers } from '#core';
import type { InterpreterRequest } from './interpreter.ts';
import { type Job, type JobEnd, SandboxThread } from './thread.ts';

export interface ThreadPool {
  /** Jobs that wait for a thread. */
  readonly waiting: number;
  /** Runs the request on a thread, in the order of the calls. Aborting the signal ends it at once. */
  run(request: InterpreterRequest, signal: AbortSignal | undefined): Promise<JobEnd>;
  /** Ends all jobs with this error, and all threads. */
  close(error: NexusError): Promise<void>;
}

/** Threads that start when they are needed, at most `maxThreads`, and the queue before them. */
export function createThreadPool(options: { readonly timers: Timers; readonly maxThreads: number; readonly idleMs: number }): ThreadPool {
  const { timers, maxThreads, idleMs } = options;
  const threads = new Set<SandboxThread>();
  const ending = new Set<Promise<unknown>>();
  const queue: Job[] = [];

  const startThread = (): SandboxThread => {
    const thread = new SandboxThread({
      timers,
      idleMs,
      onFree: next,
      onEnd(ended, gone) {
        threads.delete(ended);
        ending.add(gone);
        void gone.then(() => ending.delete(gone));
      },
    });
    threads.add(thread);
    return thread;
  };

  function next(): void {
    for (let job = queue[0]; job !== undefined; job = queue[0]) {
      const idle = [...threads].find((thread) => thread.job === undefined);
      if (idle === undefined && threads.size >= maxThreads) return;
      queue.shift();
      (idle ?? startThread()).run(job);
    }
  }

  return {
    get waiting() {
      return queue.length;
    },
    run: (request, signal) =>
      new Promise((resolve) => {
        const onAbort = () => {
          const error = new NexusError('cancelled', 'the code was cancelled');
          const running = [...threads].find((thread) => thread.job === job);
          if (running !== undefined) return running.kill(error);
          const place = queue.indexOf(job);
          if (place >= 0) queue.splice(place, 1);
          job.settle({ type: 'stopped', error });
        };
        const job: Job = {
          request,
          settle(end) {
            signal?.removeEventListener('abort', onAbort);
            resolve(end);
          },
        };
        signal?.addEventListener('abort', onAbort, { once: true });
        queue.push(job);
        next();
      }),
    async close(error) {
      for (const job of queue.splice(0)) job.settle({ type: 'stopped', error });
      for (const thread of threads) thread.kill(error);
      await Promise.all(ending);
    },
  };
}
