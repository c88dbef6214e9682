import type { ServerResponse } from 'node:http';
import type { ApiMetrics } from '#api/contract';
import type { McpEndpoint } from '#api/mcp';
import type { StreamRequest } from '#api/streams';
import type { Clock, Timers } from '#core';

/** What routes use besides the service that each call carries. */
export interface RouteContext {
  readonly version: string;
  /** What the default agent is asked by a bare GET of the chat stream. */
  readonly greeting: string;
  readonly clock: Clock;
  readonly timers: Pick<Timers, 'after' | 'soon'>;
  isReady(): Promise<{ ready: boolean; reason?: string }>;
  scrape: ApiMetrics['scrape'];
  /** Absent where it is switched off. */
  readonly mcp?: Pick<McpEndpoint, 'serve'>;
  /** Writes a stream; resolves when it has ended. */
  openStream(stream: Omit<StreamRequest, 'problemOf'> & { readonly requestId: string }, response: ServerResponse): Promise<void>;
}
