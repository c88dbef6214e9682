import type { NexusError } from '#core';

export interface RetryPolicy {
  readonly maxAttemptsPerTarget: number;
  /** Over all targets. */
  readonly maxAttempts: number;
  /** The first wait is up to this; each further one may be twice as long. */
  readonly baseDelayMs: number;
  /** Longest wait of ours, and the longest that a provider may ask for while another target is left to try. */
  readonly maxDelayMs: number;
}

export const defaultRetryPolicy: RetryPolicy = { maxAttemptsPerTarget: 3, maxAttempts: 8, baseDelayMs: 250, maxDelayMs: 8_000 };

export interface RetryQuestion {
  readonly error: NexusError;
  /** Attempts made on this target, and on all. */
  readonly tries: number;
  readonly attempt: number;
  readonly policy: RetryPolicy;
  /** Left of the deadline that the last attempt was granted. */
  readonly remainingMs: number;
  readonly hasNext: boolean;
  readonly random: () => number;
}

/** How long to wait before the same target is tried again; null: do not. A provider's Retry-After is never undercut. */
export function retryDelayMs({ error, tries, attempt, policy, remainingMs, hasNext, random }: RetryQuestion): number | null {
  if (!error.retryable || tries >= policy.maxAttemptsPerTarget || attempt >= policy.maxAttempts) return null;
  const ceiling = Math.min(policy.maxDelayMs, policy.baseDelayMs * 2 ** (tries - 1));
  const backoffMs = Math.round(ceiling * (0.5 + 0.5 * random()));
  const askedMs = error.retryAfterMs ?? 0;
  if (hasNext && askedMs > policy.maxDelayMs) return null;
  const delayMs = Math.max(backoffMs, askedMs);
  return delayMs < remainingMs ? delayMs : null;
}

/** Whether another target may do better. Not after a cancellation, and not to get round a provider that withheld the answer. */
export function tryNextTarget(error: NexusError): boolean {
  return error.code !== 'cancelled' && error.code !== 'content_filtered' && error.code !== 'internal';
}
