import { type Run, WireEvent } from '@nexus-agent/protocol';
import type { RouteResponse } from '#api/contract';

/** Names of the run and session, known from the head of a stream on. */
export function streamHeaders(run: Run): Record<string, string> {
  return { 'nexus-run-id': run.id, 'nexus-session-id': run.sessionId };
}

export const streamResponse: Readonly<Record<number, RouteResponse>> = {
  200: {
    description: 'Server-sent events. Each `data:` line is one Event; `id:` lines are where the stream can be resumed.',
    events: WireEvent,
  },
};
