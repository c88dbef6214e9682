import { connect } from 'node:net';
import { errorTable, Problem } from '@nexus-agent/protocol';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestPlatform, type TestPlatform } from '#apps/testing';
import { NexusError } from '#core';

let platform: TestPlatform;
beforeAll(async () => {
  platform = await startTestPlatform({ config: { limits: { bodyBytes: 5000 } } });
  await platform.agent('careful', { tools: ['fs_*'], policy: { allow: ['fs_*'], approve: ['fs_write'] } });
});
afterAll(() => platform.close());

const json = { 'content-type': 'application/json' };
const get = (path: string, init?: RequestInit) => fetch(platform.url + path, init);
const post = (path: string, body?: unknown, headers: Record<string, string> = {}) =>
  get(path, {
    method: 'POST',
    headers: { ...(body === undefined ? {} : json), ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });

async function problem(response: Response): Promise<Problem> {
  expect(response.headers.get('content-type')).toBe('application/problem+json');
  const body = Problem.parse(await response.json());
  expect(body.status).toBe(response.status);
  expect(errorTable[body.code].httpStatus).toBe(response.status);
  return body;
}

describe('problems', () => {
  it('answers an unknown path, a wrong method and a wrong id [verifies api.problem]', async () => {
    expect(await problem(await get('/v1/nothing'))).toMatchObject({ code: 'not_found' });
    const wrong = await get('/v1/sessions', { method: 'PATCH' });
    expect(wrong.headers.get('allow')).toBe('POST, GET, HEAD');
    expect(await problem(wrong)).toMatchObject({ code: 'method_not_allowed' });
    expect(await problem(await get('/v1/runs/x'))).toMatchObject({ code: 'not_found', detail: expect.stringContaining('run_') });
    expect(await problem(await get('/v1/runs/%'))).toMatchObject({ code: 'invalid_request' });
  });

  it('answers bodies that are too large, not JSON, poisoned or missing [verifies api.problem]', async () => {
    expect(await problem(await post('/v1/sessions', { metadata: { a: 'x'.repeat(6000) } }))).toMatchObject({ code: 'payload_too_large' });
    for (const body of ['{', '{"__proto__":{"a":1}}', '[1', 'nul']) {
      expect(await problem(await get('/v1/sessions', { method: 'POST', headers: json, body })), body).toMatchObject({
        code: 'invalid_request',
      });
    }
    expect(await problem(await post('/v1/runs'))).toMatchObject({ code: 'invalid_request', detail: expect.stringContaining('JSON body') });
    expect(await problem(await get('/v1/runs', { method: 'POST', headers: json, body: '' }))).toMatchObject({ code: 'invalid_request' });
  });

  it('names the path, what was there and what would be right', async () => {
    const body = await problem(await post('/v1/sessions', { agnt: 'a', budget: { tokens: 'many', cost: 1 } }));
    expect(body.details?.issues).toEqual([
      { path: 'budget.tokens', message: 'expected number, got "many"' },
      { path: 'budget.cost', message: 'unknown field; known fields are costMicroUsd, tokens, toolCalls, wallMs' },
      { path: 'agnt', message: 'unknown field; did you mean "agent"?' },
    ]);
    expect((await problem(await post('/v1/runs', { input: 5 }))).detail).toContain('input: expected string or array, got 5');
    expect((await problem(await post('/v1/runs', {}))).detail).toContain('missing');
    expect((await problem(await post('/v1/runs', { input: [{ type: 'text', text: 1 }] }))).detail).toContain(
      'input[0].text: expected string, got 1',
    );
  });

  it('bounds the limit of a page and refuses unknown parameters', async () => {
    for (const query of ['limit=0', 'limit=201', 'limit=x', 'limti=5', 'limit=1&limit=2', 'cursor=']) {
      expect(await problem(await get(`/v1/sessions?${query}`)), query).toMatchObject({ code: 'invalid_request' });
    }
    expect((await get('/v1/sessions?limit=200')).status).toBe(200);
  });

  it('refuses a NUL in a query, which no database is asked for', async () => {
    for (const query of ['agent=%00', 'cursor=a%00b', '%00=x', 'limit=%00'])
      expect(await problem(await get(`/v1/runs?${query}`)), query).toMatchObject({
        code: 'invalid_request',
        detail: expect.stringContaining('U+0000'),
      });
  });

  it('gives an unknown error an id and keeps its cause to the log [verifies api.problem]', async () => {
    const mend = platform.faults.fail('commit', new Error('secret internals'));
    const response = await post('/v1/runs', { input: 'hello' });
    mend();
    const body = await problem(response);
    expect(body).toMatchObject({ code: 'internal', details: { errorId: expect.stringMatching(/^err_/) } });
    expect(JSON.stringify(body)).not.toContain('secret internals');
    expect(platform.logs.find(({ fields }) => fields.errorId === body.details?.errorId)).toMatchObject({
      level: 'error',
      fields: { err: { message: 'secret internals' } },
    });
  });

  it('says when to try again', async () => {
    const mend = platform.faults.fail('listRuns', new NexusError('unavailable', 'too much to do', { retryAfterMs: 1500 }));
    const response = await get('/v1/runs');
    mend();
    expect(response.headers.get('retry-after')).toBe('2');
    expect(await problem(response)).toMatchObject({ code: 'unavailable', retryable: true });
  });

  it('refuses by budget and policy before a byte is streamed', async () => {
    const path = '/v1/agents/chat/stream';
    const session = (await (await post('/v1/sessions', { budget: { tokens: 10 } })).json()) as { id: string };
    const refused = await problem(await post(path, { input: 'hello', sessionId: session.id }));
    const scope = { kind: 'session', id: session.id };
    expect(refused).toMatchObject({ code: 'budget_exceeded', details: { scope, unit: 'tokens', limit: 10, available: 10 } });
    expect(refused.details?.asked).toBeGreaterThan(10);
    const unlisted = { input: 'hello', model: 'sim-anthropic/sim-small' };
    expect(await problem(await post(path, unlisted))).toMatchObject({ code: 'policy_denied', details: { decisionId: expect.any(String) } });
  });

  it('answers what is not HTTP', async () => {
    const answer = await new Promise<string>((resolve, reject) => {
      const socket = connect(platform.port, '127.0.0.1', () => socket.write('NONSENSE\r\n\r\n'));
      let text = '';
      socket.on('data', (chunk) => {
        text += String(chunk);
      });
      socket.on('end', () => resolve(text));
      socket.on('error', reject);
    });
    expect(answer).toMatch(/^HTTP\/1\.1 400 .*application\/problem\+json/s);
  });
});

describe('every answer', () => {
  it('carries a request id, the given one where it is sane', async () => {
    expect((await get('/healthz')).headers.get('x-request-id')).toMatch(/^req_/);
    expect((await get('/healthz', { headers: { 'x-request-id': 'mine-1' } })).headers.get('x-request-id')).toBe('mine-1');
    expect((await get('/healthz', { headers: { 'x-request-id': 'bad id <x>' } })).headers.get('x-request-id')).toMatch(/^req_/);
    const failed = await get('/v1/nothing', { headers: { 'x-request-id': 'mine-2' } });
    expect((await problem(failed)).instance).toBe('mine-2');
  });

  it('forbids sniffing and caching and opens nothing to other origins', async () => {
    const { headers } = await get('/v1/sessions');
    expect(headers.get('x-content-type-options')).toBe('nosniff');
    expect(headers.get('cache-control')).toBe('no-store');
    expect([...headers.keys()].filter((name) => name.startsWith('access-control'))).toEqual([]);
  });

  it('is counted by its route pattern', async () => {
    const labels = { http_request_method: 'GET', http_route: '/v1/runs/{run}', http_response_status_code: '404' };
    const counted = () => platform.metric('http_server_request_duration_seconds_count', labels);
    const before = await counted();
    await (await get('/v1/runs/run_01h455vb4pex5vsknk084sn02q')).text();
    await expect.poll(counted, { timeout: 15_000 }).toBe(before + 1);
  });
});

describe('idempotency keys', () => {
  const key = { 'idempotency-key': 'k-1' };

  it('give the first answer again, and say so', async () => {
    for (const [path, body] of [
      ['/v1/sessions', { metadata: { a: '1' } }],
      ['/v1/runs', { input: 'hi' }],
      ['/v1/keys', { name: 'k' }],
    ] as const) {
      const headers = { 'idempotency-key': `again ${path}`.replace(' ', '-') };
      const first = await post(path, body, headers);
      const second = await post(path, body, headers);
      expect(first.headers.get('idempotent-replayed')).toBeNull();
      expect(second.headers.get('idempotent-replayed')).toBe('true');
      expect(second.status).toBe(first.status);
      expect(((await second.json()) as { id: string }).id).toBe(((await first.json()) as { id: string }).id);
    }
  });

  it('conflict when the request is another', async () => {
    await post('/v1/sessions', {}, key);
    expect(await problem(await post('/v1/sessions', { agent: 'chat' }, key))).toMatchObject({ code: 'idempotency_conflict' });
  });

  it('must be sane', async () => {
    for (const bad of ['', 'a b', 'x'.repeat(256)]) {
      expect(await problem(await post('/v1/sessions', {}, { 'idempotency-key': bad })), bad).toMatchObject({ code: 'invalid_request' });
    }
  });
});

describe('resources', () => {
  it('creates a session without a body, shows, lists, closes and deletes it', async () => {
    const created = await post('/v1/sessions');
    expect(created.status).toBe(201);
    const { id } = (await created.json()) as { id: string };
    expect(await (await get(`/v1/sessions/${id}`)).json()).toMatchObject({ id, status: 'active', agent: 'chat', budget: { limit: {} } });
    const page = (await (await get('/v1/sessions?limit=1')).json()) as { data: unknown[]; nextCursor: string };
    expect(page.data).toHaveLength(1);
    expect((await get(`/v1/sessions?cursor=${page.nextCursor}`)).status).toBe(200);
    expect((await post(`/v1/sessions/${id}/close`)).status).toBe(204);
    expect(await (await get(`/v1/sessions/${id}`)).json()).toMatchObject({ status: 'closed' });
    expect((await get(`/v1/sessions/${id}`, { method: 'DELETE' })).status).toBe(204);
    expect(await problem(await get(`/v1/sessions/${id}`))).toMatchObject({
      code: 'not_found',
      detail: expect.stringContaining('retention.sessionsDays'),
    });
  });

  it('drives a run: start, events, decisions, replay, fork, cancel', async () => {
    const started = await post('/v1/runs', { input: 'hello' });
    expect(started.status).toBe(202);
    const { id } = (await started.json()) as { id: string };
    const { lastSeq } = await platform.until(id, 'completed');
    const events = (await (await get(`/v1/runs/${id}/events?limit=2&after=1`)).json()) as { data: { seq: number }[]; nextCursor: string };
    expect(events).toMatchObject({ data: [{ seq: 2 }, { seq: 3 }], nextCursor: '3' });
    const rest = (await (await get(`/v1/runs/${id}/events?cursor=3`)).json()) as { data: { seq: number }[]; nextCursor: null };
    expect(rest.data.map(({ seq }) => seq)).toEqual(Array.from({ length: lastSeq - 3 }, (_, index) => index + 4));
    expect(rest).toMatchObject({ data: expect.arrayContaining([expect.objectContaining({ type: 'run.completed' })]), nextCursor: null });
    expect(await (await get(`/v1/runs/${id}/decisions`)).json()).toMatchObject({
      data: expect.arrayContaining([expect.objectContaining({ action: 'run.start', effect: 'allow' })]),
    });
    expect(await (await post(`/v1/runs/${id}/replay`)).json()).toMatchObject({ events: lastSeq, matches: true });
    expect((await post(`/v1/runs/${id}/fork`, { model: 'sim/sim-large' })).status).toBe(202);
    expect(await problem(await post(`/v1/runs/${id}/fork`, { model: 'sim/sim-small' }))).toMatchObject({ code: 'policy_denied' });
    expect(await problem(await post(`/v1/runs/${id}/resume`))).toMatchObject({ code: 'conflict' });
    expect(await (await post(`/v1/runs/${id}/cancel`, { reason: 'enough' })).json()).toMatchObject({ status: 'completed' });
    expect(await (await get('/v1/runs?status=completed')).json()).toMatchObject({
      data: expect.arrayContaining([expect.objectContaining({ id })]),
    });
    expect(await problem(await get('/v1/runs?status=done'))).toMatchObject({ code: 'invalid_request' });
  });

  it('answers an approval once', async () => {
    const input = '[[sim tools=fs_write(path="a.txt",content="hello")]] [[sim say="{{result}}"]]';
    const runId = await platform.start({ agent: 'careful', input });
    const { waitingFor } = await platform.until(runId, 'waiting');
    const { data } = (await (await get('/v1/approvals?status=pending')).json()) as { data: { id: string }[] };
    expect(data.map(({ id }) => id)).toEqual(waitingFor?.approvals);
    const path = `/v1/approvals/${data[0]?.id}`;
    expect(await problem(await post(path, { decision: 'yes' }))).toMatchObject({ detail: expect.stringContaining('"approve"') });
    const edited = { path: 'b.txt', content: 'hello' };
    const decided = { status: 'decided', decision: 'approve', decidedBy: 'local' };
    expect(await (await post(path, { decision: 'approve', arguments: edited })).json()).toMatchObject({ ...decided, arguments: edited });
    expect(await problem(await post(path, { decision: 'deny' }))).toMatchObject({ code: 'conflict' });
    expect((await platform.until(runId, 'completed')).output).toContain('b.txt');
    expect((await platform.events(runId)).find(({ type }) => type === 'tool.started')?.data).toMatchObject({ input: edited });
  });

  it('lists agents, tools, models, budgets, usage; stores agents and budgets; runs a tool; makes and revokes keys', async () => {
    for (const path of [
      '/v1/agents',
      '/v1/agents/chat',
      '/v1/tools',
      '/v1/models',
      '/v1/budgets',
      '/v1/budgets?scope=session:s',
      '/v1/usage?days=7',
      '/v1/keys',
    ]) {
      expect((await get(path)).status, path).toBe(200);
    }
    expect((await post('/v1/agents', { name: 'helper', models: ['sim/sim-small'] })).status).toBe(201);
    const budget = { scope: { kind: 'user', id: 'somebody' }, unit: 'tokens', limit: 5 };
    expect(await (await get('/v1/budgets', { method: 'PUT', headers: json, body: JSON.stringify(budget) })).json()).toMatchObject({
      window: 'total',
      limit: 5,
    });
    expect((await post('/v1/budgets', budget)).status).toBe(200);
    const session = (await (await post('/v1/sessions')).json()) as { id: string };
    const execute = async (tool: string, input: object) =>
      (await post(`/v1/tools/${tool}/execute`, { sessionId: session.id, input })).json();
    expect(await execute('fs_write', { path: 'x', content: 'said before' })).toMatchObject({ status: 'ok' });
    expect(await execute('fs_read', { path: 'x' })).toMatchObject({ status: 'ok', output: expect.stringContaining('said before') });
    expect(await problem(await post('/v1/tools/nope/execute', { sessionId: session.id }))).toMatchObject({ code: 'tool_not_found' });
    const key = (await (await post('/v1/keys', { name: 'ops' })).json()) as { id: string; secret: string };
    expect(key.secret).toMatch(/^nx_/);
    expect((await get(`/v1/keys/${key.id}`, { method: 'DELETE' })).status).toBe(204);
    expect(await problem(await post('/v1/keys', { name: 'old', expiresAt: '2020-01-01T00:00:00Z' }))).toMatchObject({
      code: 'invalid_request',
    });
  });
});

describe('operations', () => {
  it('tells life from readiness', async () => {
    expect((await get('/readyz')).status).toBe(200);
    const mend = platform.faults.fail('listSessions', new Error('the connection was lost'));
    const refused = await get('/readyz');
    expect(refused.headers.get('retry-after')).toBe('1');
    expect(await problem(refused)).toMatchObject({ code: 'unavailable', detail: expect.stringContaining('database') });
    expect(await (await get('/healthz')).json()).toEqual({ status: 'ok', version: '0.0.0-test' });
    mend();
    expect((await get('/readyz')).status).toBe(200);
  });

  it('shows metrics and a page of documentation that needs no network', async () => {
    expect(await (await get('/metrics')).text()).toMatch(/^nexus_streams_open 0$/m);
    const page = await (await get('/docs')).text();
    expect(await (await get('/')).text()).toBe(page);
    expect(page).toContain('/v1/runs/{run}/fork');
    expect(page).not.toMatch(/<script|src=|https?:\/\/(?!json-schema)/);
  });

  it('answers HEAD where it answers GET, but never starts a stream by it', async () => {
    expect((await get('/healthz', { method: 'HEAD' })).status).toBe(200);
    expect((await get('/v1/agents/chat/stream', { method: 'HEAD' })).status).toBe(405);
  });

  it('serves ApacheBench: HTTP/1.0, a content type of its own before the one asked for, answers of equal length [verifies api.ab]', async () => {
    const lengths = new Set<number>();
    for (let index = 0; index < 5; index++) {
      const text = await new Promise<string>((resolve, reject) => {
        let received = '';
        const socket = connect(platform.port, '127.0.0.1', () =>
          socket.write(
            'POST /v1/sessions HTTP/1.0\r\nHost: localhost:8080\r\nContent-type: text/plain\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}',
          ),
        );
        socket.on('data', (chunk) => {
          received += String(chunk);
        });
        socket.on('end', () => resolve(received));
        socket.on('error', reject);
      });
      expect(text).toContain('201 Created');
      lengths.add(text.length);
    }
    expect(lengths.size).toBe(1);
  });
});
