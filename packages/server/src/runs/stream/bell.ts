import type { Cancel, Clock, Timers } from '#core';
import type { Channel } from './channel.ts';

/** Sources hold text back for as long as a reader rests, by timers that may be early: so little is not worth another. */
const slackMs = 2;

export interface Bell {
  /** From here on a change is not missed. */
  reset(): void;
  /** A batch was handed on. */
  rested(): void;
  /** Resolves at the next change since `reset` with true, or after so long with false. */
  wait(maxMs: number): Promise<boolean>;
  /**
   * Leaves `ms` between what rang for the last batch and the next one, so that a reader of a busy run costs few writes. The first text of
   * an answer ends it at once, and so does an event after which nothing comes for now.
   */
  rest(ms: number): Promise<void>;
  close(): void;
}

/** Waits for the changes of a channel. Its only timer outlives the changes, so that none costs one. */
export function createBell(
  { clock, timers }: { readonly clock: Clock; readonly timers: Timers },
  channel: Channel,
  signal: AbortSignal,
): Bell {
  let rung = false;
  let rungAt = clock.monotonic();
  let restedAt = Number.NEGATIVE_INFINITY;
  let knownText = 0;
  let wake: (() => void) | null = null;
  let timer: { readonly due: number; readonly cancel: Cancel } | null = null;
  /** When whoever waits has waited long enough. */
  let until = 0;

  const firstText = () => channel.live !== null && channel.live.seq > knownText && channel.live.length > 0;
  function answer(): void {
    const waiting = wake;
    wake = null;
    waiting?.();
  }
  function ring(): void {
    if (!rung) {
      rung = true;
      rungAt = clock.monotonic();
    }
    answer();
  }
  function look(): void {
    timer = null;
    if (wake === null) return;
    const now = clock.monotonic();
    if (now < until) arm();
    else {
      rungAt = now;
      answer();
    }
  }
  function arm(): void {
    if (timer !== null && timer.due <= until) return; // it looks again then
    timer?.cancel();
    timer = { due: until, cancel: timers.after(until - clock.monotonic(), look) };
  }
  function wait(maxMs: number): Promise<boolean> {
    if (rung || signal.aborted) return Promise.resolve(true);
    return new Promise((resolve) => {
      wake = () => resolve(rung);
      until = clock.monotonic() + maxMs;
      arm();
    });
  }

  const stop = channel.listen(ring);
  signal.addEventListener('abort', ring);
  return {
    reset() {
      rung = false;
    },
    rested() {
      restedAt = rungAt;
      const { live } = channel;
      if (live !== null && live.length > 0) knownText = live.seq;
    },
    wait,
    async rest(ms) {
      for (;;) {
        const leftMs = restedAt + ms - clock.monotonic();
        if (leftMs <= slackMs || firstText() || channel.atRest || signal.aborted) return;
        rung = false;
        await wait(leftMs);
        rungAt = clock.monotonic();
      }
    },
    close() {
      stop();
      signal.removeEventListener('abort', ring);
      timer?.cancel();
    },
  };
}
