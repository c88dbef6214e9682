import { Worker } from 'node:worker_threads';
import type { CountedJob, CountJob, Vocabulary } from './tokenizer-worker.ts';

// The thread runs beside this file, from source and from the built files alike.
const workerUrl = new URL(import.meta.url.endsWith('.ts') ? './tokenizer-worker.ts' : './tokenizer-worker.js', import.meta.url);
const limits = { maxOldGenerationSizeMb: 512, maxYoungGenerationSizeMb: 64 };

/** About half a second of work: more would keep others waiting for their counts. */
const maxChars = 500_000;

export interface Tokenizer {
  /** Tokens of each text; null when they are more than 500,000 characters, when it takes longer than `timeoutMs`, or the thread broke. Aborting the signal gives null at once. */
  count(vocabulary: Vocabulary, texts: readonly string[], signal: AbortSignal): Promise<readonly number[] | null>;
  close(): Promise<void>;
}

/**
 * Counts tokens on a thread that starts when it is first asked and ends after it was idle. Text that a count takes too long for ends
 * the thread with every other count: whoever asked has the bound that he had.
 */
export function createTokenizer({ timeoutMs = 5_000, idleMs = 60_000 } = {}): Tokenizer {
  let thread: Worker | null = null;
  let idle: NodeJS.Timeout | undefined;
  let lastId = 0;
  const waiting = new Map<number, (counts: readonly number[] | null) => void>();

  async function stop(): Promise<void> {
    clearTimeout(idle);
    const ended = thread;
    thread = null;
    for (const settle of waiting.values()) settle(null);
    await ended?.terminate();
  }

  function start(): Worker {
    // No environment and no options of this process reach the thread, and what it prints goes nowhere.
    const started = new Worker(workerUrl, { env: {}, execArgv: [], argv: [], stdout: true, stderr: true, resourceLimits: limits });
    started.on('message', ({ id, counts }: CountedJob) => waiting.get(id)?.(counts));
    const broken = () => {
      if (thread === started) void stop();
    };
    started.on('error', broken);
    started.on('exit', broken);
    return started;
  }

  return {
    count(vocabulary, texts, signal) {
      const chars = texts.reduce((sum, text) => sum + text.length, 0);
      if (signal.aborted || chars > maxChars) return Promise.resolve(null);
      clearTimeout(idle);
      thread ??= start();
      thread.ref();
      lastId += 1;
      const id = lastId;
      return new Promise((resolve) => {
        const settle = (counts: readonly number[] | null) => {
          clearTimeout(late);
          signal.removeEventListener('abort', leave);
          waiting.delete(id);
          if (waiting.size === 0) {
            thread?.unref(); // an idle thread does not keep the process alive
            idle = setTimeout(() => void stop(), idleMs).unref();
          }
          resolve(counts);
        };
        const leave = () => settle(null);
        const late = setTimeout(() => void stop(), timeoutMs);
        waiting.set(id, settle);
        signal.addEventListener('abort', leave, { once: true });
        thread?.postMessage({ id, vocabulary, texts } satisfies CountJob);
      });
    },
    close: stop,
  };
}
