import { createTurnShare, systemClock } from '#core';

/** So much of one turn of the event loop goes to reading answers, of all providers together: others wait no longer than for that. */
const turn = createTurnShare(20);
/** Between two looks at the clock. */
const sliceBytes = 8 * 1024;

export interface SlicedOptions {
  readonly data: (slice: Buffer) => void;
  /** Whether the source should wait, so that little is held here. */
  readonly congested: (wait: boolean) => void;
}

/** Work on the bytes of one answer, in slices, and no more in a turn of the event loop than its share. */
export interface SlicedWork {
  push(chunk: Buffer): void;
  /** Called when all that was pushed before it was worked on. */
  after(end: () => void): void;
  pause(): void;
  resume(): void;
  /** Nothing is called after it. */
  stop(): void;
}

export function createSlicedWork({ data, congested }: SlicedOptions): SlicedWork {
  let queue: Buffer[] = [];
  let ending: (() => void) | null = null;
  let paused = false;
  let waiting = false;
  let working = false;

  const place = turn.join(() => {
    waiting = false;
    work();
    if (!waiting) congested(false);
  });

  function work(): void {
    if (working || waiting) return;
    working = true;
    try {
      for (let now = systemClock.monotonic(); !paused; ) {
        const head = queue[0];
        if (head === undefined) break;
        if (place.mustWait(now)) {
          waiting = true;
          congested(true);
          return;
        }
        if (head.length <= sliceBytes) queue.shift();
        else queue[0] = head.subarray(sliceBytes);
        const beganMs = now;
        data(head.subarray(0, sliceBytes));
        now = systemClock.monotonic();
        place.took(now - beganMs, now);
      }
    } finally {
      working = false;
    }
    if (queue.length > 0 || ending === null) return;
    const end = ending;
    ending = null;
    end();
  }

  return {
    push(chunk) {
      queue.push(chunk);
      work();
    },
    after(end) {
      ending = end;
      work();
    },
    pause() {
      paused = true;
    },
    resume() {
      paused = false;
      work();
    },
    stop() {
      place.leave();
      queue = [];
      ending = null;
      paused = true;
    },
  };
}
