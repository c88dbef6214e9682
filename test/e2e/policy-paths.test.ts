import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startSimulator } from '../../packages/server/src/llm/sim/index.ts';
import type { Tool } from '../../packages/server/src/tools/index.ts';
import { type Recorder, startRecorder } from './support/recorder.ts';
import { all, one, startTestServer, type TestServer, tenant } from './support/server.ts';
import { createProbe } from './support/tools.ts';

/** Every effect that happened, with the decisions that were in the database at that moment. */
const effects: { what: string; callId: string | undefined; allowed: number }[] = [];
const violations: string[] = [];
const used = new Map<string, number>();

const dataDir = mkdtempSync(join(tmpdir(), 'nexus-e2e-policy-'));
const probe = createProbe();
let server: TestServer;
let recorder: Recorder;
let site: Server;
let sitePort = 0;

/** The nth effect of a kind and call needs n recorded decisions that allow it. */
async function witness(what: string, action: string, callId: string | undefined, resource: string): Promise<void> {
  const { items } = await server.app.store.listDecisions(tenant, {}, { limit: 1_000 });
  const allowed = items.filter(
    (row) =>
      row.action === action && row.effect === 'allow' && (callId === undefined || row.callId === callId) && row.resource.includes(resource),
  ).length;
  const key = `${action}/${callId ?? ''}/${resource}`;
  const count = (used.get(key) ?? 0) + 1;
  used.set(key, count);
  effects.push({ what, callId, allowed });
  if (allowed < count) violations.push(`${what} ${key}: effect ${count}, but ${allowed} decisions`);
}

function witnessed(tool: Tool): Tool {
  return {
    ...tool,
    async execute(input, context) {
      await witness(`tool ${tool.name}`, 'tool.execute', context.callId, tool.name);
      return tool.execute(input, context);
    },
  };
}

beforeAll(async () => {
  mkdirSync(join(dataDir, 'policies'));
  writeFileSync(
    join(dataDir, 'policies', 'operator.cedar'),
    `@id("errs") forbid (principal, action == Action::"tool.execute", resource is Tool)
     when { resource.name == "broken" && context has step && context.step + 9223372036854775807 > 0 };
     @id("model-errs") forbid (principal, action == Action::"model.invoke", resource is Model)
     when { resource.model == "sim-slow" && context has step && context.step + 9223372036854775807 > 0 };
     @id("no-secret-agent") forbid (principal is Agent, action == Action::"run.start", resource == Agent::"forbidden");`,
  );
  site = createServer((request, response) => {
    void witness('http', 'net.egress', undefined, (request.headers.host ?? '').split(':')[0] ?? '').then(() => {
      if (request.url === '/hop') response.writeHead(302, { location: `http://127.0.0.2:${sitePort}/end` }).end();
      else response.end('the page');
    });
  });
  await new Promise<void>((resolve) => site.listen(0, '0.0.0.0', resolve));
  sitePort = (site.address() as AddressInfo).port; // it listens on TCP
  server = await open();
  await server.agent('free');
});

async function open(): Promise<TestServer> {
  const simulator = await startSimulator();
  recorder = await startRecorder(simulator.url, ({ headers, body }) =>
    witness(`model ${String(body.model)}`, 'model.invoke', String(headers['idempotency-key']), String(body.model).split('?')[0] ?? ''),
  );
  return startTestServer({
    tools: probe.tools.map(witnessed),
    dataDir,
    simulator,
    modelUrl: () => recorder.url,
    models: { 'sim/sim-small': { contextTokens: 9_000 } },
    config: { httpFetch: { allowPrivate: ['127.0.0.1', '127.0.0.2'] }, drainMs: 0 },
  });
}

afterAll(async () => {
  await server.close();
  await recorder.close();
  site.closeAllConnections();
  site.close();
  rmSync(dataDir, { recursive: true, force: true });
});

const seen = (what: string) => effects.filter((effect) => effect.what.startsWith(what)).length;

it('records a decision before every effect, on every path [verifies policy.every-path]', async () => {
  // A plain run, with a retry, a fallback attempt, a hop from host to host.
  await server.agent('routed', { models: ['sim/sim-large?status=503&times=1', 'sim/sim-small'] });
  expect((await server.finish({ agent: 'routed', input: '[[sim tools=probe()]] [[sim say="ok"]]' })).run.status).toBe('completed');
  await server.agent('fallen', { models: ['sim/sim-down', 'sim/sim-large'] });
  expect((await server.finish({ agent: 'fallen', input: 'hello' })).run.status).toBe('completed');
  const hop = `http://127.0.0.1:${sitePort}/hop`;
  const fetched = await server.finish({ agent: 'free', input: `[[sim tools=http_fetch(url="${hop}")]] [[sim say="{{result}}"]]` });
  expect(fetched.run.output).toContain('the page');
  expect(seen('http')).toBe(2);

  // After an approval.
  await server.agent('asking', { policy: { approve: ['probe'] } });
  const asked = await server.start({ agent: 'asking', input: '[[sim tools=probe()]] [[sim say="ok"]]' });
  const { approvalId } = (await server.event(asked, 'approval.requested')).data;
  const count = seen('tool probe');
  await server.call('POST', `/v1/approvals/${approvalId}`, { decision: 'approve' });
  await server.until(asked, 'completed');
  expect(seen('tool probe')).toBe(count + 1);

  // A sub-agent: that it may start is decided as well.
  await server.agent('boss', { subagents: ['free', 'forbidden'] });
  await server.agent('forbidden');
  const child = await server.finish({
    agent: 'boss',
    input: `[[sim tools=agent_free(task="[[sim tools=probe()]]"),agent_forbidden(task="x")]] [[sim say="{{results}}"]]`,
  });
  expect(child.run.status).toBe('completed');
  expect(one(child.events, 'policy.denied').data.decision).toMatchObject({ action: 'run.start', resource: 'Agent::"forbidden"' });
  expect(all(child.events, 'tool.started')).toHaveLength(1);
  const starts = (await server.app.store.listDecisions(tenant, { runId: child.run.id as never }, { limit: 100 })).items; // the run's own id
  expect(
    starts
      .filter((row) => row.action === 'run.start')
      .map((row) => row.effect)
      .sort(),
  ).toEqual(['allow', 'allow', 'deny']);

  // A summary of a long session.
  await server.agent('small', { models: ['sim/sim-small'], tools: [] });
  const sessionId = await server.session({ agent: 'small' });
  for (let turn = 0; turn < 4; turn++)
    await server.finish({ sessionId, input: `[[sim say="ok"]] ${'Remember this fact well. '.repeat(160)}` });
  const compacted = (await server.call('GET', `/v1/runs?sessionId=${sessionId}`)).body.data;
  const purposes = await Promise.all(compacted.map(async (run: { id: string }) => all(await server.events(run.id), 'model.started')));
  expect(purposes.flat().map((event) => event.data.purpose)).toContain('compaction');

  // A tool by itself, and its hosts.
  const session = await server.session({ agent: 'free' });
  expect(await server.call('POST', '/v1/tools/probe/execute', { sessionId: session, input: { label: 'direct' } })).toMatchObject({
    status: 200,
    body: { status: 'ok', output: 'direct' },
  });
  await server.agent('narrow', { tools: ['probe'] });
  const narrow = await server.session({ agent: 'narrow' });
  expect(await server.call('POST', '/v1/tools/fs_list/execute', { sessionId: narrow, input: {} })).toMatchObject({
    body: { code: 'tool_not_found', detail: expect.stringContaining('agent narrow is offered: probe') },
  });
  const direct = await server.call('POST', '/v1/tools/http_fetch/execute', { sessionId: session, input: { url: hop } });
  expect(direct.body).toMatchObject({ status: 'ok', output: expect.stringContaining('the page') });

  // Recovery: a process that goes away in the middle of a tool and of an answer.
  await server.agent('slow', { models: ['sim/sim-large?latencyMs=400'] });
  const inTool = await server.start({ agent: 'free', input: '[[sim tools=probe(waitMs=1500)]] [[sim say="again"]]' });
  const inModel = await server.start({ agent: 'slow', input: '[[sim say="again"]]' });
  await server.event(inTool, 'tool.started');
  await server.event(inModel, 'model.started');
  await expect.poll(() => probe.running).toBe(1);
  await server.close();
  await recorder.close();
  server = await open();
  for (const runId of [inTool, inModel]) {
    expect(await server.until(runId, 'completed')).toMatchObject({ output: 'again' });
    const restarted = one(await server.events(runId), 'step.restarted').data;
    expect(restarted.kind).toBe(runId === inTool ? 'tool' : 'model');
  }

  expect(violations).toEqual([]);
  expect(effects.length).toBeGreaterThan(25);
  await server.verifyRuns();
});

it('denies when a policy errs, for tools, direct calls and models [verifies policy.error.denies]', async () => {
  const before = effects.length;
  const { run, events } = await server.finish({ agent: 'free', input: '[[sim tools=broken()]] [[sim say="{{result}}"]]' });
  expect(run.status).toBe('completed');
  expect(one(events, 'policy.denied').data.decision).toMatchObject({ effect: 'deny', errors: [expect.stringContaining('overflow')] });
  expect(one(events, 'tool.completed').data).toMatchObject({ status: 'denied', error: { code: 'policy_denied' } });

  await server.agent('sleepy', { models: ['sim/sim-slow'] });
  expect(await server.call('POST', '/v1/runs', { agent: 'sleepy', input: 'hello' })).toMatchObject({
    status: 403,
    body: { code: 'policy_denied', details: { decisionId: expect.stringMatching(/^dec_/) } },
  });
  expect(effects.slice(before).map((effect) => effect.what)).toEqual(['model sim-large', 'model sim-large']);
});

it('denies what neither agent nor session allows, hosts included [verifies policy.default.deny policy.short-form]', async () => {
  await server.agent('bare', { policy: {} });
  const bare = await server.finish({ agent: 'bare', input: '[[sim tools=probe(),fs_list()]] [[sim say="ok"]]' });
  expect(all(bare.events, 'tool.completed').map((event) => event.data.status)).toEqual(['denied', 'denied']);

  const sessionId = await server.session({ agent: 'free', policy: { allow: ['http_fetch', 'net:127.0.0.1'] } });
  const hop = `http://127.0.0.1:${sitePort}/hop`;
  const pages = effects.filter((effect) => effect.what === 'http').length;
  const { events } = await server.finish({ sessionId, input: `[[sim tools=probe(),http_fetch(url="${hop}")]] [[sim say="ok"]]` });
  expect(all(events, 'tool.completed').map((event) => event.data.error?.code)).toEqual(['policy_denied', 'policy_denied']);
  expect(effects.filter((effect) => effect.what === 'http').length).toBe(pages + 1);
  expect(await server.call('POST', '/v1/tools/probe/execute', { sessionId, input: {} })).toMatchObject({ status: 403 });
  expect(violations).toEqual([]);
});

it('says which policies denied and what can be done about it, to the caller and to the model [verifies policy.explains]', async () => {
  await server.agent('asks-nobody', { policy: { allow: ['fs_list'], deny: ['probe'] } });
  const { events } = await server.finish({
    agent: 'asks-nobody',
    input: '[[sim tools=probe(),fs_write(path="a",content="b")]] [[sim say="ok"]]',
  });
  expect(all(events, 'policy.denied').map((event) => event.data.decision.reasons)).toEqual([['agent:deny[0]'], ['default-deny']]);
  expect(all(events, 'tool.completed').map((event) => event.data.error?.message)).toEqual([
    'policy does not allow tool.execute on Tool::"probe" (agent:deny[0]); do without it, or ask who is responsible for that policy',
    'policy does not allow tool.execute on Tool::"fs_write" (default-deny); nothing permits it: allow: ["fs_write"] in the policy of the agent or of the operator can allow it',
  ]);
  const sessionId = await server.session({ agent: 'asks-nobody' });
  expect(await server.call('POST', '/v1/tools/probe/execute', { sessionId, input: {} })).toMatchObject({
    status: 403,
    body: {
      code: 'policy_denied',
      detail: expect.stringContaining('(agent:deny[0]); do without it'),
      details: { reasons: ['agent:deny[0]'] },
    },
  });
});

it('bounds the answer of a model by cap_tokens [verifies policy.obligation.cap-tokens]', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'nexus-e2e-cap-'));
  mkdirSync(join(folder, 'policies'));
  writeFileSync(
    join(folder, 'policies', 'cap.cedar'),
    '@id("cap") @obligation("cap_tokens:40") permit (principal is Agent, action == Action::"model.invoke", resource is Model);',
  );
  const capped = await startTestServer({ dataDir: folder });
  try {
    await capped.agent('free');
    const { events } = await capped.finish({ agent: 'free', input: '[[sim say="word" tokens=90]]' });
    expect(one(events, 'model.started').data.maxTokens).toBe(40);
    expect(one(events, 'model.completed').data.usage.outputTokens).toBe(40);
  } finally {
    await capped.close();
    rmSync(folder, { recursive: true, force: true });
  }
});
