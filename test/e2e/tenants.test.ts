import { afterAll, beforeAll, expect, it } from 'vitest';
import { startTestServer, type TestServer } from './support/server.ts';
import { readStream } from './support/stream.ts';

let server: TestServer;
let stranger: Record<string, string>;
beforeAll(async () => {
  server = await startTestServer();
  const { body } = await server.call('POST', '/v1/keys', { name: 'b', tenant: 'b', scopes: ['runs', 'approvals', 'admin'] });
  stranger = { authorization: `Bearer ${body.secret}` };
  await server.agent('asking', { policy: { allow: ['*'], approve: ['fs_list'] } });
});
afterAll(() => server.close());

it('another tenant finds nothing of ours, by any path [verifies stream.tenant]', async () => {
  const sessionId = await server.session({ agent: 'asking' });
  const runId = await server.start({ sessionId, input: '[[sim tools=fs_list()]] [[sim say="over"]]' });
  await server.until(runId, 'waiting');
  const approvalId = (await server.call('GET', '/v1/approvals')).body.data[0].id;
  const before = await server.run(runId);

  const attempts: [string, string, unknown?][] = [
    ['GET', `/v1/sessions/${sessionId}`],
    ['DELETE', `/v1/sessions/${sessionId}`],
    ['POST', `/v1/sessions/${sessionId}/close`],
    ['GET', `/v1/sessions/${sessionId}/messages`],
    ['GET', `/v1/sessions/${sessionId}/files`],
    ['GET', `/v1/sessions/${sessionId}/files?run=${runId}`],
    ['GET', `/v1/sessions/${sessionId}/files/content?path=a.txt`],
    ['GET', `/v1/runs/${runId}`],
    ['GET', `/v1/runs/${runId}/events`],
    ['GET', `/v1/runs/${runId}/decisions`],
    ['POST', `/v1/runs/${runId}/cancel`],
    ['POST', `/v1/runs/${runId}/resume`],
    ['POST', `/v1/runs/${runId}/fork`, {}],
    ['POST', `/v1/runs/${runId}/replay`],
    ['GET', `/v1/approvals/${approvalId}`],
    ['POST', `/v1/approvals/${approvalId}`, { decision: 'approve' }],
    ['POST', '/v1/runs', { sessionId, input: 'x' }],
    ['POST', '/v1/agents/chat/stream', { sessionId, input: 'x' }],
    ['POST', '/v1/tools/fs_list/execute', { sessionId, input: {} }],
    ['GET', '/v1/agents/asking'],
    ['PUT', '/v1/budgets', { scope: { kind: 'tenant', id: 'default' }, unit: 'tokens', limit: 0 }],
  ];
  for (const [method, path, body] of attempts) {
    const answer = await server.call(method, path, body, stranger);
    expect([`${method} ${path}`, answer.status]).toEqual([`${method} ${path}`, 404]);
  }
  expect((await readStream(`${server.app.url}/v1/runs/${runId}/events`, { headers: stranger })).status).toBe(404);
  for (const path of [
    'sessions',
    'runs',
    `runs?sessionId=${sessionId}`,
    'approvals',
    'budgets?scope=tenant:default',
    `budgets?scope=run:${runId}`,
  ]) {
    const { status, body } = await server.call('GET', `/v1/${path}`, undefined, stranger);
    expect([path, status, body.data]).toEqual([path, 200, []]);
  }
  expect(await server.run(runId)).toEqual(before);
});

it('a key gives no more than its scopes, also not through another key', async () => {
  const make = async (scopes: string[]) => ({
    authorization: `Bearer ${(await server.call('POST', '/v1/keys', { name: 'k', scopes })).body.secret}`,
  });
  const runs = await make(['runs']);
  for (const [method, path, body] of [
    ['POST', '/v1/agents', { name: 'own', models: ['sim/sim-large'], policy: { allow: ['*'] } }],
    ['PUT', '/v1/budgets', { scope: { kind: 'tenant', id: 'default' }, unit: 'tokens', limit: 1 }],
    ['POST', '/v1/keys', { name: 'more', scopes: ['admin'] }],
    ['GET', '/v1/approvals', undefined],
    ['GET', '/metrics', undefined],
  ] as const)
    expect([path, (await server.call(method, path, body, runs)).status]).toEqual([path, 403]);
  const admin = await make(['admin']);
  expect((await server.call('POST', '/v1/keys', { name: 'x', tenant: 'elsewhere' }, admin)).status).toBe(403);
  expect((await server.call('POST', '/v1/keys', { name: 'x', tenant: 'default' }, stranger)).status).toBe(403);
});

it('an owner sees and revokes the keys of every tenant, and nobody else those of another [verifies keys.tenants]', async () => {
  const { body: made } = await server.call('POST', '/v1/keys', { name: 'lost', tenant: 'b', scopes: ['admin'] });
  const lost = { authorization: `Bearer ${made.secret}` };
  const mine = await server.call('POST', '/v1/keys', { name: 'ours', scopes: ['admin'] });
  const admin = { authorization: `Bearer ${mine.body.secret}` };
  const names = async (path: string, headers = {}) =>
    (await server.call('GET', path, undefined, headers)).body.data.map(({ name }: { name: string }) => name);
  expect(await names('/v1/keys?tenant=b')).toEqual(['b', 'lost']);
  expect(await names('/v1/keys')).not.toContain('lost');
  expect(await names('/v1/keys', lost)).toEqual(await names('/v1/keys?tenant=b', lost));
  expect(await server.call('GET', '/v1/keys?tenant=b', undefined, admin)).toMatchObject({
    status: 403,
    body: { detail: expect.stringContaining('this key is of tenant default') },
  });
  expect((await server.call('GET', '/v1/keys?tenant=default', undefined, lost)).status).toBe(403);
  for (const [id, headers] of [
    [made.id, admin],
    [mine.body.id, lost],
  ] as const)
    expect((await server.call('DELETE', `/v1/keys/${id}`, undefined, headers)).status).toBe(404);
  expect((await server.call('POST', '/v1/definitions/policies/import', {}, lost)).body).toMatchObject({
    code: 'policy_denied',
    detail: expect.stringContaining('nothing permits it: an owner may do it, and a policy of the operator can allow it'),
  });
  expect((await server.call('DELETE', `/v1/keys/${made.id}`)).status).toBe(204);
  expect((await server.call('GET', '/v1/keys', undefined, lost)).status).toBe(401);
});

it("the operator's administrators read metrics, which sum up everybody, and those of a tenant do not", async () => {
  const adminOf = async (tenant: string) => {
    const { secret } = (await server.call('POST', '/v1/keys', { name: 'k', tenant, scopes: ['admin'] })).body;
    return { authorization: `Bearer ${secret}` };
  };
  const ask = async (tenant: string) => server.call('GET', '/metrics', undefined, await adminOf(tenant));
  expect(await ask('acme')).toMatchObject({ status: 403, body: { code: 'policy_denied' } });
  expect((await ask('default')).status).toBe(200);
});

it('one idempotency key makes one run, however many ask at once, and says nothing to others', async () => {
  const ask = (headers: Record<string, string> = {}) =>
    server.call('POST', '/v1/runs', { input: '[[sim say="once"]]' }, { 'idempotency-key': 'same', ...headers });
  const answers = await Promise.all(Array.from({ length: 40 }, () => ask()));
  expect(new Set(answers.map(({ body }) => body.id)).size).toBe(1);
  const other = await ask(stranger);
  expect(other.status).toBe(202);
  expect(other.body.id).not.toBe(answers[0]?.body.id);
  const { body } = await server.call('POST', '/v1/keys', { name: 'c', scopes: ['runs'] });
  expect((await ask({ authorization: `Bearer ${body.secret}` })).status).toBe(409);
});
