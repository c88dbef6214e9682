import type { Timers } from '#core';
import type { Logger } from '#telemetry';

/** Something that whoever came first would wait for. `pause` is to be awaited between parts that take a few milliseconds each. */
export interface WarmUpStep {
  readonly name: string;
  run(pause: () => Promise<void>): Promise<void>;
}

export interface WarmUpOptions {
  readonly steps: readonly WarmUpStep[];
  readonly timers: Timers;
  readonly logger: Pick<Logger, 'info' | 'warn'>;
  /** Whether somebody is being served: nothing is done meanwhile. */
  readonly isBusy: () => boolean;
}

/** A server that was just started may be asked at once: that goes first. */
const afterReadyMs = 50;
/** Between two parts, so that what came meanwhile is served. */
const betweenPartsMs = 5;
/** How often it looks again while somebody is served. */
const busyMs = 100;

/**
 * Does the steps one after the other while nothing else is to be done. A step that fails is told in the log and left: whoever needs it
 * does it again, and meets the same error. The result ends it, and resolves once no step is running any more.
 */
export function startWarmUp({ steps, timers, logger, isBusy }: WarmUpOptions): () => Promise<void> {
  const ended = new AbortController();
  const { signal } = ended;
  const pause = async () => {
    await timers.sleep(betweenPartsMs, signal);
    while (isBusy()) await timers.sleep(busyMs, signal);
  };
  const all = async () => {
    await timers.sleep(afterReadyMs, signal);
    for (const { name, run } of steps) {
      await pause();
      try {
        await run(pause);
      } catch (error) {
        if (signal.aborted) return;
        logger.warn({ err: error, step: name }, 'what a first run needs could not be made ready ahead');
      }
    }
    logger.info({}, 'what a first run needs is ready');
  };
  const done = all().catch((error: unknown) => {
    if (!signal.aborted) throw error;
  });
  return async () => {
    ended.abort();
    await done;
  };
}
