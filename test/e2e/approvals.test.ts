import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { all, one, startTestServer, type TestServer, tenant } from './support/server.ts';
import { createProbe } from './support/tools.ts';

const probe = createProbe();
let server: TestServer;
const folder = () => server.app.config.policiesDir;
const forbidding = (tool: string, when = '') =>
  `@id("no-${tool}") forbid (principal, action == Action::"tool.execute", resource == Tool::"${tool}") ${when};`;

/** While `during` goes on, the operator's policies have this one besides. */
async function under(policy: string, during: () => Promise<void>): Promise<void> {
  writeFileSync(join(folder(), 'later.cedar'), policy);
  await server.app.reload();
  try {
    await during();
  } finally {
    rmSync(join(folder(), 'later.cedar'));
    await server.app.reload();
  }
}

beforeAll(async () => {
  server = await startTestServer({ tools: probe.tools });
  mkdirSync(folder(), { recursive: true });
  writeFileSync(join(folder(), 'base.cedar'), forbidding('never'));
  await server.agent('asking', { policy: { approve: ['probe'], allow: ['ask_human', 'send'] } });
});
afterEach(() => server.verifyRuns());
afterAll(() => server.close());

const script = '[[sim tools=probe(label="draft")]] [[sim say="{{result}}"]]';

async function asked(input = script, agent = 'asking'): Promise<{ runId: string; approvalId: string }> {
  const runId = await server.start({ agent, input });
  await server.until(runId, 'waiting');
  return { runId, approvalId: one(await server.events(runId), 'approval.requested').data.approvalId };
}

it('runs a call once a person approved it, decided again with the approval [verifies approval.exact-arguments]', async () => {
  const before = probe.calls.length;
  const { runId, approvalId } = await asked();
  expect(probe.calls).toHaveLength(before);
  expect((await server.call('GET', `/v1/approvals/${approvalId}`)).body).toMatchObject({
    status: 'pending',
    kind: 'tool_call',
    toolName: 'probe',
    arguments: { label: 'draft' },
    choices: ['approve', 'deny'],
    defaultDecision: 'deny',
  });
  expect(await server.call('POST', `/v1/approvals/${approvalId}`, { decision: 'approve', note: 'fine' })).toMatchObject({ status: 200 });
  expect(await server.until(runId, 'completed')).toMatchObject({ output: 'draft' });
  const events = await server.events(runId);
  const first = one(events, 'approval.requested').data.decision;
  const second = one(events, 'tool.started').data.decision;
  expect(first?.effect).toBe('require_approval');
  expect(second.effect).toBe('allow');
  expect(second.id).not.toBe(first?.id);
  const { items } = await server.app.store.listDecisions(tenant, { runId: runId as never }, { limit: 100 }); // the run's own id
  const tool = items.filter((row) => row.action === 'tool.execute');
  expect(tool.map((row) => row.effect).sort()).toEqual(['allow', 'require_approval']);
  expect(new Set(tool.map((row) => row.argumentsHash)).size).toBe(1);
});

it('lets exactly the edited arguments through [verifies approval.exact-arguments policy.arguments.actual]', async () => {
  const { runId, approvalId } = await asked();
  await server.call('POST', `/v1/approvals/${approvalId}`, { decision: 'approve', arguments: { label: 'edited' } });
  const { output } = await server.until(runId, 'completed');
  // What it did not ask for it is told, beside what the tool gave.
  expect(output).toMatch(/^edited\s+\(A person changed the arguments.*\{"label":"edited"\}\)$/s);
  expect(one(await server.events(runId), 'tool.completed').data).toMatchObject({
    output: 'edited',
    note: expect.stringContaining('{"label":"edited"}'),
  });
  expect(one(await server.events(runId), 'tool.started').data.input).toEqual({ label: 'edited' });
  expect(probe.calls.at(-1)?.input).toEqual({ label: 'edited' });
  const { items } = await server.app.store.listDecisions(tenant, { runId: runId as never }, { limit: 100 }); // the run's own id
  expect(new Set(items.filter((row) => row.action === 'tool.execute').map((row) => row.argumentsHash)).size).toBe(2);
});

it('leaves a question open when the call that is allowed would not run, and says why [verifies approval.refused-stays]', async () => {
  const before = probe.calls.length;
  const { runId, approvalId } = await asked();
  const answer = (body: object) => server.call('POST', `/v1/approvals/${approvalId}`, body);
  const status = async () => (await server.call('GET', `/v1/approvals/${approvalId}`)).body.status;
  expect(await answer({ decision: 'approve', arguments: { label: 7 } })).toMatchObject({
    status: 400,
    body: { code: 'tool_input_invalid', detail: expect.stringMatching(/"label" expected string, found number 7; approval .* still waits/) },
  });
  expect(await answer({ decision: 'approve', arguments: { label: 'draft', unknown: true } })).toMatchObject({ status: 400 });
  expect(await status()).toBe('pending');
  await under(forbidding('probe', 'when { context.arguments has label && context.arguments.label == "secret" }'), async () => {
    expect(await answer({ decision: 'approve', arguments: { label: 'secret' } })).toMatchObject({
      status: 403,
      body: { code: 'policy_denied', detail: expect.stringMatching(/operator:later\.cedar:no-probe.*still waits/) },
    });
    expect(await status()).toBe('pending');
    const { items } = await server.app.store.listDecisions(tenant, { runId: runId as never }, { limit: 100 }); // the run's own id
    expect(items.filter(({ effect }) => effect === 'deny')).toMatchObject([{ action: 'tool.execute', resource: 'Tool::"probe"' }]);
    expect(await answer({ decision: 'approve', arguments: { label: 'mended' } })).toMatchObject({ status: 200 });
    expect(await server.until(runId, 'completed')).toMatchObject({ output: expect.stringMatching(/^mended\s/) });
    expect(probe.calls).toHaveLength(before + 1);
  });
});

it('asks the policies in force when an approval is answered, and not those of the question [verifies approval.refused-stays]', async () => {
  const { runId, approvalId } = await asked();
  await under(forbidding('probe'), async () => {
    const refused = await server.call('POST', `/v1/approvals/${approvalId}`, { decision: 'approve' });
    expect(refused).toMatchObject({ status: 403, body: { code: 'policy_denied' } });
    expect(await server.call('POST', `/v1/approvals/${approvalId}`, { decision: 'deny' })).toMatchObject({ status: 200 });
    await server.until(runId, 'completed');
  });
});

it('takes one of two answers that come at once, and none of a run that was cancelled meanwhile', async () => {
  const { runId, approvalId } = await asked();
  const answer = (body: object, id = approvalId) => server.call('POST', `/v1/approvals/${id}`, body);
  const before = probe.calls.length;
  const both = await Promise.all([
    answer({ decision: 'approve', arguments: { label: 'one' } }),
    answer({ decision: 'approve', arguments: { label: 'two' } }),
  ]);
  expect(both.map(({ status }) => status).sort()).toEqual([200, 409]);
  const winner = both.find(({ status }) => status === 200)?.body.arguments.label;
  expect(await server.until(runId, 'completed')).toMatchObject({ output: expect.stringMatching(`^${winner}\\s`) });
  expect(probe.calls).toHaveLength(before + 1);
  const other = await asked();
  const [given] = await Promise.all([
    answer({ decision: 'approve', arguments: { label: 'late' } }, other.approvalId),
    server.call('POST', `/v1/runs/${other.runId}/cancel`, {}),
  ]);
  expect([200, 409]).toContain(given.status);
  await server.until(other.runId, 'cancelled', 'completed');
  expect((await answer({ decision: 'approve' }, other.approvalId)).status).toBe(409);
});

it('tells the model when a person denies', async () => {
  const before = probe.calls.length;
  const denied = await asked();
  await server.call('POST', `/v1/approvals/${denied.approvalId}`, { decision: 'deny', note: 'not today' });
  expect((await server.until(denied.runId, 'completed')).output).toContain('not today');
  expect(one(await server.events(denied.runId), 'tool.completed').data).toMatchObject({
    status: 'denied',
    error: { code: 'approval_denied' },
  });
  expect(probe.calls).toHaveLength(before);
});

it('takes the default at the deadline [verifies approval.deadline]', async () => {
  await server.agent('hasty', { policy: { approve: ['probe'] }, approvalTimeoutMs: 1_000 });
  const { runId, approvalId } = await asked(script, 'hasty');
  await server.until(runId, 'completed');
  const events = await server.events(runId);
  expect(one(events, 'approval.decided').data).toMatchObject({ decision: 'deny', decidedBy: 'timeout' });
  expect(one(events, 'tool.completed').data.error?.code).toBe('approval_expired');
  expect((await server.call('GET', `/v1/approvals/${approvalId}`)).body.status).toBe('expired');
  expect((await server.call('POST', `/v1/approvals/${approvalId}`, { decision: 'approve' })).status).toBe(409);
});

it('refuses answers that do not fit the question, and a second one', async () => {
  const { runId, approvalId } = await asked();
  const answer = (body: unknown) => server.call('POST', `/v1/approvals/${approvalId}`, body);
  expect(await answer({ decision: 'retry' })).toMatchObject({ status: 400, body: { code: 'invalid_request' } });
  expect(await answer({ decision: 'deny', arguments: { label: 'x' } })).toMatchObject({ status: 400 });
  expect(await answer({ decision: 'yes' })).toMatchObject({ status: 400 });
  const both = await Promise.all([answer({ decision: 'approve' }), answer({ decision: 'deny' })]);
  expect(both.map(({ status }) => status).sort()).toEqual([200, 409]);
  await server.until(runId, 'completed');
  expect(await answer({ decision: 'approve' })).toMatchObject({ status: 409, body: { code: 'conflict' } });
});

it('asks for the role that a policy names', async () => {
  const key = (await server.call('POST', '/v1/keys', { name: 'developer', scopes: ['runs', 'approvals'] })).body.secret;
  const policies = `
@id("lead-only") @obligation("require_approval:role=lead")
permit (principal is Agent, action == Action::"tool.execute", resource is Tool) when { resource.name == "probe" };`;
  const dataDir = mkdtempSync(join(tmpdir(), 'nexus-e2e-role-'));
  mkdirSync(`${dataDir}/policies`);
  writeFileSync(`${dataDir}/policies/lead.cedar`, policies);
  const strict = await startTestServer({ tools: probe.tools, dataDir });
  try {
    await strict.agent('asking', { policy: {} });
    const runId = await strict.start({ agent: 'asking', input: script });
    await strict.until(runId, 'waiting');
    const { approvalId, role } = one(await strict.events(runId), 'approval.requested').data;
    expect(role).toBe('lead');
    const mine = (await strict.call('POST', '/v1/keys', { name: 'developer', scopes: ['runs', 'approvals'] })).body.secret;
    expect(mine).not.toBe(key);
    const refused = await strict.call('POST', `/v1/approvals/${approvalId}`, { decision: 'approve' }, { authorization: `Bearer ${mine}` });
    expect(refused).toMatchObject({ status: 403, body: { code: 'forbidden' } });
    expect((await strict.call('POST', `/v1/approvals/${approvalId}`, { decision: 'approve' })).status).toBe(200);
    await strict.until(runId, 'completed');
    expect(one(await strict.events(runId), 'approval.decided').data.role).toBe('lead');
    await strict.verifyRuns();
  } finally {
    await strict.close();
    rmSync(dataDir, { recursive: true, force: true });
  }
});

it('asks people and gives their answer to the model', async () => {
  const { runId, approvalId } = await asked('[[sim tools=ask_human(question="Which colour?")]] [[sim say="So {{result}}."]]');
  const shown = (await server.call('GET', `/v1/approvals/${approvalId}`)).body;
  expect(shown).toMatchObject({ kind: 'question', question: 'Which colour?', choices: ['answer', 'deny'] });
  expect((await server.call('POST', `/v1/approvals/${approvalId}`, { decision: 'answer' })).status).toBe(400);
  await server.call('POST', `/v1/approvals/${approvalId}`, { decision: 'answer', result: 'blue' });
  expect((await server.until(runId, 'completed')).output).toBe('So blue.');
});

it('asks a person what became of a call that must not be repeated [verifies durability.effects.once]', async () => {
  const before = probe.calls.filter((call) => call.name === 'send').length;
  const sent = () => probe.calls.filter((call) => call.name === 'send').length - before;
  const late = '[[sim tools=send(waitMs=5000)]] [[sim say="{{result}}"]]';
  const done = await asked(late);
  expect((await server.call('GET', `/v1/approvals/${done.approvalId}`)).body).toMatchObject({
    kind: 'unknown_outcome',
    choices: ['done', 'retry', 'fail'],
    defaultDecision: 'fail',
  });
  await server.call('POST', `/v1/approvals/${done.approvalId}`, { decision: 'done', result: 'it went out' });
  expect((await server.until(done.runId, 'completed')).output).toBe('it went out');
  expect(sent()).toBe(1);

  const retried = await asked(late);
  await server.call('POST', `/v1/approvals/${retried.approvalId}`, { decision: 'retry' });
  await expect.poll(sent).toBe(3);
  const keys = probe.calls.filter((call) => call.name === 'send').map((call) => call.context.idempotencyKey);
  expect(new Set(keys.slice(-2)).size).toBe(1);
  await server.until(retried.runId, 'waiting');
  const second = await server.event(retried.runId, 'approval.requested', 1);
  await server.call('POST', `/v1/approvals/${second.data.approvalId}`, { decision: 'fail' });
  expect((await server.until(retried.runId, 'completed')).output).toContain('tool_outcome_unknown');
  expect(sent()).toBe(3);
  const events = await server.events(retried.runId);
  expect(all(events, 'tool.started').map((event) => event.data.attempt)).toEqual([1, 2]);
  // Each of the two had a reservation of its own.
  expect(new Set(all(events, 'tool.started').map((event) => event.data.reservationId)).size).toBe(2);
  expect(all(events, 'budget.settled').filter((event) => event.data.outcome === 'charged_maximum')).toHaveLength(2);
});
