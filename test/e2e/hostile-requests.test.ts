import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { all, one, pause, startTestServer, type TestServer, tenant } from './support/server.ts';
import { createProbe } from './support/tools.ts';

const probe = createProbe();
const policies = mkdtempSync(join(tmpdir(), 'nexus-policies-'));
let server: TestServer;
beforeAll(async () => {
  mkdirSync(policies, { recursive: true });
  // A call asks for anybody's approval; a long wait asks for the lead's.
  writeFileSync(
    join(policies, 'wait.cedar'),
    `@id("wait") @obligation("require_approval")
     permit (principal is Agent, action == Action::"tool.execute", resource == Tool::"probe") when { context.arguments has waitMs };
     @id("long-wait") @obligation("require_approval:role=lead")
     permit (principal is Agent, action == Action::"tool.execute", resource == Tool::"probe")
     when { context.arguments has waitMs && context.arguments.waitMs > 5 };`,
  );
  server = await startTestServer({ tools: probe.tools, config: { policiesDir: policies } });
  await server.agent('free');
});
afterEach(() => server.verifyRuns());
afterAll(async () => {
  await server.close();
  rmSync(policies, { recursive: true, force: true });
});

const say = '[[sim say="hello"]]';

it('a request cannot choose a model that the agent does not list', async () => {
  const refused = await server.call('POST', '/v1/runs', { agent: 'free', input: say, model: 'sim-anthropic/sim-small' });
  expect(refused).toMatchObject({ status: 403, body: { code: 'policy_denied' } });
  expect((await server.finish({ agent: 'free', input: say, model: 'sim-large' })).run.status).toBe('completed');
  const { run } = await server.finish({ agent: 'free', input: say });
  const forked = await server.call('POST', `/v1/runs/${run.id}/fork`, { model: 'sim-anthropic/sim-small' });
  expect(forked).toMatchObject({ status: 403, body: { code: 'policy_denied' } });
});

it('a model that the agent does not list is used when its policy names it', async () => {
  await server.agent('wide', { policy: { allow: ['*', 'model:sim-small', 'model:sim-large'] } });
  expect((await server.finish({ agent: 'wide', input: say, model: 'sim-anthropic/sim-small' })).run.status).toBe('completed');
});

it('a sub-agent cannot do what its session forbids the agent that called it', async () => {
  await server.agent('helper', { policy: { allow: ['*'] } });
  await server.agent('boss', { subagents: ['helper'] });
  const sessionId = await server.session({ agent: 'boss', policy: { deny: ['probe'] } });
  const task = '[[sim tools=probe(label=\\"x\\")]] [[sim say=\\"tried\\"]]';
  const before = probe.calls.length;
  const { run, events } = await server.finish({ sessionId, input: `[[sim tools=agent_helper(task="${task}")]] [[sim say="over"]]` });
  expect(run.status).toBe('completed');
  const child = one(events, 'tool.started').data.childRunId ?? '';
  expect(all(await server.events(child), 'policy.denied')).toHaveLength(1);
  expect(probe.calls).toHaveLength(before);
});

it('the arguments that the last approval showed are the ones that run, also after an edit by another one', async () => {
  const runId = await server.start({ agent: 'free', input: '[[sim tools=probe(waitMs=1)]] [[sim say="over"]]' });
  await server.until(runId, 'waiting');
  const first = await pending(runId);
  await server.call('POST', `/v1/approvals/${first.id}`, { decision: 'approve', arguments: { waitMs: 50 } });
  const second = await pending(runId, first.id);
  expect(second).toMatchObject({ role: 'lead', arguments: { waitMs: 50 } });
  await server.call('POST', `/v1/approvals/${second.id}`, { decision: 'approve' });
  await server.until(runId, 'completed');
  expect(probe.calls.at(-1)?.input).toEqual({ waitMs: 50 });
  expect(one(await server.events(runId), 'tool.started').data.input).toEqual({ waitMs: 50 });
});

it('an argument of another type than the policies read is denied, not let through', async () => {
  for (const waitMs of ['"50"', '[50]', '{"a":50}', '50.5', '1e300', 'null', 'true']) {
    const before = probe.calls.length;
    const { events } = await server.finish({ agent: 'free', input: `[[sim tools=probe(waitMs=${waitMs})]] [[sim say="over"]]` });
    expect(one(events, 'tool.completed').data.status).not.toBe('ok');
    expect(probe.calls).toHaveLength(before);
  }
});

it('an approval that was not answered in time stays unanswered, also while nobody has closed it yet', async () => {
  await server.agent('hasty', { approvalTimeoutMs: 1_000, policy: { allow: ['*'], approve: ['probe'] } });
  const runId = await server.start({ agent: 'hasty', input: '[[sim tools=probe(label="late")]] [[sim say="over"]]' });
  await server.until(runId, 'waiting');
  const { id } = await pending(runId);
  const before = probe.calls.length;
  const row = await server.app.store.getApproval(tenant, id);
  while (Date.now() <= (row?.deadlineAt ?? 0)) await pause(1);
  expect((await server.call('POST', `/v1/approvals/${id}`, { decision: 'approve' })).status).toBe(409);
  await server.until(runId, 'completed');
  expect(probe.calls).toHaveLength(before);
});

it.each([[1.5, 'a'], [1, 'a\u0000'], [1e300, 'a'], ['1', 'a'], [1, '\ud800'], [1], {}, null].map((value) => JSON.stringify(value)))(
  'a made-up cursor is refused before the database sees it: %s',
  async (text) => {
    for (const path of ['sessions', 'runs', 'approvals', 'keys']) {
      const answer = await server.call('GET', `/v1/${path}?cursor=${Buffer.from(text).toString('base64url')}`);
      expect(answer, path).toMatchObject({ status: 400, body: { code: 'invalid_request' } });
    }
  },
);

async function pending(runId: string, notId?: string) {
  for (;;) {
    const { body } = await server.call('GET', '/v1/approvals?status=pending');
    const found = body.data.find((item: { id: string; runId: string }) => item.runId === runId && item.id !== notId);
    if (found !== undefined) return found;
    await pause(5);
  }
}
