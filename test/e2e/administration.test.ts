import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { one, startTestServer, type TestServer, tenant } from './support/server.ts';
import { createProbe } from './support/tools.ts';

const policies = `
@id("owners-administer")
forbid (principal, action in Action::"admin", resource)
unless { principal.roles.contains("owner") || principal.roles.contains("clerk") };
@id("clerks-make-no-leads")
forbid (principal, action == Action::"admin.keys", resource)
when { principal.roles.contains("clerk") && context.arguments has roles && context.arguments.roles.contains("lead") };
@id("clerks-spend-little")
forbid (principal, action == Action::"admin.budgets", resource)
when { principal.roles.contains("clerk") && context.arguments has limit && context.arguments.limit > 1000 };
@id("the-tenant-is-nobodys")
forbid (principal, action == Action::"admin.budgets", resource)
when { principal.roles.contains("clerk") && context.arguments has scope && context.arguments.scope like "tenant:*" };
@id("kept")
forbid (principal, action == Action::"session.delete", resource)
when { resource has user && resource.user == "kept" } unless { principal.roles.contains("lead") };
@id("lead-only") @obligation("require_approval:role=lead")
permit (principal is Agent, action == Action::"tool.execute", resource is Tool) when { resource.name == "probe" };`;

const dataDir = mkdtempSync(join(tmpdir(), 'nexus-e2e-admin-'));
const probe = createProbe();
let server: TestServer;
beforeAll(async () => {
  mkdirSync(join(dataDir, 'policies'));
  writeFileSync(join(dataDir, 'policies', 'operator.cedar'), policies);
  server = await startTestServer({ dataDir, tools: probe.tools });
  await server.agent('asking', { policy: {} });
});
afterAll(async () => {
  await server.close();
  rmSync(dataDir, { recursive: true, force: true });
});

type Headers = Record<string, string>;
async function key(body: Record<string, unknown>): Promise<Headers> {
  const answer = await server.call('POST', '/v1/keys', { name: 'k', ...body });
  expect(answer.status).toBe(201);
  return { authorization: `Bearer ${answer.body.secret}` };
}
const decisions = async (action: string) =>
  (await server.app.store.listDecisions(tenant, {}, { limit: 1_000 })).items.filter((row) => row.action === action);

describe('administration is decided by policy', () => {
  it('on what a limit is of, also where it is taken away [verifies policy.arguments.actual]', async () => {
    const clerk = await key({ scopes: ['admin'], roles: ['clerk'] });
    const limit = { scope: { kind: 'tenant', id: 'default' }, unit: 'tokens', limit: 1_000 };
    expect((await server.call('PUT', '/v1/budgets', limit, clerk)).status).toBe(403);
    expect((await server.call('DELETE', '/v1/budgets?scope=tenant:default&unit=tokens', undefined, clerk)).status).toBe(403);
    expect((await server.call('DELETE', '/v1/budgets?scope=user:ida&unit=tokens', undefined, clerk)).status).not.toBe(403);
  });

  it('on every route that needs the scope admin; what is refused is not done [verifies policy.asked]', async () => {
    const admin = await key({ scopes: ['admin'] });
    const limited = await key({ scopes: ['runs', 'approvals'] });
    const { body: document } = await server.call('GET', '/openapi.json');
    const before = await server.call('GET', '/v1/keys');
    const agent = { name: 'new-agent', models: ['sim/sim-large'] };
    const samples: Record<string, unknown> = {
      putAgent: agent,
      setBudget: { scope: { kind: 'user', id: 'ada' }, unit: 'tokens', limit: 5 },
      setBudgetByPost: { scope: { kind: 'user', id: 'ada' }, unit: 'tokens', limit: 5 },
      createKey: { name: 'mine' },
      putPlugin: { package: 'AAAA' },
      putPluginKey: { publicKey: `${'A'.repeat(43)}=`, name: 'k' },
      putMcpServer: { transport: { type: 'http', url: 'https://x.example/mcp' } },
      putHttpToolSource: { name: 'x', baseUrl: 'https://x.example', tools: [{ name: 'x', description: 'x', path: '/' }] },
    };
    const asked: string[] = [];
    for (const [path, methods] of Object.entries<Record<string, { operationId: string }>>(document.paths)) {
      for (const [method, { operationId }] of Object.entries(methods)) {
        const query = operationId === 'removeBudget' ? '?scope=user:ada&unit=tokens' : '';
        const url = `${path.replace('{key}', 'key_01h455vb4pex5vsknk084sn02q').replace(/\{\w+\}/g, 'x')}${query}`;
        const body = method === 'get' ? undefined : (samples[operationId] ?? {});
        const without = await server.call(method.toUpperCase(), url, body, limited);
        if (without.body?.detail?.includes('lacks the scope "admin"') !== true) continue;
        const answer = await server.call(method.toUpperCase(), url, body, admin);
        expect([operationId, answer.status, answer.body.code]).toEqual([operationId, 403, 'policy_denied']);
        expect(answer.body.details.reasons).toEqual(['operator:operator.cedar:owners-administer']);
        asked.push(operationId);
      }
    }
    expect(asked).toEqual(
      expect.arrayContaining([
        'putAgent',
        'setBudget',
        'setBudgetByPost',
        'createKey',
        'listKeys',
        'revokeKey',
        'metrics',
        'putHttpToolSource',
        'deleteHttpToolSource',
      ]),
    );
    expect((await server.call('GET', '/v1/keys')).body.data).toHaveLength(before.body.data.length);
    expect((await server.call('GET', '/v1/agents/new-agent')).status).toBe(404);
    expect((await server.call('GET', '/v1/budgets?scope=user:ada')).body.data).toEqual([]);
  });

  it('on what the request says, and recorded before it is done [verifies policy.asked policy.arguments.actual]', async () => {
    const clerk = await key({ scopes: ['admin'], roles: ['clerk'] });
    const set = (limit: number) => server.call('PUT', '/v1/budgets', { scope: { kind: 'user', id: 'bob' }, unit: 'tokens', limit }, clerk);
    expect((await set(1_001)).body).toMatchObject({
      code: 'policy_denied',
      details: { reasons: ['operator:operator.cedar:clerks-spend-little'] },
    });
    expect((await set(1_000)).body).toMatchObject({ limit: 1_000 });
    const made = (roles: string[]) => server.call('POST', '/v1/keys', { name: 'x', roles }, clerk);
    for (const role of ['lead', 'LEAD']) expect((await made([role])).body).toMatchObject({ code: 'policy_denied' });
    expect((await made([])).status).toBe(201);
    const budgets = await decisions('admin.budgets');
    expect(budgets.filter(({ principal }) => principal !== 'User::"local"').map(({ effect }) => effect)).toEqual(
      expect.arrayContaining(['deny', 'allow']),
    );
    expect(new Set(budgets.map(({ argumentsHash }) => argumentsHash)).size).toBeGreaterThan(1);
  });

  it('for the local operator nothing changes, and reading is not recorded', async () => {
    expect((await server.call('GET', '/v1/keys')).status).toBe(200);
    expect((await server.call('GET', '/metrics')).status).toBe(200);
    expect((await decisions('admin.read')).filter(({ effect }) => effect === 'allow')).toEqual([]);
  });
});

describe('roles of keys', () => {
  async function asked(): Promise<{ runId: string; approvalId: string }> {
    const runId = await server.start({ agent: 'asking', input: '[[sim tools=probe(label="draft")]] [[sim say="{{result}}"]]' });
    await server.until(runId, 'waiting');
    return { runId, approvalId: one(await server.events(runId), 'approval.requested').data.approvalId };
  }

  it('let their holders answer what asks for them, and nobody else [verifies approval.role]', async () => {
    const [developer, lead] = [await key({ name: 'dev' }), await key({ name: 'ops-lead', roles: ['lead'] })];
    const { runId, approvalId } = await asked();
    const answer = (headers: Headers) => server.call('POST', `/v1/approvals/${approvalId}`, { decision: 'approve' }, headers);
    expect((await server.call('GET', `/v1/approvals/${approvalId}`)).body.role).toBe('lead');
    const refused = await answer(developer);
    expect(refused).toMatchObject({ status: 403, body: { code: 'forbidden', details: { role: 'lead', has: ['developer'] } } });
    expect(refused.body.detail).toMatch(/asks for the role lead, and you have developer; a key with that role can answer/);
    expect(JSON.stringify(refused.body)).not.toMatch(/ops-lead|key_/);
    expect(await answer(lead)).toMatchObject({ status: 200, body: { status: 'decided' } });
    expect((await server.until(runId, 'completed')).output).toBe('draft');
    await server.verifyRuns();
  });

  it('are shown, and end with their key', async () => {
    const made = await server.call('POST', '/v1/keys', { name: 'night', scopes: ['approvals'], roles: ['lead', 'lead', 'night.shift'] });
    expect(made.body.roles).toEqual(['developer', 'lead', 'night.shift']);
    const listed = (await server.call('GET', '/v1/keys')).body.data.find((each: { id: string }) => each.id === made.body.id);
    expect(listed.roles).toEqual(['developer', 'lead', 'night.shift']);
    await server.call('DELETE', `/v1/keys/${made.body.id}`);
    const { approvalId, runId } = await asked();
    const gone = await server.call(
      'POST',
      `/v1/approvals/${approvalId}`,
      { decision: 'approve' },
      { authorization: `Bearer ${made.body.secret}` },
    );
    expect(gone.status).toBe(401);
    await server.call('POST', `/v1/runs/${runId}/cancel`);
  });

  it('read no further once their key is revoked [verifies keys.revoked.stream]', async () => {
    await server.agent('slow', { models: ['sim/sim-large?latencyMs=700'] });
    const made = (await server.call('POST', '/v1/keys', { name: 'reader', scopes: ['runs'] })).body;
    const response = await fetch(`${server.app.url}/v1/agents/chat/stream`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${made.secret}` },
      body: JSON.stringify({ agent: 'slow', input: '[[sim tools=fs_list()]] [[sim tools=fs_list()]] [[sim say="nothing for them"]]' }),
    });
    expect((await server.call('DELETE', `/v1/keys/${made.id}`)).status).toBe(204);
    const text = await response.text();
    expect(text).toMatch(/event: error\ndata: .*"code":"unauthenticated"/);
    expect(text).not.toContain('run.completed');
    await server.until(response.headers.get('nexus-run-id') ?? '', 'completed');
  });

  it('are read no further once their key is revoked, also where nothing happens any more [verifies keys.revoked.stream]', async () => {
    const { runId } = await asked();
    const made = (await server.call('POST', '/v1/keys', { name: 'reader', scopes: ['runs'] })).body;
    const response = await fetch(`${server.app.url}/v1/runs/${runId}/events`, {
      headers: { accept: 'text/event-stream', authorization: `Bearer ${made.secret}` },
    });
    const text = response.text();
    expect((await server.call('DELETE', `/v1/keys/${made.id}`)).status).toBe(204);
    expect(await text).toMatch(/event: error\ndata: .*"code":"unauthenticated"/);
    await expect.poll(async () => (await server.call('GET', '/metrics')).body).toContain('nexus_streams_open 0');
    await server.call('POST', `/v1/runs/${runId}/cancel`);
  });

  it('are one, however they are written [verifies keys.grant]', async () => {
    const lead = await key({ name: 'Lead', roles: ['LEAD', 'lead'] });
    const { runId, approvalId } = await asked();
    expect(await server.call('POST', `/v1/approvals/${approvalId}`, { decision: 'approve' }, lead)).toMatchObject({ status: 200 });
    await server.until(runId, 'completed');
    const admin = await key({ scopes: ['admin'], roles: ['CLERK'] });
    for (const role of ['Owner', 'OWNER', 'owner'])
      expect(await server.call('POST', '/v1/keys', { name: 'x', roles: [role] }, admin)).toMatchObject({
        status: 403,
        body: { code: 'forbidden' },
      });
  });

  it('are given only by who has them, or by an owner [verifies keys.grant]', async () => {
    const plain = await key({ scopes: ['admin'], roles: ['clerk', 'night'] });
    const make = (body: object) => server.call('POST', '/v1/keys', { name: 'x', ...body }, plain);
    expect(await make({ roles: ['security'] })).toMatchObject({
      status: 403,
      body: {
        code: 'forbidden',
        detail: expect.stringMatching(
          /only give roles that it has itself, and this one has admin, clerk, night, not security; an owner can/,
        ),
      },
    });
    expect((await make({ roles: ['night', 'developer'], scopes: ['runs', 'approvals'] })).status).toBe(201);
    expect((await make({ scopes: ['admin'], roles: ['admin'] })).status).toBe(201);
    const owner = (await server.call('POST', '/v1/keys', { name: 'boss', roles: ['owner'], scopes: ['admin'] })).body;
    expect(await server.call('DELETE', `/v1/keys/${owner.id}`, undefined, plain)).toMatchObject({
      status: 403,
      body: { code: 'forbidden' },
    });
    expect((await server.call('DELETE', `/v1/keys/${owner.id}`, undefined, { authorization: `Bearer ${owner.secret}` })).status).toBe(204);
  });

  it('decide who may delete a session, which is recorded before it is gone [verifies policy.asked]', async () => {
    const [developer, lead] = [await key({}), await key({ roles: ['lead'] })];
    const sessionId = await server.session({ agent: 'asking', user: 'kept' });
    const refused = await server.call('DELETE', `/v1/sessions/${sessionId}`, undefined, developer);
    expect(refused).toMatchObject({ status: 403, body: { code: 'policy_denied', details: { reasons: ['operator:operator.cedar:kept'] } } });
    expect((await server.call('GET', `/v1/sessions/${sessionId}`)).body.status).toBe('active');
    expect((await server.call('DELETE', `/v1/sessions/${sessionId}`, undefined, lead)).status).toBe(204);
    const other = await server.session({ agent: 'asking', user: 'other' });
    expect((await server.call('DELETE', `/v1/sessions/${other}`, undefined, developer)).status).toBe(204);
    expect((await decisions('session.delete')).map(({ effect, resource }) => `${effect} ${resource}`).sort()).toEqual(
      [`allow Session::"${other}"`, `allow Session::"${sessionId}"`, `deny Session::"${sessionId}"`].sort(),
    );
  });

  it('cannot be used to become more than one is', async () => {
    const admin = await key({ scopes: ['admin'], roles: ['clerk'] });
    const make = (body: object, headers: Headers = {}) => server.call('POST', '/v1/keys', { name: 'x', ...body }, headers);
    expect(await make({ roles: ['owner'], scopes: ['admin'] }, admin)).toMatchObject({ status: 403, body: { code: 'forbidden' } });
    expect((await make({ roles: ['admin'] })).body).toMatchObject({ status: 400, detail: expect.stringContaining('scope admin') });
    expect((await make({ roles: ['two words'] })).status).toBe(400);
    // The owner may make another one, who stands in for every role.
    const owner = await key({ roles: ['owner'], scopes: ['approvals'] });
    const { approvalId, runId } = await asked();
    expect((await server.call('POST', `/v1/approvals/${approvalId}`, { decision: 'approve' }, owner)).status).toBe(200);
    await server.until(runId, 'completed');
  });
});

describe("agents of one's own", () => {
  it('are stored with warnings where they name what there is not [verifies agents.names]', async () => {
    const put = (body: object) => server.call('POST', '/v1/agents', { name: 'misspelt', models: ['sim/sim-large'], ...body });
    expect((await put({ tools: ['fs_raed'], subagents: ['askin'] })).body.warnings).toEqual([
      'tools[0]: there is no tool "fs_raed"; did you mean "fs_read"?',
      'subagents[0]: there is no agent "askin"; did you mean "asking"?',
    ]);
    const right = await put({ tools: ['fs_read'], subagents: ['asking'], policy: { allow: ['fs_read'] } });
    expect([right.status, right.body.warnings]).toEqual([201, undefined]);
  });

  it('are stored with a warning where they are offered what no policy ever permits them [verifies agents.vain]', async () => {
    const put = (body: object) => server.call('POST', '/v1/agents', { name: 'vain', models: ['sim/sim-large'], ...body });
    expect((await put({ tools: ['fs_read', 'fs_write'], policy: { allow: ['fs_read'] } })).body.warnings).toEqual([
      'tools[1]: no policy ever permits fs_write to this agent: each call will be denied; say allow: ["fs_write"] in its policy, or leave it out of tools',
    ]);
    expect((await put({ tools: ['fs_*'] })).body.warnings).toEqual([
      expect.stringMatching(/^tools\[0\]: no policy ever permits the \d+ tools of fs_\*/),
    ]);
    expect((await put({ tools: ['fs_*'], policy: { allow: ['fs_read'] } })).body.warnings).toBeUndefined();
  });

  it('are what they are, whoever reads the list [verifies agents.own]', async () => {
    const own = { name: 'chat', models: ['sim/sim-large'], instructions: 'mine' };
    const { body: put } = await server.call('POST', '/v1/agents', own);
    const first = (await server.call('GET', '/v1/agents')).body.data;
    const second = (await server.call('GET', '/v1/agents?limit=1')).body;
    expect(first.map(({ name }: { name: string }) => name)).toContain('asking');
    expect(second.data).toHaveLength(1);
    expect((await server.call('GET', '/v1/agents/chat')).body).toMatchObject({ version: put.version, source: 'api' });
    expect(first.find(({ name }: { name: string }) => name === 'chat')).toMatchObject({ version: put.version });
  });

  it('a budget of one that is not there is refused with the nearest name [verifies budget.scope.known]', async () => {
    const set = (kind: string, id: string) => server.call('PUT', '/v1/budgets', { scope: { kind, id }, unit: 'tokens', limit: 5 });
    expect((await set('agent', 'askin')).body).toMatchObject({ status: 404, detail: expect.stringContaining('did you mean "asking"?') });
    expect((await set('agent', 'asking')).status).toBe(200);
    for (const [kind, id] of [
      ['session', 'ses_01h455vb4pex5vsknk084sn02q'],
      ['run', 'run_01h455vb4pex5vsknk084sn02q'],
      ['tenant', 'other'],
    ] as const)
      expect((await set(kind, id)).body).toMatchObject({ status: 404, detail: expect.stringContaining(`there is no ${kind} ${id}`) });
    expect((await set('user', 'anybody')).status).toBe(200);
    expect((await set('project', 'anything')).status).toBe(200);
  });
});
