import { abortError } from './abort.ts';

/** Forgets a task that has not run yet; afterwards, and twice, it does nothing. */
export type Cancel = () => void;

/**
 * Waiting as a dependency, beside {@link Clock}: whoever carries both can be run under a time that a test, or a simulation
 * of a whole cluster, moves by hand. Code of the engine uses no timer of Node itself.
 */
export interface Timers {
  /** Runs the task once after `ms` (any length; less than 0, or no number, counts as 0). Keeps the process alive until then. */
  after(ms: number, task: () => void): Cancel;
  /**
   * Runs the task each `ms` until it is cancelled: at least 1, which no number also counts as, and at most 24 days. Never keeps
   * the process alive. The task must not throw.
   */
  every(ms: number, task: () => void): Cancel;
  /** Resolves after `ms`; rejects at once with {@link abortError} when the signal fires. Leaves no timer or listener behind. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Resolves once the events that are ready now, also those of sockets and files, have been handled. */
  soon(): Promise<void>;
}

/** The longest that a timer of Node can wait: with more it would fire at once. */
const maxTimerMs = 2 ** 31 - 1;

/** Also for what is no number: a timer of Node would fire at once, and comparisons with it are never true. */
function atLeast(minMs: number, ms: number): number {
  return Number.isNaN(ms) ? minMs : Math.max(minMs, ms);
}

/** As {@link Timers.sleep}, of whatever runs a task after a while. */
export function sleepBy({ after }: Pick<Timers, 'after'>, ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(abortError(signal));
    const onAbort = () => {
      cancel();
      if (signal) reject(abortError(signal));
    };
    const cancel = after(ms, () => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    });
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}

/** The timers of this process. */
export const systemTimers: Timers = {
  after(ms, task) {
    let timer: NodeJS.Timeout;
    const wait = (leftMs: number) => {
      timer = leftMs <= maxTimerMs ? setTimeout(task, leftMs) : setTimeout(wait, maxTimerMs, leftMs - maxTimerMs);
    };
    wait(atLeast(0, ms));
    return () => clearTimeout(timer);
  },
  every(ms, task) {
    const timer = setInterval(task, Math.min(atLeast(1, ms), maxTimerMs)).unref();
    return () => clearInterval(timer);
  },
  sleep: (ms, signal) => sleepBy(systemTimers, ms, signal),
  soon: () => new Promise((resolve) => setImmediate(resolve)),
};

/** Whether the work settled, either way, within `ms`. Cancels nothing: the work goes on. */
export async function settlesWithin(timers: Pick<Timers, 'after'>, work: Promise<unknown>, ms: number): Promise<boolean> {
  let cancel: Cancel = () => undefined;
  const late = new Promise<false>((resolve) => {
    cancel = timers.after(ms, () => resolve(false));
  });
  const settled = work.then(
    () => true,
    () => true,
  );
  try {
    return await Promise.race([settled, late]);
  } finally {
    cancel();
  }
}
