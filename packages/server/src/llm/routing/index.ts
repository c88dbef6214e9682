/** The door of routing: which attempt is worth making next. */
export { defaultRetryPolicy, nextAttempt, type RetryPolicy } from './next.ts';
