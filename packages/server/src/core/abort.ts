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
