import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { settlesWithin, type Timers } from '#core';

/** One HTTP request of a client and the answer to it. */
export interface Exchange {
  /** As the protocol's library takes it; its signal is aborted when the client goes away. */
  readonly request: Request;
  /** Whether what is written is taken. */
  reads(): boolean;
  /** Calls back once the answer has ended, or nobody waits for it any more. */
  whenOver(callback: () => void): void;
  /** Writes the answer. Resolves when it has ended, whole or not. */
  answer(answer: Response): Promise<void>;
}

export interface ExchangeParts {
  readonly method: string;
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly response: ServerResponse;
  /** A client whose socket stays full for so long is cut off. */
  readonly lagMs: number;
  readonly timers: Pick<Timers, 'after'>;
}

/** Nothing reads it but the library, to which only the method and the headers matter. */
const address = 'http://mcp.invalid/mcp';

/**
 * Holds one piece of the answer at a time. What the library would write meanwhile waits in its stream: whoever adds to that on his own
 * account asks `reads` first.
 */
export function createExchange({ method, headers, response, lagMs, timers }: ExchangeParts): Exchange {
  const gone = new AbortController();
  let blocked = false;
  response.on('close', () => {
    if (!response.writableFinished) gone.abort();
  });
  // A socket may fail at any write; what follows from it is the close event.
  response.on('error', () => undefined);

  async function write(piece: Uint8Array): Promise<boolean> {
    if (gone.signal.aborted) return false;
    if (response.write(piece)) return true;
    blocked = true;
    const drained = once(response, 'drain', { signal: gone.signal });
    const inTime = await settlesWithin(timers, drained, lagMs);
    blocked = false;
    if (!inTime) response.destroy();
    return inTime && !gone.signal.aborted;
  }

  return {
    request: new Request(address, { method, headers: plainHeaders(headers), signal: gone.signal }),
    whenOver: (callback) => void response.once('close', callback),
    reads: () => !blocked && !gone.signal.aborted,
    async answer({ status, headers: answered, body }) {
      if (gone.signal.aborted) return void body?.cancel().catch(() => undefined);
      const { 'content-length': _length, connection: _connection, ...rest } = Object.fromEntries(answered);
      response.writeHead(status, rest);
      if (body === null) return void response.end();
      response.flushHeaders();
      const reader = body.getReader();
      const leave = () => void reader.cancel().catch(() => undefined);
      gone.signal.addEventListener('abort', leave, { once: true });
      try {
        for (let step = await reader.read(); !step.done; step = await reader.read()) if (!(await write(step.value))) break;
      } finally {
        gone.signal.removeEventListener('abort', leave);
        leave();
        response.end();
      }
    },
  };
}

function plainHeaders(headers: ExchangeParts['headers']): Headers {
  const plain = new Headers();
  for (const [name, value] of Object.entries(headers)) {
    // Of a connection, and not of the request; and no more of the credentials than was looked at already.
    if (value === undefined || /^(connection|host|authorization|x-api-key|cookie|content-length|transfer-encoding)$/.test(name)) continue;
    plain.set(name, typeof value === 'string' ? value : value.join(', '));
  }
  return plain;
}
