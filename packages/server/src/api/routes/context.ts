import type { ServerResponse } from 'node:http';
import type { StreamRequest } from '../sse.ts';
import type { ApiDependencies } from '../types.ts';

/** What routes use besides the service that each call carries. */
export interface RouteContext extends ApiDependencies {
  isReady(): Promise<{ ready: boolean; reason?: string }>;
  /** Writes a stream and counts it; resolves when it has ended. */
  openStream(response: ServerResponse, stream: Omit<StreamRequest, 'problemOf'> & { requestId: string }): Promise<void>;
}
