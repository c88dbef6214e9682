import { dictionary } from '@nexus-agent/protocol';
import { NexusError, systemTimers } from '#core';
import type { Deadline } from './deadline.ts';
import type { DatabaseFailure } from './failures.ts';

export interface RetryOptions {
  /** What an error says of the database; null for one that is not the database's. */
  readonly failureOf: (error: unknown) => DatabaseFailure | null;
  /** How often another transaction may have inserted the same key first. */
  readonly conflicts: number;
  /** How often a connection may be lost, or refused: the work has not been committed, so it may start again. */
  readonly outages: number;
  /** No attempt begins once this has passed. */
  readonly deadline: Deadline;
  /** Nor once this has fired: whoever waits is given its reason. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Repeats work that other transactions got in the way of, with growing, jittered pauses that leave the event loop
 * free. Ends with `storage_unavailable` when the database stays busy or cannot answer.
 */
export async function withRetries<R>(options: RetryOptions, work: () => R | Promise<R>): Promise<R> {
  const { failureOf, conflicts, outages, deadline, signal } = options;
  const left = dictionary({ conflict: conflicts, outage: outages, fatal: 0 });
  for (let attempt = 0; ; attempt++) {
    const leftMs = deadline.leftMs();
    try {
      return await work();
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof NexusError) throw error;
      const known = failureOf(error);
      if (known === null) throw new NexusError('internal', 'the database was asked in a wrong way; see the log', { cause: error });
      const { failure } = known;
      const tookMs = leftMs - deadline.leftMs();
      // One that waited for a lock until it was told to stop will wait as long again.
      const mayRetry = deadline.leftMs() > tookMs && (failure === 'busy' || left[failure]-- > 0);
      if (!mayRetry) throw asStorageError(known);
    }
    await systemTimers.sleep(Math.min(50, 1 + 2 ** attempt * Math.random()));
  }
}

/** A failure as the callers of a store see it. */
function asStorageError({ failure, reason, cause }: DatabaseFailure): NexusError {
  const options = { cause };
  switch (failure) {
    case 'busy':
    case 'outage':
      return new NexusError('storage_unavailable', `${reason}; try again`, options);
    case 'conflict':
      return new NexusError('conflict', reason, options);
    case 'fatal':
      return new NexusError('internal', reason, options);
  }
}
