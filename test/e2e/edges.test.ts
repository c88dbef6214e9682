import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import type { Tool } from '../../packages/server/src/tools/index.ts';
import { all, one, pause, startTestServer, type TestServer, tenant } from './support/server.ts';
import { readStream } from './support/stream.ts';
import { createProbe } from './support/tools.ts';

const probe = createProbe();
const stubborn: Tool = {
  name: 'stubborn',
  description: 'Takes its time, whatever it is told',
  inputSchema: { type: 'object' },
  effects: 'none',
  permissions: [],
  timeoutMs: 10_000,
  async execute() {
    await pause(3_500);
    return { type: 'ok', output: 'too late' };
  },
};
const dataDir = mkdtempSync(join(tmpdir(), 'nexus-e2e-edges-'));
let server: TestServer;
const open = () => startTestServer({ tools: [...probe.tools, stubborn], dataDir });
beforeAll(async () => {
  server = await open();
  await server.agent('free');
});
afterEach(() => server.verifyRuns());
afterAll(async () => {
  await server.close();
  rmSync(dataDir, { recursive: true, force: true });
});

it('keeps a question over a restart and goes on with its answer [verifies approval.restart durability.wait.no-memory]', async () => {
  await server.agent('asking', { policy: { approve: ['probe'] } });
  const runId = await server.start({ agent: 'asking', input: '[[sim tools=probe(label="kept")]] [[sim say="{{result}}"]]' });
  await server.until(runId, 'waiting');
  await server.close();
  server = await open();
  expect((await server.run(runId)).status).toBe('waiting');
  const pending = (await server.call('GET', '/v1/approvals?status=pending')).body.data;
  expect(pending).toHaveLength(1);
  await server.call('POST', `/v1/approvals/${pending[0].id}`, { decision: 'approve', arguments: { label: 'after' } });
  expect((await server.until(runId, 'completed')).output).toMatch(/^after\n.*A person changed the arguments/s);
});

it('leaves a tool behind that ignores its signal, and charges what it held [verifies durability.cancel]', async () => {
  const runId = await server.start({ agent: 'free', input: '[[sim tools=stubborn()]]' });
  await server.event(runId, 'tool.started');
  const startedAt = Date.now();
  await server.call('POST', `/v1/runs/${runId}/cancel`);
  await server.until(runId, 'cancelled');
  expect(Date.now() - startedAt).toBeLessThan(3_000);
  const events = await server.events(runId);
  expect(all(events, 'budget.settled')).toHaveLength(all(events, 'budget.reserved').length);
});

it('moves parents on when their sub-agents wait for people', async () => {
  await server.agent('careful', { policy: { approve: ['probe'] } });
  await server.agent('boss', { subagents: ['careful'] });
  const task = JSON.stringify('[[sim tools=probe(label="x")]] [[sim say="done: {{result}}"]]');
  const runId = await server.start({ agent: 'boss', input: `[[sim tools=agent_careful(task=${task})]] [[sim say="{{result}}"]]` });
  const child = (await server.event(runId, 'tool.started')).data.childRunId ?? '';
  const { approvalId } = (await server.event(child, 'approval.requested')).data;
  expect(await server.until(runId, 'waiting')).toMatchObject({ waitingFor: { reason: 'child', childRuns: [child] } });
  await server.until(child, 'waiting');
  await server.call('POST', `/v1/approvals/${approvalId}`, { decision: 'approve' });
  expect((await server.until(runId, 'completed')).output).toBe('done: x');
});

it('keeps the conversation of a session behind many sub-agent runs', async () => {
  await server.agent('tiny', { tools: [] });
  await server.agent('boss', { subagents: ['tiny'], maxParallelTools: 16 });
  const sessionId = await server.session({ agent: 'boss' });
  const calls = Array.from({ length: 60 }, () => 'agent_tiny(task="[[sim say=1]]")').join(',');
  const { run } = await server.finish({ sessionId, input: `[[sim tools=${calls}]] [[sim say="all done"]]` });
  expect(run.status).toBe('completed');
  const next = await server.finish({ sessionId, input: 'hello' });
  expect(one(next.events, 'run.created').data.history).toEqual([run.id]);
});

it('resumes once, and answers no question of an ended run', async () => {
  const sessionId = await server.session({ agent: 'free', budget: { toolCalls: 0 } });
  const { run } = await server.finish({ sessionId, input: '[[sim tools=probe()]] [[sim say="ok"]]' });
  await server.call('PUT', '/v1/budgets', { scope: { kind: 'session', id: sessionId }, unit: 'toolCalls', limit: 5 });
  const both = await Promise.all([1, 2].map(() => server.call('POST', `/v1/runs/${run.id}/resume`)));
  expect(both.map(({ status }) => status).sort()).toEqual([202, 409]);
  await server.until(run.id, 'completed');

  const asked = await server.start({ agent: 'free', input: '[[sim tools=ask_human(question="?")]]' });
  const { approvalId } = (await server.event(asked, 'approval.requested')).data;
  await server.call('POST', `/v1/runs/${asked}/cancel`);
  await server.until(asked, 'cancelled');
  expect((await server.call('POST', `/v1/approvals/${approvalId}`, { decision: 'answer', result: 'late' })).status).toBe(409);
});

it('holds direct tool calls to the budget of their session and settles them when the caller leaves [verifies budget.tool.reserved]', async () => {
  const sessionId = await server.session({ agent: 'free', budget: { toolCalls: 1 } });
  const path = '/v1/tools/probe/execute';
  const before = probe.calls.length;
  const leaving = new AbortController();
  const left = fetch(`${server.app.url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ sessionId, input: { waitMs: 9_000 } }),
    signal: leaving.signal,
  }).catch(() => null);
  await expect.poll(() => probe.calls.length).toBe(before + 1);
  leaving.abort();
  await left;
  const budget = async () => (await server.call('GET', `/v1/sessions/${sessionId}`)).body.budget;
  await expect.poll(budget).toMatchObject({ spent: { toolCalls: 1 }, reserved: { toolCalls: 0 } });
  const refused = await server.call('POST', path, { sessionId, input: {} });
  expect(refused).toMatchObject({ status: 402, body: { details: { unit: 'toolCalls', asked: 1, available: 0 } } });
  expect(probe.calls).toHaveLength(before + 1);
  await server.agent('asking', { policy: { approve: ['probe'] } });
  const asking = await server.session({ agent: 'asking' });
  expect(await server.call('POST', path, { sessionId: asking, input: {} })).toMatchObject({ status: 403, body: { code: 'policy_denied' } });
});

it('holds runs to the budgets of their user and project', async () => {
  const sessionId = await server.session({ agent: 'free', user: 'ada', project: 'apollo' });
  for (const scope of [
    { kind: 'user', id: 'ada' },
    { kind: 'project', id: 'apollo' },
  ]) {
    await server.call('PUT', '/v1/budgets', { scope, unit: 'tokens', window: 'month', limit: 20 });
    const refused = await server.call('POST', '/v1/runs', { sessionId, input: 'hello' });
    expect(refused).toMatchObject({ status: 402, body: { details: { scope, window: 'month' } } });
    await server.call('PUT', '/v1/budgets', { scope, unit: 'tokens', window: 'month', limit: 1_000_000 });
  }
  const { run } = await server.finish({ sessionId, input: 'hello' });
  const rows = (await server.call('GET', '/v1/budgets?scope=user:ada')).body.data;
  expect(rows[0]).toMatchObject({ spent: run.totals.inputTokens + run.totals.outputTokens, reserved: 0 });
});

it('charges a run to the user and project that it names, in its sub-agents, forks and direct calls too [verifies budget.user.default]', async () => {
  await server.agent('boss', { subagents: ['free'] });
  const who = { user: 'cleo', project: 'gemini' };
  const { run, events } = await server.finish({ agent: 'boss', ...who, input: '[[sim tools=agent_free(task="hello")]] done' });
  expect(run).toMatchObject({ status: 'completed', ...who });
  expect(events[0]).toMatchObject({ type: 'run.created', data: who });
  expect((await server.call('GET', `/v1/sessions/${run.sessionId}`)).body).toMatchObject(who);
  const spentBy = async (by: string) => {
    const { data } = (await server.call('GET', `/v1/usage?by=${by}&limit=200`)).body as { data: Record<string, unknown>[] };
    return data.find((row) => row[by] === who.user || row[by] === who.project);
  };
  const family = (await server.call('GET', `/v1/runs?sessionId=${run.sessionId}`)).body.data as { totals: { costMicroUsd: number } }[];
  expect(family).toHaveLength(2);
  const costMicroUsd = family.reduce((sum, { totals }) => sum + totals.costMicroUsd, 0);
  expect(await spentBy('user')).toMatchObject({ costMicroUsd });
  expect(await spentBy('project')).toMatchObject({ costMicroUsd });

  // A limit for every user is already used up by what she spent.
  const everyUser = { scope: { kind: 'user', id: '*' }, unit: 'costMicroUsd', window: 'day' };
  expect((await server.call('PUT', '/v1/budgets', { ...everyUser, limit: costMicroUsd })).status).toBe(200);
  const refusal = { status: 402, body: { details: { scope: { kind: 'user', id: 'cleo' }, available: 0, limit: costMicroUsd } } };
  expect(await server.call('POST', '/v1/runs', { agent: 'free', input: 'hello', user: 'cleo' })).toMatchObject(refusal);
  expect(await server.call('POST', '/v1/runs', { sessionId: run.sessionId, input: 'hello' })).toMatchObject(refusal);
  expect(await server.call('POST', `/v1/runs/${run.id}/fork`, { input: 'hello' })).toMatchObject(refusal);
  // A run of the same session for somebody else is charged to them.
  await server.call('PUT', '/v1/budgets', { ...everyUser, scope: { kind: 'user', id: 'dan' }, limit: null });
  const other = await server.finish({ sessionId: run.sessionId, user: 'dan', input: 'hello' });
  expect(other.run).toMatchObject({ status: 'completed', user: 'dan', project: 'gemini' });
  expect(await server.call('POST', '/v1/runs', { input: 'hello', user: '*' })).toMatchObject({ status: 400 });
  expect((await server.call('DELETE', '/v1/budgets?scope=user:*&unit=costMicroUsd&window=day')).status).toBe(204);
  expect(await server.finish({ agent: 'free', input: 'hello', user: 'cleo' })).toMatchObject({ run: { status: 'completed' } });
});

it('goes on when the caller leaves before the answer to a stream has begun [verifies stream.detach]', async () => {
  const before = (await server.call('GET', '/v1/runs?limit=1')).body.data[0].id;
  await server.agent('slow', { models: ['sim/sim-large?latencyMs=200'] });
  await readStream(`${server.app.url}/v1/agents/chat/stream`, {
    body: { agent: 'slow', input: '[[sim say="still here"]]' },
    until: () => true,
  });
  const newest = (await server.call('GET', '/v1/runs?limit=1')).body.data[0];
  expect(newest.id).not.toBe(before);
  expect((await server.until(newest.id, 'completed')).output).toBe('still here');
  expect(await server.app.store.listReservations(tenant, { state: 'open' })).toEqual([]);
});

it('pages through a long log and filters by status', async () => {
  const { run, events } = await server.finish({ agent: 'free', input: '[[sim tools=probe()]] [[sim say="ok"]]' });
  const seen: unknown[] = [];
  for (let after: string | null = '0'; after !== null; ) {
    const { body } = await server.call('GET', `/v1/runs/${run.id}/events?limit=3&after=${after}`);
    seen.push(...body.data);
    after = body.nextCursor;
  }
  expect(seen).toEqual(events);
  const completed = (await server.call('GET', `/v1/runs?status=completed&sessionId=${run.sessionId}`)).body.data;
  expect(completed.map((row: { id: string }) => row.id)).toEqual([run.id]);
});
