import type { NexusError } from '#core';
import type { Answer, DeltaKind } from '#llm/contract';
import type { Progress, Provider, ProviderCall } from './provider.ts';

export type ReadItem =
  | { readonly type: 'delta'; readonly kind: DeltaKind; readonly text: string }
  | { readonly type: 'progress'; readonly tokens: number }
  | { readonly type: 'done'; readonly answer: Answer }
  | { readonly type: 'failed'; readonly error: NexusError };

/** One call of a provider, read at the consumer's pace. */
export interface Reading {
  /** The next item; `done` or `failed` is the last. */
  next(): ReadItem | Promise<ReadItem>;
  /** Ends the upstream request at once; a pending or later `next` gives `failed` with this error. */
  cancel(error: NexusError): void;
  progress(): Progress;
}

/** Above this many characters waiting for the consumer, the socket is not read. */
const highWaterChars = 64_000;

/** Turns a provider's callbacks into items. What piles up while the consumer is busy is merged, so the queue holds few items. */
export function startReading(provider: Provider, call: ProviderCall, { progress }: { readonly progress: boolean }): Reading {
  const queue: ReadItem[] = [];
  let waiting: ((item: ReadItem) => void) | null = null;
  let last: ReadItem | null = null;
  let queuedChars = 0;
  let paused = false;

  function put(item: ReadItem): void {
    if (last !== null) return;
    if (item.type === 'done' || item.type === 'failed') last = item;
    if (waiting !== null) {
      const resolve = waiting;
      waiting = null;
      resolve(item);
      return;
    }
    const tail = queue.at(-1);
    if (item.type === 'delta' && tail?.type === 'delta' && tail.kind === item.kind) {
      queue[queue.length - 1] = { type: 'delta', kind: item.kind, text: tail.text + item.text };
    } else if (item.type === 'progress' && tail?.type === 'progress') {
      queue[queue.length - 1] = item;
    } else {
      queue.push(item);
    }
    if (item.type !== 'delta') return;
    queuedChars += item.text.length;
    if (queuedChars > highWaterChars && !paused) {
      paused = true;
      stream.pause();
    }
  }

  const stream = provider.open(call, {
    delta: (kind, text) => put({ type: 'delta', kind, text }),
    done: (answer) => put({ type: 'done', answer }),
    failed: (error) => put({ type: 'failed', error }),
    ...(progress ? { progress: (tokens: number) => put({ type: 'progress', tokens }) } : {}),
  });

  return {
    next() {
      const item = queue.shift();
      if (item === undefined) {
        if (last !== null) return last;
        return new Promise((resolve) => {
          waiting = resolve;
        });
      }
      if (item.type === 'delta') queuedChars -= item.text.length;
      if (paused && queuedChars < highWaterChars / 2) {
        paused = false;
        stream.resume();
      }
      return item;
    },
    cancel(error) {
      if (last !== null) return;
      stream.abort();
      queue.length = 0;
      put({ type: 'failed', error });
    },
    progress: () => stream.progress(),
  };
}
