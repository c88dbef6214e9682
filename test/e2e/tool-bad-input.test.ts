import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startTestServer, type TestServer } from './support/server.ts';

let server: TestServer;
let api: Server;
let baseUrl: string;

beforeAll(async () => {
  api = createServer((request, response) => {
    if (request.url === '/hangs') return;
    response.writeHead(200, { 'content-type': 'application/json' }).end('{"price": 12,');
  });
  await new Promise<void>((resolve) => api.listen(0, '127.0.0.1', resolve));
  const { port } = api.address() as AddressInfo; // it listens on a port
  baseUrl = `http://127.0.0.1:${port}`;
  server = await startTestServer({ config: { httpFetch: { allowPrivate: [`127.0.0.1:${port}`] } } });
  await server.agent('buyer', { tools: ['fs_list', 'shop_*'], policy: { allow: ['fs_list', 'shop_*', 'net:127.0.0.1'] } });
});
afterAll(async () => {
  await server.close();
  api.closeAllConnections();
  await new Promise((resolve) => api.close(resolve));
});

const put = (tools: readonly object[]) =>
  server.call('PUT', '/v1/tool-sources/http/shop', {
    name: 'shop',
    baseUrl,
    tools: tools.map((tool) => ({ description: 'of a shop', ...tool })),
  });
const execute = async (tool: string, input: object = {}) =>
  server.call('POST', `/v1/tools/${encodeURIComponent(tool)}/execute`, { sessionId: await server.session({ agent: 'buyer' }), input });
const tools = async () => (await server.call('GET', '/v1/tools')).body.data.map(({ name }: { name: string }) => name);

it('says of a name that no tool can have where it stands and what would be right, and changes nothing [verifies tools.bad-input]', async () => {
  expect((await put([{ name: 'shop_find', path: '/find', timeoutMs: 2_000 }])).status).toBeLessThan(300);
  const before = await tools();
  const refused = await put([
    { name: 'shop_find', path: '/find' },
    { name: 'shop_查询', path: '/other' },
  ]);
  expect(refused.status).toBe(400);
  expect(refused.body).toMatchObject({ code: 'invalid_request' });
  expect(JSON.stringify(refused.body.details.issues)).toMatch(/tools(\.|\[)1.*name/);
  expect(refused.body.detail).toMatch(/A-Z ?a-z ?0-9|characters/i);
  const worker = await server.call('PUT', '/v1/tool-sources/http/商店', { name: '商店', baseUrl, tools: [] });
  expect([400, 404]).toContain(worker.status);
  expect(await tools()).toEqual(before);
});

it('says which tools there are where one is not, and what is wrong with arguments [verifies tools.bad-input]', async () => {
  expect((await execute('查询')).body).toMatchObject({
    code: 'not_found',
    detail: 'there is no tool "查询"; names have 1 to 100 of the characters A-Z a-z 0-9 _ . -',
  });
  expect((await execute('nope')).body).toMatchObject({ code: 'tool_not_found', detail: expect.stringMatching(/offered: .*fs_list/) });
  const wrong = (await execute('fs_list', { path: 7 })).body;
  expect(JSON.stringify(wrong)).toMatch(/tool_input_invalid.*path/);
});

it('says of an answer that is no JSON what it was, and ends a call that nobody answers [verifies tools.bad-input]', async () => {
  const output = { outputSchema: { type: 'object', properties: { price: { type: 'number' } } } };
  await put([
    { name: 'shop_find', path: '/find', ...output },
    { name: 'shop_hangs', path: '/hangs', timeoutMs: 1_000 },
  ]);
  expect((await execute('shop_find')).body).toMatchObject({
    status: 'error',
    error: { code: 'tool_failed', message: expect.stringMatching(/JSON/), details: { reason: 'answer' } },
  });
  expect((await execute('shop_hangs')).body).toMatchObject({
    status: 'error',
    error: { code: 'tool_timeout', message: expect.stringMatching(/shop_hangs did not finish within 1000 ms/) },
  });
  expect((await execute('fs_list')).body).toMatchObject({ status: 'ok' });
});
