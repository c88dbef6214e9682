import { connect as connectSocket } from 'node:net';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import type { Tool } from '../../packages/server/src/tools/index.ts';
import { connectMcp, type McpClient, revisions, textOf } from './support/mcp-client.ts';
import { startTestServer, type TestServer } from './support/server.ts';
import { createProbe } from './support/tools.ts';

const probe = createProbe();
const huge: Tool = {
  name: 'huge',
  description: 'More than a socket takes',
  inputSchema: { type: 'object' },
  effects: 'none',
  permissions: [],
  timeoutMs: 10_000,
  execute: async () => ({ type: 'ok', output: 'x'.repeat(9_000_000) }),
};
let server: TestServer;
const open: McpClient[] = [];
const headers = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' };
const initialize = {
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'raw', version: '1' } },
};

beforeAll(async () => {
  server = await startTestServer({
    tools: [...probe.tools, huge],
    config: {
      mcp: { server: { agent: 'all', tenantSessions: 3, calls: 2, idleMs: 1_500 } },
      limits: { streamLagMs: 300 },
      tools: { maxOutputChars: 10_000_000 },
    },
  });
  await server.agent('all');
});
afterEach(async () => {
  for (const { close } of open.splice(0)) await close();
});
afterAll(async () => {
  await server.verifyRuns();
  await server.close();
});

const post = (body: unknown, more: Record<string, string> = {}) =>
  fetch(`${server.app.url}/mcp`, {
    method: 'POST',
    headers: { ...headers, ...more },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });

async function begin(): Promise<string> {
  const answer = await post(initialize);
  await answer.text();
  return answer.headers.get('mcp-session-id') ?? `none: ${answer.status}`;
}

const list = (id: string) => post({ jsonrpc: '2.0', id: 2, method: 'tools/list' }, { 'mcp-session-id': id });

it('keeps so many sessions of a tenant: the longest idle one makes room, and one in use does not [verifies mcp.server.bounded]', async () => {
  const ids = [await begin(), await begin(), await begin(), await begin()];
  const statuses = await Promise.all(ids.map(async (id) => (await list(id)).status));
  expect(statuses).toEqual([404, 200, 200, 200]);
  const leave = new AbortController();
  const listening = ids
    .slice(1)
    .map((id) => fetch(`${server.app.url}/mcp`, { headers: { accept: 'text/event-stream', 'mcp-session-id': id }, signal: leave.signal }));
  expect((await Promise.all(listening)).map(({ status }) => status)).toEqual([200, 200, 200]);
  const refused = await post(initialize);
  expect(refused.status).toBe(429);
  expect(await refused.json()).toMatchObject({ error: { data: { code: 'rate_limited' } } });
  leave.abort();
  await expect.poll(async () => (await begin()).startsWith('none')).toBe(false);
});

it('ends a session that nothing is heard of, with what its client left behind [verifies mcp.server.bounded]', async () => {
  const id = await begin();
  const leave = new AbortController();
  const call = {
    jsonrpc: '2.0',
    id: 3,
    method: 'tools/call',
    params: { name: 'agent_all', arguments: { input: '[[sim tools=probe(waitMs=9000)]]' } },
  };
  const left = fetch(`${server.app.url}/mcp`, {
    method: 'POST',
    headers: { ...headers, 'mcp-session-id': id },
    body: JSON.stringify(call),
    signal: leave.signal,
  }).then((answer) => answer.text());
  const ended = expect(left).rejects.toThrow();
  await expect.poll(() => probe.running).toBe(1);
  leave.abort();
  await ended;
  const [{ id: runId }] = (await server.call('GET', '/v1/runs?limit=1')).body.data;
  // To leave is not to cancel here: the run goes on until its session ends.
  expect(await server.run(runId)).toMatchObject({ status: 'running' });
  expect(await server.until(runId, 'cancelled')).toMatchObject({ agent: 'all' });
  expect((await list(id)).status).toBe(404);
});

it.each(revisions)(
  'takes so many calls of a key at a time and refuses more, of revision %s [verifies mcp.server.bounded]',
  async (revision) => {
    const connected = await connectMcp(`${server.app.url}/mcp`, { revision });
    open.push(connected);
    const before = probe.calls.length;
    const call = (waitMs: number) => connected.client.callTool({ name: 'probe', arguments: { waitMs, label: 'done' } });
    const flood = await Promise.allSettled(Array.from({ length: 50 }, () => call(400)));
    const done = flood.flatMap((each) => (each.status === 'fulfilled' ? [textOf(each.value)] : []));
    expect(done.length).toBeGreaterThanOrEqual(2);
    expect(probe.mostRunning).toBeLessThanOrEqual(2);
    const refused = flood.flatMap((each) => (each.status === 'rejected' ? [String(each.reason)] : []));
    expect(refused.length).toBeGreaterThan(40);
    expect(refused.every((reason) => reason.includes('rate_limited'))).toBe(true);
    expect(probe.calls.length - before).toBe(done.length);
    expect(textOf(await call(0))).toBe('done');
  },
);

it('cuts off a client that does not read, and serves the next one [verifies mcp.server.bounded]', async () => {
  const id = await begin();
  const body = JSON.stringify({ jsonrpc: '2.0', id: 4, method: 'tools/call', params: { name: 'huge', arguments: {} } });
  const socket = connectSocket(server.app.port, '127.0.0.1');
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  socket.on('error', () => undefined);
  socket.pause();
  socket.write(
    `POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\nmcp-session-id: ${id}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
  // Only a write tells a paused socket that the other end is gone.
  const knock = setInterval(() => socket.write(' '), 50);
  await closed;
  clearInterval(knock);
  expect(socket.bytesRead).toBeLessThan(9_000_000);
  expect((await list(id)).status).toBe(200);
});

it('refuses bodies that are no message of the protocol, in words [verifies mcp.server.bounded]', async () => {
  const id = await begin();
  const more = { 'mcp-session-id': id };
  const many = Array.from({ length: 33 }, (_, n) => ({ jsonrpc: '2.0', id: n, method: 'ping' }));
  const statuses: [unknown, number][] = [
    ['{', 400],
    ['"text"', 400],
    [many, 400],
    [{ jsonrpc: '2.0', id: 1 }, 400],
    [{ jsonrpc: '1.0', id: 1, method: 'ping' }, 400],
    ['{"jsonrpc":"2.0","id":1,"method":"ping","__proto__":{"a":1}}', 400],
    [`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"probe","arguments":{"label":"${'x'.repeat(5_000_000)}"}}}`, 413],
  ];
  for (const [body, status] of statuses) expect((await post(body, more)).status, JSON.stringify(body).slice(0, 80)).toBe(status);
  expect((await post(initialize, { 'content-type': 'text/plain' })).status).toBe(415);
  expect((await post(initialize, { origin: 'https://evil.example' })).status).toBe(403);
  const unknown = await post({ jsonrpc: '2.0', id: 5, method: '__proto__' }, more);
  expect(await unknown.text()).toContain('-32601');
  expect((await fetch(`${server.app.url}/mcp`, { method: 'PUT', headers: more })).status).toBe(405);
});
