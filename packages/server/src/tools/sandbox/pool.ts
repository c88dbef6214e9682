import { NexusError, type Timers } from '#core';
import type { InterpreterRequest } from './interpreter.ts';
import { type Job, type JobEnd, SandboxThread } from './thread.ts';
import type { PoolLoad } from './types.ts';

export interface ThreadPool {
  /**
   * Runs the request on an idle thread, or on a new one; once more on a new one if that breaks, as code has no effects. Aborting the
   * signal ends it at once.
   */
  run(request: InterpreterRequest, signal: AbortSignal | undefined): Promise<JobEnd>;
  load(): PoolLoad;
  /** Ends all jobs with this error, and all threads. */
  close(error: NexusError): Promise<void>;
}

/** Threads that start when they are needed: as many as whoever calls runs at a time. */
export function createThreadPool(options: { readonly timers: Timers; readonly idleMs: number }): ThreadPool {
  const { timers, idleMs } = options;
  const threads = new Set<SandboxThread>();
  const ending = new Set<Promise<unknown>>();

  const startThread = (): SandboxThread => {
    const thread = new SandboxThread({
      timers,
      idleMs,
      onEnd(ended, gone) {
        threads.delete(ended);
        ending.add(gone);
        void gone.then(() => ending.delete(gone));
      },
    });
    threads.add(thread);
    return thread;
  };

  let closed = false;

  const runOn = (thread: SandboxThread, request: InterpreterRequest, signal: AbortSignal | undefined): Promise<JobEnd> =>
    new Promise((resolve) => {
      const onAbort = () => thread.kill(new NexusError('cancelled', 'the code was cancelled'));
      const job: Job = {
        request,
        settle(end) {
          signal?.removeEventListener('abort', onAbort);
          resolve(end);
        },
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      thread.run(job);
    });

  return {
    async run(request, signal) {
      const idle = [...threads].find((candidate) => candidate.job === undefined);
      const end = await runOn(idle ?? startThread(), request, signal);
      if (end.type === 'answered' || end.isBroken !== true || closed || signal?.aborted) return end;
      return runOn(startThread(), request, signal);
    },
    load() {
      const busy = [...threads].filter(({ job }) => job !== undefined).length;
      return { busy, idle: threads.size - busy };
    },
    async close(error) {
      closed = true;
      for (const thread of threads) thread.kill(error);
      await Promise.all(ending);
    },
  };
}
