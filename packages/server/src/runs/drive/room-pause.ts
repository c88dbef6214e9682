import type { Timers } from '#core';

const firstMs = 1_000;
/** Room comes when people answer, which may be days. */
const longestMs = 15_000;

/** The pauses of a run for which the tenant has no room: twice as long each time, and over at once where something is asked of the run. */
export interface RoomPause {
  wait(): Promise<void>;
  /** Ends the one that is, if any. */
  end(): void;
  /** There was room: the next pause is short again. */
  reset(): void;
}

export function createRoomPause(timers: Pick<Timers, 'sleep'>): RoomPause {
  let nextMs = firstMs;
  let pause: AbortController | null = null;
  return {
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
