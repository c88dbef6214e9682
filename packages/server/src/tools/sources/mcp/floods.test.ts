import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { definitionOf, startServers, type TestServers, tenant } from './servers.testkit.ts';

const never = new AbortController().signal;
let servers: TestServers | undefined;
let server: Server | undefined;
afterEach(async () => {
  server?.closeAllConnections();
  server?.close();
  await servers?.close();
});

/** A server of the former revision that lists its tools as a test wants. `heard`: the methods of what it is sent, `reply` for an answer. */
async function hostile(list: (response: ServerResponse) => void, taken: (response: ServerResponse) => void = () => undefined) {
  const heard: string[] = [];
  const serve = async (request: IncomingMessage, response: ServerResponse) => {
    let body = '';
    for await (const piece of request) body += String(piece);
    const { id, method = request.method === 'POST' ? 'reply' : 'stream' } = body === '' ? {} : JSON.parse(body);
    heard.push(method);
    if (method === 'reply') return; // it is never taken
    if (method === 'stream') return taken(response);
    if (method === 'tools/list') return list(response);
    const result = { protocolVersion: '2025-11-25', capabilities: { tools: {} }, serverInfo: { name: 'a', version: '1' } };
    const answer = method === 'initialize' ? { result } : { error: { code: -32_601, message: 'no such method' } };
    response.writeHead(id === undefined ? 202 : 200, { 'content-type': 'application/json' });
    response.end(id === undefined ? '' : JSON.stringify({ jsonrpc: '2.0', id, ...answer }));
  };
  server = createServer((request, response) => void serve(request, response).catch(() => response.destroy()));
  await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo; // it listens on a port
  servers = startServers({ connectTimeoutMs: 2_500 });
  const added = await servers.administration.put(tenant, 'fake', definitionOf(`http://127.0.0.1:${port}/mcp`), never);
  return { heard, added, count: (method: string) => heard.filter((each) => each === method).length };
}

it.each(['ping', 'roots/list', 'elicitation/create'])(
  'a server that asks %s on and on, and takes no answer, has no connection for each [verifies tools.mcp.hostile]',
  async (method) => {
    const { added, count } = await hostile((response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(
        Array.from({ length: 9_000 }, (_, id) => `data: ${JSON.stringify({ jsonrpc: '2.0', id: `x${id}`, method })}\n\n`).join(''),
      );
    });
    expect(added).toMatchObject({ state: 'unapproved', fault: expect.any(String) });
    expect(count('reply')).toBeLessThanOrEqual(20);
  },
);

it('a stream that ends at once is not taken up again as often as the server says [verifies tools.mcp.hostile]', async () => {
  let events = 0;
  const ends = (response: ServerResponse) =>
    response.writeHead(200, { 'content-type': 'text/event-stream' }).end(`retry: 0\nid: ${++events}\ndata: \n\n`);
  const { added, count } = await hostile(ends, ends);
  expect(added).toMatchObject({ state: 'unapproved', fault: expect.any(String) });
  expect(count('stream')).toBeGreaterThan(5);
  expect(count('stream')).toBeLessThan(20);
});
