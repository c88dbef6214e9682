import type { Timers } from '#core';
import type { Logger } from '#telemetry';

export interface Rounds {
  /** Does the task again and again, with `intervalMs` between the end of one and the beginning of the next. A failure is logged and tried again. */
  every(intervalMs: number, what: string, task: () => Promise<void>): void;
  /** Begins no task any more and resolves when those under way have ended. */
  stop(): Promise<void>;
}

/** Work that a process does in rounds for as long as it lives. */
export function createRounds({ timers, logger }: { readonly timers: Timers; readonly logger: Logger }): Rounds {
  const stopped = new AbortController();
  const loops: Promise<void>[] = [];

  async function loop(intervalMs: number, what: string, task: () => Promise<void>): Promise<void> {
    while (!stopped.signal.aborted) {
      await timers.sleep(intervalMs, stopped.signal).catch(() => undefined); // a stop is seen below
      if (stopped.signal.aborted) return;
      try {
        await task();
      } catch (error) {
        logger.warn({ err: error }, `${what} failed; trying again`);
      }
    }
  }

  return {
    every: (intervalMs, what, task) => void loops.push(loop(intervalMs, what, task)),
    async stop() {
      stopped.abort();
      await Promise.all(loops);
    },
  };
}
