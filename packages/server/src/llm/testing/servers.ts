import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';

/** A server on a free loopback port that the test answers for. */
export async function startServer(
  handle: (request: IncomingMessage & { body: string }, response: ServerResponse) => void,
): Promise<{ readonly url: string; close(): Promise<void> }> {
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += String(chunk);
    handle(Object.assign(request, { body }), response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  return {
    url: `http://127.0.0.1:${port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** Waits until the condition holds; fails after a second. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const end = performance.now() + 1_000;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`did not happen within a second: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
