import { type Duplex, duplexPair, Readable } from 'node:stream';
import { UndiciAgent } from '#core/http';

/** A `fetch` whose connections lead into this process, and no further. */
export interface InProcessFetch {
  readonly fetch: typeof globalThis.fetch;
  /** Ends every connection. */
  close(): Promise<void>;
}

const withoutBody = new Set([101, 204, 205, 304]);

/** @param accept serves the other end of a connection */
export function createInProcessFetch(accept: (socket: Duplex) => void): InProcessFetch {
  const agent = new UndiciAgent({
    connect(_options, callback) {
      const [ours, theirs] = duplexPair();
      accept(theirs);
      // A connection is there later than it is asked for; of a socket only what every stream has is used.
      queueMicrotask(() => callback(null, ours as Parameters<typeof callback>[1] & object));
    },
  });
  return {
    async fetch(input, init = {}) {
      const url = new URL(input instanceof Request ? input.url : input);
      const answer = await agent.request({
        origin: url.origin,
        path: url.pathname + url.search,
        method: (init.method ?? 'GET') as 'GET', // the client sends what the API takes
        headers: Object.fromEntries(new Headers(init.headers)),
        ...(typeof init.body === 'string' ? { body: init.body } : {}),
        ...(init.signal ? { signal: init.signal } : {}),
        headersTimeout: 0,
        bodyTimeout: 0, // a stream may be silent for as long as its run waits
      });
      const headers = new Headers();
      for (const [name, values] of Object.entries(answer.headers)) for (const value of [values ?? []].flat()) headers.append(name, value);
      const isEmpty = withoutBody.has(answer.statusCode);
      if (isEmpty) await answer.body.dump();
      // Node's own types of the two kinds of streams differ in what they name, not in what they are.
      const body = isEmpty ? null : (Readable.toWeb(answer.body) as unknown as ReadableStream<Uint8Array>);
      return new Response(body, { status: answer.statusCode, headers });
    },
    close: () => agent.destroy(),
  };
}
