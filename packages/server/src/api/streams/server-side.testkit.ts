import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { IncomingMessage, ServerResponse } from 'node:http';

/** What this process does for a reader, seen from the inside: how much it holds for it, and whether it is done with it. */
export interface ServerSide {
  /** The request has arrived. */
  readonly started: boolean;
  /** Characters that the API has written to the response. */
  readonly written: number;
  /** The most bytes that waited in this process, after any write, for the reader to take them. */
  readonly mostHeld: number;
  /** The API has written the last of it. */
  readonly ended: boolean;
  /** The socket and its memory are freed. */
  readonly destroyed: boolean;
}

/** Watches the next response to a request of this path, on any server of this process. */
export function watchNextResponse(path: string): ServerSide {
  let response: ServerResponse | null = null;
  let written = 0;
  let mostHeld = 0;
  const channel = 'http.server.request.start';
  const onRequest = (message: unknown) => {
    const started = message as { readonly request: IncomingMessage; readonly response: ServerResponse }; // as Node documents the channel
    if (started.request.url !== path) return;
    unsubscribe(channel, onRequest);
    response = started.response;
    const write = response.write.bind(response);
    response.write = (text: string) => {
      const room = write(text);
      written += text.length;
      mostHeld = Math.max(mostHeld, started.response.writableLength);
      return room;
    };
  };
  subscribe(channel, onRequest);
  return {
    get started() {
      return response !== null;
    },
    get written() {
      return written;
    },
    get mostHeld() {
      return mostHeld;
    },
    get ended() {
      return response?.writableEnded === true;
    },
    get destroyed() {
      return response?.destroyed === true;
    },
  };
}
