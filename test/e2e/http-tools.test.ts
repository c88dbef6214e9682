import { createServer, type Server } from 'node:http';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { createKeptLog } from '../../packages/server/src/apps/testing/index.ts';
import { one, startTestServer, type TestServer, tenant } from './support/server.ts';

const secret = 'gh-3c91f7ae20b54d68';
const log = createKeptLog();
let server: TestServer;
let api: Server;
let baseUrl: string;
let reached: { method: string; url: string; authorization: string | undefined; key: string | undefined; body: string }[];
/** Answers a request for an issue; false: the connection is closed instead. */
let answers = true;
let stranger: Record<string, string>;

beforeAll(async () => {
  api = createServer(async (request, response) => {
    let body = '';
    for await (const piece of request) body += piece;
    const { authorization, 'idempotency-key': key } = request.headers;
    reached.push({
      method: request.method ?? '',
      url: request.url ?? '',
      authorization,
      key: key === undefined ? undefined : String(key),
      body,
    });
    if (!answers) return request.socket.destroy();
    response.writeHead(request.method === 'POST' ? 201 : 200, { 'content-type': 'application/json' });
    return response.end(JSON.stringify({ number: 7, title: 'it leaks', seen: authorization, html: 'x' }));
  });
  await new Promise<void>((resolve) => api.listen(0, '127.0.0.1', resolve));
  const address = api.address();
  const port = typeof address === 'object' ? address?.port : 0;
  baseUrl = `http://127.0.0.1:${port}`;
  server = await startTestServer({
    logger: log.logger,
    config: {
      httpFetch: { allowPrivate: [`127.0.0.1:${port}`] },
      secrets: { TRACKER: secret, OTHER: 'other-9d1e55c07b' },
      secretGrants: [{ secret: 'TRACKER', tenant: 'b', hosts: [`127.0.0.1:${port}`] }],
      policy: { tenants: { allow: ['*', 'net:*', 'secret:*'] } },
    },
  });
  await server.agent('tracking', { policy: { allow: ['tracker_*', 'net:127.0.0.1', 'secret:TRACKER'], approve: ['tracker_open'] } });
  const { body } = await server.call('POST', '/v1/keys', { name: 'b', tenant: 'b', scopes: ['runs', 'approvals', 'admin', 'tools'] });
  stranger = { authorization: `Bearer ${body.secret}` };
});
beforeEach(() => {
  reached = [];
  answers = true;
});
afterAll(async () => {
  await server.verifyRuns();
  await server.close();
  api.closeAllConnections();
  await new Promise((resolve) => api.close(resolve));
});

const source = (changes: object = {}) => ({
  name: 'tracker',
  baseUrl,
  auth: { type: 'bearer', token: 'secret:TRACKER' },
  tools: [
    { name: 'tracker_get', description: 'an issue', path: '/issues/{number}', response: { pick: ['number', 'title', 'seen'] } },
    {
      name: 'tracker_open',
      description: 'opens an issue',
      method: 'POST',
      path: '/issues',
      body: { type: 'json', fields: { title: 'title' } },
    },
  ],
  ...changes,
});
const path = '/v1/tool-sources/http/tracker';

it('is put, shown, listed and deleted, and its tools come and go with it [verifies tools.sources.followed]', async () => {
  const names = async () => (await server.call('GET', '/v1/tools')).body.data.map(({ name }: { name: string }) => name);
  const before = await names();
  const { status, body } = await server.call('PUT', path, source());
  expect([status, body.kind, body.name, body.tools, body.warnings]).toEqual([200, 'http', 'tracker', 2, undefined]);
  expect((await server.call('GET', path)).body).toMatchObject({
    version: body.version,
    definition: { auth: { token: 'secret:TRACKER' }, redirects: 'same-origin' },
  });
  expect((await server.call('GET', '/v1/tool-sources/http')).body).toMatchObject({
    data: [{ name: 'tracker', tools: 2 }],
    nextCursor: null,
  });
  expect(await names()).toEqual([...before, 'tracker_get', 'tracker_open']);
  expect((await server.call('GET', '/v1/tools')).body.data.at(-1)).toMatchObject({
    source: 'http:tracker',
    tier: 'remote',
    effects: 'once',
  });
  expect((await server.call('PUT', path, source())).body.version).toBe(body.version);
  expect((await server.call('DELETE', path)).status).toBe(204);
  expect(await names()).toEqual(before);
  for (const method of ['GET', 'DELETE']) expect((await server.call(method, path)).body.code).toBe('not_found');
  expect((await server.call('PUT', '/v1/tool-sources/http/other', source())).body).toMatchObject({
    code: 'invalid_request',
    detail: expect.stringContaining('"tracker"'),
  });
});

it('is called by an agent, each call under policy and within its budget [verifies tools.http.egress tools.http.secrets]', async () => {
  await server.call('PUT', path, source());
  const { run, events } = await server.finish({
    agent: 'tracking',
    input: '[[sim tools=tracker_get(number="7")]] [[sim say="{{result}}"]]',
  });
  expect(run.status).toBe('completed');
  expect(run.output).toMatch(/^\{"number":7,"title":"it leaks","seen":"Bearer .*\}$/);
  expect(reached).toMatchObject([{ method: 'GET', url: '/issues/7', authorization: `Bearer ${secret}` }]);
  const { items } = await server.app.store.listDecisions(tenant, { runId: run.id as never }, { limit: 100 }); // the run's own id
  expect(items.map(({ action, effect }) => `${action} ${effect}`)).toEqual(
    expect.arrayContaining(['tool.execute allow', 'net.egress allow', 'secret.use allow']),
  );
  // Neither in the journal, nor in what models are told, nor in a log.
  for (const told of [events, log.lines, (await server.call('GET', '/v1/tools')).body, (await server.call('GET', path)).body])
    expect(JSON.stringify(told)).not.toContain(secret);

  await server.agent('no-secret', { policy: { allow: ['tracker_*', 'net:127.0.0.1'] } });
  const denied = await server.finish({ agent: 'no-secret', input: '[[sim tools=tracker_get(number="7")]] [[sim say="{{result}}"]]' });
  expect(denied.run.output).toMatch(/policy_denied|denied/);
  const broke = await server.finish({
    agent: 'tracking',
    budget: { toolCalls: 1 },
    input: '[[sim tools=tracker_get(number="8")]] [[sim tools=tracker_get(number="9")]] [[sim say="over"]]',
  });
  expect(broke.run.status).not.toBe('completed');
  expect(reached.map(({ url }) => url)).toEqual(['/issues/7', '/issues/8']);
});

it('waits for a person where policy says so, and sends one request with the key of its call [verifies tools.http.effects]', async () => {
  await server.call('PUT', path, source());
  const runId = await server.start({ agent: 'tracking', input: '[[sim tools=tracker_open(title="it leaks")]] [[sim say="opened"]]' });
  await server.until(runId, 'waiting');
  expect(reached).toEqual([]);
  const { approvalId } = one(await server.events(runId), 'approval.requested').data;
  await server.call('POST', `/v1/approvals/${approvalId}`, { decision: 'approve' });
  expect((await server.until(runId, 'completed')).output).toBe('opened');
  expect(reached).toMatchObject([{ method: 'POST', url: '/issues', body: '{"title":"it leaks"}' }]);
  expect(reached[0]?.key).toMatch(/./);
});

it('asks a person what became of a request whose answer was lost [verifies tools.http.outcome]', async () => {
  await server.call('PUT', path, source());
  await server.agent('opening', { policy: { allow: ['tracker_*', 'net:127.0.0.1', 'secret:TRACKER'] } });
  answers = false;
  const runId = await server.start({ agent: 'opening', input: '[[sim tools=tracker_open(title="x")]] [[sim say="{{result}}"]]' });
  await server.until(runId, 'waiting');
  const { approvalId, kind } = one(await server.events(runId), 'approval.requested').data;
  expect(kind).toBe('unknown_outcome');
  expect(reached.length).toBe(1);
  await server.call('POST', `/v1/approvals/${approvalId}`, { decision: 'done', result: 'issue 7' });
  expect((await server.until(runId, 'completed')).output).toBe('issue 7');
  expect(reached.length).toBe(1);
});

it('belongs to its tenant, and so do the secrets but for what was granted [verifies tools.secrets.granted tools.sources.followed]', async () => {
  await server.call('PUT', path, source());
  const list = async () =>
    (await server.call('GET', '/v1/tools', undefined, stranger)).body.data.filter((tool: { source: string }) =>
      tool.source.startsWith('http:'),
    );
  expect(await list()).toEqual([]);
  expect((await server.call('GET', path, undefined, stranger)).status).toBe(404);
  expect((await server.call('DELETE', path, undefined, stranger)).status).toBe(404);

  const mine = await server.call('PUT', path, source(), stranger);
  expect([mine.status, mine.body.warnings]).toEqual([200, undefined]);
  expect((await list()).length).toBe(2);
  const stolen = await server.call(
    'PUT',
    '/v1/tool-sources/http/stolen',
    source({
      name: 'stolen',
      auth: { type: 'bearer', token: 'secret:OTHER' },
      tools: [{ name: 'steal', description: 'x', path: '/steal' }],
    }),
    stranger,
  );
  expect(stolen.body.warnings).toEqual([expect.stringMatching(/there is no secret OTHER/)]);
  const elsewhere = await server.call(
    'PUT',
    '/v1/tool-sources/http/else',
    source({ name: 'else', baseUrl: 'https://evil.example', tools: [{ name: 'elsewhere', description: 'x', path: '/' }] }),
    stranger,
  );
  expect(elsewhere.body.warnings).toEqual([expect.stringMatching(/there is no secret TRACKER that may be sent to evil\.example/)]);

  await server.call(
    'POST',
    '/v1/agents',
    { name: 'theirs', models: ['sim/sim-large'], tools: ['*'], policy: { allow: ['*', 'net:*', 'secret:*'] } },
    stranger,
  );
  const session = (await server.call('POST', '/v1/sessions', { agent: 'theirs' }, stranger)).body.id;
  const run = (tool: string, input: object) => server.call('POST', `/v1/tools/${tool}/execute`, { sessionId: session, input }, stranger);
  expect((await run('tracker_get', { number: '7' })).body).toMatchObject({ status: 'ok' });
  for (const tool of ['steal', 'elsewhere'])
    expect((await run(tool, {})).body).toMatchObject({ status: 'error', error: { code: 'tool_failed', details: { reason: 'secret' } } });
  expect(reached).toMatchObject([{ url: '/issues/7', authorization: `Bearer ${secret}` }]);
});

it('is administered by those whom policy lets, and says so of a tool that others have', async () => {
  const { body } = await server.call('POST', '/v1/keys', { name: 'reader', scopes: ['runs'] });
  const reader = { authorization: `Bearer ${body.secret}` };
  for (const [method, where] of [
    ['GET', '/v1/tool-sources/http'],
    ['GET', path],
    ['DELETE', path],
  ] as const)
    expect((await server.call(method, where, undefined, reader)).body.code).toBe('forbidden');
  const taken = source({ tools: [{ name: 'shell', description: 'x', path: '/' }] });
  expect((await server.call('PUT', path, taken)).body.warnings).toEqual([expect.stringMatching(/theirs are used: shell/)]);
  expect((await server.call('PUT', path, source({ tools: [{ name: '查询', description: 'x', path: '/a' }] }))).body).toMatchObject({
    code: 'invalid_request',
    detail: expect.stringMatching(/for instance "get_a"/),
  });
});
