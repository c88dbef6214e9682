import { NexusError } from './errors.ts';

/** Throws the signal's reason when it is aborted. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw abortError(signal);
}

/** The reason of an aborted signal as a {@link NexusError} with code `cancelled`, unless it already is one. */
export function abortError(signal: AbortSignal): NexusError {
  return signal.reason instanceof NexusError
    ? signal.reason
    : new NexusError('cancelled', 'the work was cancelled', { cause: signal.reason });
}

/** Waits; rejects at once with {@link abortError} when the signal fires. Leaves no timer or listener behind. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(abortError(signal));
    const onAbort = () => {
      clearTimeout(timer);
      if (signal) reject(abortError(signal));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    }, ms);
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}
