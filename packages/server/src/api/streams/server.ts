import type { ServerResponse } from 'node:http';
import type { ApiMetrics, StreamOutcome } from '#api/contract';
import { type Clock, NexusError, type Timers } from '#core';
import { createEncoder } from './encoder.ts';
import { type OpenStream, type StreamRequest, writeStream } from './writer.ts';

export interface StreamServer {
  /** Writes the stream, counts it, and resolves when the response is done. Never rejects. */
  serve(response: ServerResponse, request: StreamRequest): Promise<void>;
  /** Ends every stream in good order: clients reconnect elsewhere. */
  close(): Promise<void>;
}

export interface StreamServerOptions {
  /** A reader whose socket stays full for so long is detached. */
  readonly lagMs: number;
  /** A stream on which nothing happened for so long is pinged. */
  readonly pingMs: number;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly metrics: Pick<ApiMetrics, 'streamOpened' | 'streamClosed' | 'streamEvents'>;
}

/** The open streams of this process: pings those on which nothing happens, and ends all of them at shutdown. */
export function createStreamServer({ lagMs, pingMs, clock, timers, metrics }: StreamServerOptions): StreamServer {
  const streams = new Map<OpenStream, Promise<StreamOutcome>>();
  const writing = { lagMs, timers, onFrames: (count: number) => metrics.streamEvents(count), encoder: createEncoder() };
  const stopPinging = timers.every(pingMs, () => {
    for (const stream of streams.keys()) {
      if (!stream.active && !stream.blocked && stream.response.headersSent) stream.response.write(': ping\n\n');
      stream.active = false;
    }
  });

  return {
    async serve(response, request) {
      metrics.streamOpened();
      const startedAt = clock.monotonic();
      const stream: OpenStream = { response, stop: new AbortController(), active: false, blocked: false };
      const written = writeStream(stream, request, writing);
      streams.set(stream, written);
      try {
        metrics.streamClosed({ outcome: await written, durationMs: clock.monotonic() - startedAt });
      } finally {
        streams.delete(stream);
      }
    },
    async close() {
      stopPinging();
      for (const { stop } of streams.keys()) stop.abort(new NexusError('unavailable', 'the server is shutting down'));
      await Promise.allSettled([...streams.values()]);
    },
  };
}
