import type { ErrorInfo } from '@nexus-agent/protocol';
import { isSameTarget, type NextAdvice, type NextQuestion } from '#llm/contract';

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

/**
 * What is tried next: the same target again after a wait, when its failure may pass and time is left for it; else the next
 * target that was not tried yet, at once; else nothing. Pure, but for the chance that spreads the waits.
 *
 * @param random between 0 and 1
 */
export function nextAttempt(question: NextQuestion, policy: RetryPolicy, random: () => number): NextAdvice {
  const { targets, failures } = question;
  const untried = targets.find((target) => !failures.some((failure) => isSameTarget(failure.target, target)));
  const atUntried: NextAdvice = untried === undefined ? { type: 'none' } : { type: 'attempt', target: untried, delayMs: 0 };
  const last = failures.at(-1);
  if (last === undefined || last.refused) return atUntried;
  if (question.sawText) return { type: 'none' };
  const hasNext = untried !== undefined && mayDoBetter(last.error);
  const delayMs = retryDelayMs(question, hasNext, policy, random);
  if (delayMs !== null) return { type: 'attempt', target: last.target, delayMs };
  return hasNext && failures.length < policy.maxAttempts ? atUntried : { type: 'none' };
}

/** How long to wait before the last target is tried again; null: do not. A provider's Retry-After is never undercut. */
function retryDelayMs({ failures, remainingMs }: NextQuestion, hasNext: boolean, policy: RetryPolicy, random: () => number): number | null {
  const last = failures.at(-1);
  if (last === undefined || last.error.retryable !== true) return null;
  const tries = failures.filter((failure) => isSameTarget(failure.target, last.target)).length;
  if (tries >= policy.maxAttemptsPerTarget || failures.length >= policy.maxAttempts) return null;
  const ceiling = Math.min(policy.maxDelayMs, policy.baseDelayMs * 2 ** (tries - 1));
  const backoffMs = Math.round(ceiling * (0.5 + 0.5 * random()));
  const askedMs = last.retryAfterMs ?? 0;
  if (hasNext && askedMs > policy.maxDelayMs) return null;
  const delayMs = Math.max(backoffMs, askedMs);
  return delayMs < remainingMs ? delayMs : null;
}

/** Whether another target may do better. Not after a cancellation, and not to get round a provider that withheld the answer. */
function mayDoBetter({ code }: ErrorInfo): boolean {
  return code !== 'cancelled' && code !== 'content_filtered' && code !== 'internal';
}
