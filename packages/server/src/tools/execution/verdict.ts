import type { ErrorInfo } from '@nexus-agent/protocol';
import type { BreakerVerdict } from '#core';

/** What is known of the end of a call that began. */
export interface EndedCall {
  /** Null: it went well. */
  readonly error: ErrorInfo | null;
  /** It threw what no tool throws on purpose. */
  readonly crashed: boolean;
  /** Whoever called stopped it. */
  readonly cancelled: boolean;
  /** It had about the time that it may take by its own limit, and not only what a budget or a queue left of it. */
  readonly hadItsTime: boolean;
}

const notReached: ReadonlySet<unknown> = new Set(['connection', 'silent']);
const notServing: ReadonlySet<unknown> = new Set([502, 503, 504]);

/**
 * What the end of a call says of the tool. Only its own faults count against it: that it crashed, took all of its time, left open what it did,
 * or that what it stands for cannot be reached. What was wrong with the arguments, a policy, a limit or a cancellation says nothing.
 */
export function verdictOf({ error, crashed, cancelled, hadItsTime }: EndedCall): BreakerVerdict {
  if (error === null) return 'works';
  if (cancelled) return 'unknown';
  if (crashed) return 'fails';
  const { code, details } = error;
  switch (code) {
    case 'tool_timeout':
      return hadItsTime ? 'fails' : 'unknown';
    case 'tool_outcome_unknown':
      if (details?.cause === 'cancelled') return 'unknown';
      return details?.cause !== 'tool_timeout' || hadItsTime ? 'fails' : 'unknown';
    case 'tool_failed':
      if (notReached.has(details?.reason) || notServing.has(details?.status)) return 'fails';
      return details?.status === undefined ? 'unknown' : 'works'; // a server that says no is there
    default:
      return 'unknown';
  }
}
