import type { CallOptions } from '../calls.ts';
import type { Transport } from '../transport.ts';

/** One attempt: does the server live? */
export function health(transport: Transport) {
  return async (call: CallOptions = {}): Promise<{ status: 'ok'; version: string }> => {
    const response = await transport.send('/healthz', { repeatable: false, ...call });
    return (await response.json()) as { status: 'ok'; version: string }; // the server's schema for this path
  };
}
