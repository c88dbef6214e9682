import type { ErrorInfo } from '@nexus-agent/protocol';
import type { Timers } from '#core';
import type { Logger } from '#telemetry';
import { isFull } from './patience.ts';

const firstMs = 1_000;
/** Room comes when people answer, which may be days. */
const longestMs = 15_000;

/** The pauses of a run for which the tenant has no room: twice as long each time, and over at once where something is asked of the run. */
export interface RoomPause {
  /**
   * Throws the error unless the tenant has no room for a round, of which nothing was written then: it is put together anew, as it is to be by
   * then. Where there will never be room, the run is to fail, unless it is to begin with what cannot be left out.
   */
  requireWaiting(error: unknown, begins: boolean): void;
  wait(): Promise<void>;
  /** Ends the one that is, if any. */
  end(): void;
  /** There was room: the next pause is short again. */
  reset(): void;
}

export interface RoomPauseOptions {
  readonly timers: Pick<Timers, 'sleep'>;
  readonly logger: Logger;
  readonly runId: string;
  readonly failFor: (error: ErrorInfo) => void;
}

export function createRoomPause({ timers, logger, runId, failFor }: RoomPauseOptions): RoomPause {
  let nextMs = firstMs;
  let pause: AbortController | null = null;
  return {
    requireWaiting(error, begins) {
      if (!isFull(error) || (!error.retryable && begins)) throw error;
      if (!error.retryable) failFor(error.toInfo());
      logger.debug({ runId, err: error }, 'a run waits for room');
    },
    async wait() {
      pause = new AbortController();
      const { signal } = pause;
      await timers.sleep(nextMs, signal).catch((error: unknown) => {
        if (!signal.aborted) throw error;
      });
      nextMs = Math.min(2 * nextMs, longestMs);
      pause = null;
    },
    end: () => pause?.abort(),
    reset() {
      nextMs = firstMs;
    },
  };
}
