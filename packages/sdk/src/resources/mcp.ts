import type { Transport } from '../transport.ts';

/** One request to the endpoint of the Model Context Protocol, for whoever speaks that protocol themselves. */
export interface McpRequest {
  readonly method: 'POST' | 'DELETE';
  readonly query?: Readonly<Record<string, string | undefined>>;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

/** One attempt, with the key of the client. The answer is the protocol's own, whatever its status; throws only where there is none. */
export function mcp(transport: Transport) {
  return { send: (request: McpRequest): Promise<Response> => transport.send('/mcp', { ...request, anyStatus: true, repeatable: false }) };
}
