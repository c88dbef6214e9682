import type { ErrorInfo } from '@nexus-agent/protocol';
import { type BreakerVerdict, NexusError } from '#core';
import type { Tool } from '#tools/contract';

/** What is known of the end of a call. */
export interface EndedCall {
  /** Null: it went well. */
  readonly error: ErrorInfo | null;
  /** Left out where it was not called. */
  readonly tool: Pick<Tool, 'timeoutMs'> | undefined;
  /** It threw what no tool throws on purpose. */
  readonly crashed: boolean;
  /** Fired where the call was told to stop; its reason says why. */
  readonly signal: AbortSignal;
  /** How much time the call had, and how much the settings let it have. */
  readonly hadMs: number;
  readonly mostMs: number | null;
}

const notReached: ReadonlySet<unknown> = new Set(['connection', 'silent']);
const notServing: ReadonlySet<unknown> = new Set([502, 503, 504]);

/**
 * What the end of a call says of the tool. Only its own faults count against it: that it crashed, took all of its time, left open what it did,
 * or that what it stands for cannot be reached. What was wrong with the arguments, a policy, a limit or a cancellation says nothing.
 */
export function verdictOf({ error, tool, crashed, signal, hadMs, mostMs }: EndedCall): BreakerVerdict {
  if (tool === undefined) return 'unknown';
  if (error === null) return 'works';
  const { reason } = signal;
  if (signal.aborted && !(reason instanceof NexusError && reason.code === 'tool_timeout')) return 'unknown';
  // Not only what a budget or a queue left of it.
  const hadItsTime = hadMs >= Math.min(tool.timeoutMs, mostMs ?? tool.timeoutMs) / 2;
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
