import { NexusError, systemTimers } from '#core';
import type { Failure } from './dialects.ts';

export interface RetryOptions {
  readonly classify: (error: unknown) => Failure;
  /** How long a busy database is retried. */
  readonly busyMs: number;
  /** How often another transaction may have inserted the same key first. */
  readonly conflicts: number;
  /** How often a lost connection is replaced: the work has not been committed, so it may start again. */
  readonly losses: number;
}

/**
 * Repeats work that other transactions got in the way of, with growing, jittered pauses that leave the event loop
 * free. Ends with `storage_unavailable` when the database stays busy or cannot be reached.
 */
export async function withRetries<R>(options: RetryOptions, work: () => R | Promise<R>): Promise<R> {
  const startedAt = performance.now();
  const left = { conflict: options.conflicts, lost: options.losses, fatal: 0 };
  for (let attempt = 0; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (error instanceof NexusError) throw error;
      const failure = options.classify(error);
      const mayRetry = failure === 'busy' ? performance.now() - startedAt < options.busyMs : left[failure]-- > 0;
      if (!mayRetry) throw asStorageError(failure, error);
    }
    await systemTimers.sleep(Math.min(50, 1 + 2 ** attempt * Math.random()));
  }
}

function asStorageError(failure: Failure, cause: unknown): unknown {
  if (failure === 'busy') return new NexusError('storage_unavailable', 'the database stayed busy; try again', { cause });
  if (failure === 'lost') return new NexusError('storage_unavailable', 'the database cannot be reached; try again', { cause });
  if (failure === 'conflict') return new NexusError('conflict', 'this id is already in use', { cause });
  return new NexusError('internal', 'the database refused a statement; see the log', { cause });
}
