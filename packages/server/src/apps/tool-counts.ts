import type { ErrorInfo } from '@nexus-agent/protocol';
import type { WaitObserver } from '#core';
import type { EgressSource, ExecutedTool, Metrics, TurnQueue } from '#telemetry';
import type { EgressObserver, FinishedCall } from '#tools';

/** What of the end of a call is counted. A tool that there is not is counted nowhere: its name is anybody's. */
export function countedCall({ toolName, tool, end }: FinishedCall): ExecutedTool | null {
  if (tool === undefined) return null;
  const { tier = 'host', source = 'program' } = tool;
  const queueMs = end.waitedMs ?? 0;
  const about = { tool: toolName, tier, source, queueMs, runMs: Math.max(0, end.durationMs - queueMs) };
  if (end.type !== 'failed') return { ...about, outcome: end.type };
  const limit = limitOf(end.error);
  return { ...about, outcome: end.began ? 'failed' : 'refused', error: end.error.code, ...(limit === undefined ? {} : { limit }) };
}

/** Which limit a call reached: one of its sandbox, or one of those that every tool has. */
function limitOf({ code, details }: ErrorInfo): string | undefined {
  switch (code) {
    case 'limit_exceeded':
      return typeof details?.limit === 'string' ? details.limit : 'other';
    case 'rate_limited':
      return 'queue';
    case 'tool_unavailable':
      return 'breaker';
    case 'tool_timeout':
      return 'timeout';
    default:
      return undefined;
  }
}

export function turnsOf(metrics: Metrics, queue: TurnQueue): WaitObserver {
  return {
    depth: (waiting) => metrics.turnsWaiting(queue, waiting),
    ended: (outcome, waitedMs) => metrics.turnEnded({ queue, outcome, waitedMs }),
  };
}

export function trafficOf(metrics: Metrics, source: EgressSource): EgressObserver {
  return {
    connected: () => metrics.egressConnected(source),
    closed: (bytes) => metrics.egress({ source, ...bytes }),
  };
}
