import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';

/** How a provider repeats what it was sent. */
export interface Repeats {
  /** Of the body of its answer, given a text; a status of 200 streams the text as the answer. */
  readonly status: number;
  readonly say: (key: string) => string;
  /** A message of an error in an odd place. */
  readonly body?: (text: string) => unknown;
  /** Cuts the text of an answer into pieces of so many characters. */
  readonly pieceChars?: number;
  readonly headers?: (key: string) => Readonly<Record<string, string>>;
}

/** A provider that repeats the key that it was sent, as it is told to. */
export async function startLeakyProvider(): Promise<{ readonly url: string; repeat(how: Repeats): void; close(): Promise<void> }> {
  let how: Repeats = { status: 200, say: () => 'nothing' };
  const keyOf = ({ headers }: IncomingMessage) =>
    String(headers['x-canary'] ?? headers['x-api-key'] ?? headers.authorization?.replace(/^\w+ /, '') ?? '');
  const server = createServer((request, response) => {
    request.resume().on('end', () => {
      const key = keyOf(request);
      const text = how.say(key);
      const headers = how.headers?.(key) ?? {};
      if (request.url?.includes('/models')) return void response.writeHead(404).end('{}');
      if (how.status !== 200) {
        response.writeHead(how.status, { 'content-type': 'application/json', ...headers });
        return void response.end(JSON.stringify(how.body?.(text) ?? { error: { message: text, type: 'some_error' } }));
      }
      response.writeHead(200, { 'content-type': 'text/event-stream', ...headers });
      const size = how.pieceChars ?? text.length;
      for (let at = 0; at < text.length; at += size) {
        const delta = { content: text.slice(at, at + size) };
        response.write(`data: ${JSON.stringify({ choices: [{ index: 0, delta, finish_reason: null }] })}\n\n`);
      }
      const usage = { prompt_tokens: 10, completion_tokens: 10, total_tokens: 20 };
      response.end(`data: ${JSON.stringify({ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }], usage })}\n\ndata: [DONE]\n\n`);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    repeat(next) {
      how = next;
    },
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
