import { createHash } from 'node:crypto';
import { Violation } from './violation.ts';

/** Whose events wait while it stands still, and never come once it is gone. */
export interface Owner {
  readonly name: string;
  readonly gone: boolean;
  /** World time until which it does nothing. */
  readonly stillUntil: number;
}

interface Entry {
  at: number;
  readonly order: number;
  readonly owner: Owner | null;
  readonly task: () => void;
  cancelled: boolean;
}

export interface TimelineEntry {
  readonly at: number;
  readonly who: string;
  readonly text: string;
}

/**
 * Time, and everything that happens in it. One thing at a time: an event runs, and every promise that it settles runs on to where it
 * waits again, before the next begins. What happens is therefore a function of the order of events, and that of the seed.
 */
export interface World {
  /** True time: milliseconds since the world began. */
  readonly now: number;
  /** Events that have happened. */
  readonly steps: number;
  /** In the order in which they are due, then in the order in which they were asked for. Returns what forgets it. */
  after(ms: number, owner: Owner | null, task: () => void): () => void;
  /** Lets time pass until then, or until `isOver`. Rejects with what a check of the world has thrown. */
  run(untilMs: number, isOver?: () => boolean): Promise<void>;
  /** Ends the run at the event that is under way. */
  fail(error: unknown): void;
  /** Ends it where the check throws. */
  hold(check: () => void): void;
  say(who: string, text: string): void;
  readonly lines: readonly TimelineEntry[];
  /** Of everything that was said, with its time. */
  digest(): string;
}

/** More than any that ends has: who waits for these would wait for ever. */
const most = { events: 3_000_000, pending: 200_000 };

/** @param keep lines are kept, for people; the digest is of all of them in any case */
export function createWorld({ keep }: { readonly keep: boolean }): World {
  const heap: Entry[] = [];
  const lines: TimelineEntry[] = [];
  const hash = createHash('sha256');
  let now = 0;
  let steps = 0;
  let order = 0;
  let failure: { readonly error: unknown } | undefined;

  const isBefore = (a: Entry, b: Entry) => a.at < b.at || (a.at === b.at && a.order < b.order);
  function push(entry: Entry): void {
    let index = heap.push(entry) - 1;
    while (index > 0) {
      const above = (index - 1) >> 1;
      const parent = heap[above];
      if (parent === undefined || !isBefore(entry, parent)) break;
      heap[index] = parent;
      index = above;
    }
    heap[index] = entry;
  }
  function pop(): Entry | undefined {
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let index = 0;
    for (;;) {
      let below = 2 * index + 1;
      let child = heap[below];
      if (child === undefined) break;
      const right = heap[below + 1];
      if (right !== undefined && isBefore(right, child)) {
        below += 1;
        child = right;
      }
      if (!isBefore(child, last)) break;
      heap[index] = child;
      index = below;
    }
    heap[index] = last;
    return first;
  }

  function fail(error: unknown): void {
    failure ??= { error };
  }

  /** The next event that happens to somebody; false when none is due until then. */
  function step(untilMs: number): boolean {
    for (;;) {
      const first = heap[0];
      if (first === undefined || first.at > untilMs) return false;
      pop();
      if (first.cancelled || first.owner?.gone === true) continue;
      if (first.owner !== null && first.owner.stillUntil > first.at) {
        first.at = first.owner.stillUntil;
        push(first);
        continue;
      }
      now = Math.max(now, first.at);
      steps += 1;
      first.task();
      return true;
    }
  }

  return {
    get now() {
      return now;
    },
    get steps() {
      return steps;
    },
    after(ms, owner, task) {
      const entry: Entry = { at: now + Math.max(ms, 0), order: ++order, owner, task, cancelled: false };
      push(entry);
      return () => {
        entry.cancelled = true;
      };
    },
    run: (untilMs, isOver = () => false) =>
      new Promise((resolve, reject) => {
        // Between two immediates all promises run on to where they wait for something that is not here yet.
        const next = () => {
          try {
            if (failure !== undefined) return reject(failure.error);
            if (isOver()) return resolve();
            if (heap.length > most.pending || steps > most.events)
              throw new Violation(`storm: ${steps} things have happened, and ${heap.length} are to come`);
            if (step(untilMs)) return void setImmediate(next);
            now = Math.max(now, untilMs);
            resolve();
          } catch (error) {
            reject(error);
          }
        };
        setImmediate(next);
      }),
    fail,
    hold(check) {
      try {
        check();
      } catch (error) {
        fail(error);
      }
    },
    say(who, text) {
      hash.update(`${now} ${who} ${text}\n`);
      if (keep) lines.push({ at: now, who, text });
    },
    lines,
    digest: () => hash.copy().digest('hex'),
  };
}
