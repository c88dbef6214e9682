import { type IncomingMessage, request } from 'node:http';
import type { JournalEvent, WireEvent } from '@nexus-agent/protocol';
import { createFrameReader } from '../../support/sse.ts';

export interface Frame {
  readonly id: string | null;
  readonly event: string;
  readonly data: WireEvent;
}

export interface ReadOptions {
  readonly lastEventId?: string;
  readonly method?: 'GET' | 'POST';
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
  /** Called with each whole frame; true leaves the stream at once, by closing the socket. */
  readonly until?: (frame: Frame) => boolean;
  /** Closes the socket after so many bytes of the body, wherever that is. */
  readonly leaveAfterBytes?: number;
  readonly signal?: AbortSignal;
}

export interface Reading {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly frames: Frame[];
  /** The server ended the response; false: we left, or the socket broke. */
  readonly ended: boolean;
  /** The whole body when it was no stream. */
  readonly text: string;
}

/** Reads a stream of server-sent events. Only whole frames count, as for a real client. */
export function readStream(url: string, options: ReadOptions = {}): Promise<Reading> {
  const { promise, resolve, reject } = Promise.withResolvers<Reading>();
  const body = options.body === undefined ? undefined : JSON.stringify(options.body);
  const outgoing = request(
    url,
    {
      agent: false,
      method: options.method ?? (body === undefined ? 'GET' : 'POST'),
      headers: {
        accept: 'text/event-stream',
        ...(body === undefined ? {} : { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(body)) }),
        ...(options.lastEventId === undefined ? {} : { 'last-event-id': options.lastEventId }),
        ...options.headers,
      },
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    },
    (response) => {
      const frames: Frame[] = [];
      const readChunk = createFrameReader();
      let text = '';
      let bytes = 0;
      const isStream = /event-stream/.test(response.headers['content-type'] ?? '');
      const finish = (ended: boolean) => {
        resolve({ status: response.statusCode ?? 0, headers: response.headers, frames, ended, text });
        if (!ended) outgoing.destroy();
      };
      response.on('data', (chunk: Buffer) => {
        const room = Math.max(0, (options.leaveAfterBytes ?? Number.POSITIVE_INFINITY) - bytes);
        bytes += chunk.length;
        const taken = chunk.subarray(0, Math.min(chunk.length, room));
        if (!isStream) text += taken.toString('latin1');
        for (const frame of isStream ? readChunk(taken) : []) {
          const read: Frame = { ...frame, data: JSON.parse(frame.data) as WireEvent }; // what the server writes, checked by the assertions
          frames.push(read);
          if (options.until?.(read) === true) return finish(false);
        }
        if (chunk.length >= room) finish(false);
      });
      response.on('end', () => finish(true));
      response.on('error', () => finish(false));
      response.on('close', () => finish(response.complete));
    },
  );
  outgoing.on('error', reject);
  outgoing.end(body);
  return promise;
}

/** What a client holds that follows the protocol; it throws at the first gap or duplicate. */
export function createReader() {
  const events: JournalEvent[] = [];
  const texts = new Map<string, { kind: string; text: string }[]>();
  let lastId: string | undefined;
  let resets = 0;

  function length(callId: string): number {
    return (texts.get(callId) ?? []).reduce((sum, part) => sum + part.text.length, 0);
  }

  return {
    events,
    texts,
    get lastId() {
      return lastId;
    },
    get resets() {
      return resets;
    },
    take(frame: Frame): void {
      const { data } = frame;
      if (frame.id !== null) lastId = frame.id;
      if (data.type === 'model.delta') {
        const { callId, kind, offset, text } = data.data;
        if (offset !== length(callId)) throw new Error(`delta at ${offset}, but ${length(callId)} characters are here (${frame.id})`);
        const parts = texts.get(callId) ?? [];
        texts.set(callId, parts);
        const last = parts.at(-1);
        if (last?.kind === kind) last.text += text;
        else parts.push({ kind, text });
      } else if (data.type === 'message.reset') {
        resets += 1;
        texts.set(
          data.data.callId,
          data.data.parts.map((part) => ({ ...part })),
        );
      } else if ('seq' in data) {
        if (data.seq !== events.length + 1) throw new Error(`event ${data.seq} after event ${events.length}`);
        events.push(data as unknown as JournalEvent); // a wire event with a number is one of the journal; only its time is written otherwise
        // A new attempt of a call begins its text anew.
        if (data.type === 'model.started') texts.delete(data.data.callId);
      }
    },
  };
}

export type Reader = ReturnType<typeof createReader>;
