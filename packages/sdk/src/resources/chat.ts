import type { ChatRequest, WireEvent } from '@nexus-agent/protocol';
import type { CreateOptions } from '../calls.ts';
import { type StreamOptions, streamRun } from '../run-stream.ts';
import { newIdempotencyKey, type Transport } from '../transport.ts';

/** Starts a run and follows it to its end: see {@link streamRun} for what happens when the connection breaks. */
export function chat(transport: Transport) {
  return (
    request: ChatRequest,
    { idempotencyKey = newIdempotencyKey(), ...stream }: StreamOptions & CreateOptions = {},
  ): AsyncGenerator<WireEvent> => {
    const open = (signal: AbortSignal) =>
      transport.send('/v1/agents/chat/stream', {
        method: 'POST',
        body: request,
        headers: { accept: 'text/event-stream', 'idempotency-key': idempotencyKey },
        signal,
        repeatable: true,
      });
    return streamRun(transport, { open }, stream);
  };
}
