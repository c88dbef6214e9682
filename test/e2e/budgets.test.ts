import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { startSimulator } from '../../packages/server/src/llm/sim/index.ts';
import { type Recorder, startRecorder } from './support/recorder.ts';
import { all, one, pause, startTestServer, type TestServer, tenant } from './support/server.ts';
import { readStream } from './support/stream.ts';
import { createProbe } from './support/tools.ts';

const probe = createProbe();
let server: TestServer;
let recorder: Recorder;

beforeAll(async () => {
  const simulator = await startSimulator();
  recorder = await startRecorder(simulator.url);
  server = await startTestServer({
    tools: probe.tools,
    simulator,
    modelUrl: () => recorder.url,
  });
  await server.agent('free');
});
afterEach(() => server.verifyRuns());
afterAll(async () => {
  await server.close();
  await recorder.close();
});

const view = async (sessionId: string) => (await server.call('GET', `/v1/sessions/${sessionId}`)).body.budget;

it('shows the budget of a session as limit, spent and reserved [verifies api.session.view]', async () => {
  const sessionId = await server.session({ agent: 'free', budget: { costMicroUsd: 500_000 } });
  expect(await view(sessionId)).toMatchObject({
    limit: { costMicroUsd: 500_000 },
    spent: { costMicroUsd: 0 },
    reserved: { costMicroUsd: 0 },
  });
  const { run } = await server.finish({ sessionId, input: 'hello' });
  expect(await view(sessionId)).toMatchObject({
    spent: { costMicroUsd: run.totals.costMicroUsd, toolCalls: 0 },
    reserved: { costMicroUsd: 0 },
  });
});

it('refuses a run before anything is written when the budget does not cover its first call [verifies budget.refusal.names]', async () => {
  const sessionId = await server.session({ agent: 'free', budget: { costMicroUsd: 40 } });
  const answered = () => recorder.requests.filter(({ path }) => !/count|tokenize/.test(path)).length;
  const requests = answered();
  const refused = await server.call('POST', '/v1/agents/chat/stream', { sessionId, input: 'hello' });
  expect(refused).toMatchObject({
    status: 402,
    body: {
      code: 'budget_exceeded',
      details: { scope: { kind: 'session', id: sessionId }, unit: 'costMicroUsd', limit: 40, available: 40, asked: expect.any(Number) },
    },
  });
  expect(refused.body.details.asked).toBeGreaterThan(40);
  expect((await server.call('GET', `/v1/runs?sessionId=${sessionId}`)).body.data).toEqual([]);
  expect(await view(sessionId)).toMatchObject({ spent: { costMicroUsd: 0 }, reserved: { costMicroUsd: 0 } });
  expect(answered()).toBe(requests);

  const runs = (await server.call('GET', '/v1/runs?limit=200')).body.data.length;
  const sessions = (await server.call('GET', '/v1/sessions?limit=200')).body.data.length;
  expect((await server.call('POST', '/v1/runs', { agent: 'free', input: 'hello', budget: { tokens: 10 } })).status).toBe(402);
  expect((await server.call('GET', '/v1/runs?limit=200')).body.data).toHaveLength(runs);
  expect((await server.call('GET', '/v1/sessions?limit=200')).body.data).toHaveLength(sessions);
});

it('asks no model whose price is not known, and takes none as free [verifies budget.price.unknown]', async () => {
  await server.agent('unpriced', { models: ['unpriced/sim-large'] });
  const requests = recorder.requests.length;
  expect(await server.call('POST', '/v1/runs', { agent: 'unpriced', input: 'hello' })).toMatchObject({
    status: 403,
    body: { code: 'price_unknown', detail: expect.stringMatching(/no price is known for unpriced\/sim-large(?!.*policy)/) },
  });
  expect(recorder.requests).toHaveLength(requests);
});

it('has the input counted before it refuses a call for what that may cost [verifies budget.input.counted]', async () => {
  for (const [name, model] of [
    ['counted-openai', 'sim/sim-large'],
    ['counted-anthropic', 'sim-anthropic/sim-large'],
  ] as const) {
    // Some 1,200 tokens, and five times as many bytes.
    await server.agent(name, { models: [model], tools: [], instructions: 'Certainly everybody understands. '.repeat(200) });
    const counts = () => recorder.requests.filter(({ path }) => /count|tokenize/.test(path)).length;
    const before = counts();
    const { run } = await server.finish({ agent: name, input: '[[sim say="yes"]]', budget: { tokens: 2_000 } });
    expect(run).toMatchObject({ status: 'completed', output: 'yes' });
    expect(counts() - before).toBe(1);
    // What no count brings below the budget is refused.
    const refused = await server.call('POST', '/v1/agents/chat/stream', {
      agent: name,
      input: 'word '.repeat(3_000),
      budget: { tokens: 2_000 },
    });
    expect(refused).toMatchObject({ status: 402, body: { code: 'budget_exceeded', details: { unit: 'tokens' } } });
    expect(counts() - before).toBe(2);
  }
});

it('has it counted within a run too, when a result is long [verifies budget.input.counted]', async () => {
  await server.agent('echo', { models: ['sim/sim-large'], tools: ['probe'] });
  const ask = (word: string) => `[[sim tools=probe(label="${`${word} everybody understands. `.repeat(60)}")]] [[sim say="done"]]`;
  const { run: first } = await server.finish({ agent: 'echo', input: ask('Certainly') });
  const tokens = first.totals.inputTokens + first.totals.outputTokens + 200;
  expect((await server.finish({ agent: 'echo', input: ask('Generally'), budget: { tokens } })).run).toMatchObject({
    status: 'completed',
    output: 'done',
  });
});

it('fails a run that its budget refuses midway, and goes on after a raise without repeating anything [verifies budget.refused.resumable]', async () => {
  const sessionId = await server.session({ agent: 'free', budget: { toolCalls: 2 } });
  const input = '[[sim tools=probe(label="a")]] [[sim tools=probe(label="b"),probe(label="c")]] [[sim say="{{results}}"]]';
  const before = probe.calls.length;
  const { run, events } = await server.finish({ sessionId, input });
  expect(run).toMatchObject({
    status: 'failed',
    resumable: true,
    error: { code: 'budget_exceeded', details: { unit: 'toolCalls', asked: 1, available: 0, scope: { kind: 'session' } } },
  });
  expect(one(events, 'budget.refused').data).toMatchObject({ purpose: 'tool', refusal: { unit: 'toolCalls', limit: 2, available: 0 } });
  expect(probe.calls.slice(before).map((call) => call.input.label)).toEqual(['a', 'b']);

  expect(await server.call('POST', `/v1/runs/${run.id}/resume`)).toMatchObject({ status: 202 });
  await expect.poll(async () => (await server.events(run.id)).filter((event) => event.type === 'run.failed').length).toBe(2);

  const raised = { scope: { kind: 'session', id: sessionId }, unit: 'toolCalls', limit: 3 };
  expect(await server.call('PUT', '/v1/budgets', raised)).toMatchObject({ status: 200, body: { limit: 3, spent: 2 } });
  await server.until(run.id, 'failed');
  const models = recorder.requests.length;
  expect((await server.call('POST', `/v1/runs/${run.id}/resume`)).status).toBe(202);
  expect(await server.until(run.id, 'completed')).toMatchObject({ output: 'a\nb\nc' });
  expect(probe.calls.slice(before).map((call) => call.input.label)).toEqual(['a', 'b', 'c']);
  expect(recorder.requests.length - models).toBe(1);
  const after = await server.events(run.id);
  expect(all(after, 'run.resumed').map((event) => event.data.reason)).toEqual(['budget', 'budget']);
  expect(await server.call('POST', `/v1/runs/${run.id}/resume`)).toMatchObject({ status: 409 });
});

it('asks the provider for no more output than the budget affords [verifies budget.max-tokens.clamped]', async () => {
  await server.agent('plain', { tools: [] });
  const sessionId = await server.session({ agent: 'plain', budget: { tokens: 3_000 } });
  const { run, events } = await server.finish({ sessionId, input: 'hello' });
  expect(run.status).toBe('completed');
  const started = one(events, 'model.started').data;
  expect(started).toMatchObject({ clamped: true });
  expect(started.maxTokens).toBeLessThan(3_000);
  expect(recorder.requests.at(-1)?.body).toMatchObject({ max_completion_tokens: started.maxTokens });
  expect(one(events, 'budget.reserved').data.amounts.tokens).toBe(3_000);

  const long = await server.finish({ agent: 'plain', budget: { tokens: 3_000 }, input: '[[sim say="many words " tokens=9000]]' });
  expect(long.run).toMatchObject({
    status: 'failed',
    resumable: true,
    error: { code: 'budget_exceeded', message: expect.stringContaining('cut after') },
  });
  expect(one(long.events, 'model.completed').data.finishReason).toBe('length');
  await server.call('PUT', '/v1/budgets', { scope: { kind: 'run', id: long.run.id }, unit: 'tokens', limit: 50_000 });
  await server.call('POST', `/v1/runs/${long.run.id}/resume`);
  const run2 = await server.until(long.run.id, 'completed', 'failed');
  // 4,096 tokens are the agent's own limit: the answer is as long as it was asked for, and says how it ended.
  expect(run2.status).toBe('completed');
  expect(one(await server.events(long.run.id), 'message.completed').data.finishReason).toBe('length');
});

it('holds runs to the budgets of their tenant and agent', async () => {
  await server.agent('dear');
  for (const scope of [
    { kind: 'agent', id: 'dear' },
    { kind: 'tenant', id: tenant },
  ]) {
    await server.call('PUT', '/v1/budgets', { scope, unit: 'costMicroUsd', window: 'day', limit: 30 });
    expect(await server.call('POST', '/v1/runs', { agent: 'dear', input: 'hello' })).toMatchObject({
      status: 402,
      body: { details: { scope, window: 'day' } },
    });
    await server.call('PUT', '/v1/budgets', { scope, unit: 'costMicroUsd', window: 'day', limit: 900_000_000 });
  }
  expect((await server.finish({ agent: 'dear', input: 'hello' })).run.status).toBe('completed');
});

it('reserves the most that a tool may cost and settles what it did cost [verifies budget.tool.reserved]', async () => {
  const { events } = await server.finish({ agent: 'free', input: '[[sim tools=costly()]] [[sim say="ok"]]' });
  const id = one(events, 'tool.started').data.reservationId;
  expect(all(events, 'budget.reserved').find((event) => event.data.reservationId === id)?.data.amounts).toMatchObject({
    toolCalls: 1,
    costMicroUsd: 2_000,
  });
  expect(all(events, 'budget.settled').find((event) => event.data.reservationId === id)?.data.amounts).toMatchObject({
    toolCalls: 1,
    costMicroUsd: 500,
  });
});

it('settles a cancelled and an abandoned stream, and leaves nothing reserved [verifies budget.cancel.leaks-nothing stream.detach]', async () => {
  await server.agent('slow', { models: ['sim/sim-large?tokensPerSecond=150'] });
  const body = { agent: 'slow', input: '[[sim say="word" tokens=60]]' };
  const url = `${server.app.url}/v1/agents/chat/stream`;
  const left = await readStream(url, { body, until: (frame) => frame.event === 'model.delta' });
  const runId = left.frames[0]?.data.runId ?? '';
  expect((await server.until(runId, 'completed')).output?.split(' ')).toHaveLength(60);

  const cancelled = await readStream(url, { body, until: (frame) => frame.event === 'model.delta' });
  const id = cancelled.frames[0]?.data.runId ?? '';
  await server.call('POST', `/v1/runs/${id}/cancel`);
  const run = await server.until(id, 'cancelled');
  // What came, and what may have been on its way when the answer was left.
  expect(run.totals.outputTokens).toBeLessThan(60 + 64);
  const settled = one(await server.events(id), 'budget.settled').data;
  expect(settled).toMatchObject({ outcome: 'settled', amounts: { tokens: run.totals.inputTokens + run.totals.outputTokens } });
  expect(settled.amounts.tokens).toBeGreaterThan(0);
  const open = await server.app.store.listReservations(tenant, { state: 'open' });
  expect(open).toEqual([]);
});

it('holds parallel runs of one session to its limit together: each waits for what the others hold [verifies budget.admission.waits]', async () => {
  const sessionId = await server.session({ agent: 'free', budget: { costMicroUsd: 60_000 } });
  await server.agent('slow', { models: ['sim/sim-large?latencyMs=200'] });
  const answers = await Promise.all(
    Array.from({ length: 12 }, () => server.call('POST', '/v1/runs', { sessionId, agent: 'slow', input: 'hello', whileBusy: 'parallel' })),
  );
  const started = answers.filter(({ status }) => status === 202);
  expect(started).toHaveLength(12);
  const runs = await Promise.all(started.map(({ body }) => server.until(body.id, 'completed', 'failed')));
  expect(runs.map(({ status }) => status)).not.toContain('failed');
  const { spent, reserved } = await view(sessionId);
  expect(spent.costMicroUsd).toBeLessThanOrEqual(60_000);
  expect(reserved.costMicroUsd).toBe(0);
}, 60_000);

it("carves a sub-agent's budget from its parent's, and its refusal is a result for the parent [verifies budget.child.carved]", async () => {
  await server.agent('worker');
  await server.agent('boss', { subagents: ['worker', 'nobody'], maxParallelTools: 2 });
  const task = (text: string, more = '') => `agent_worker(task=${JSON.stringify(text)}${more})`;
  const input = `[[sim tools=${task('[[sim say="child says hi"]]', ',maxCostMicroUsd=30000')},${task('hello', ',maxCostMicroUsd=25')},agent_nobody(task="x")]] [[sim say="{{results}}"]]`;
  const { run, events } = await server.finish({ agent: 'boss', input, budget: { costMicroUsd: 200_000, toolCalls: 10 } });
  expect(run.status).toBe('completed');
  expect(run.output).toContain('child says hi');
  expect(run.output).toContain('budget_exceeded');
  expect(run.output).toContain('there is no agent');
  expect(
    all(events, 'tool.completed')
      .map((event) => event.data.status)
      .sort(),
  ).toEqual(['error', 'error', 'ok']);
  const children = (await server.call('GET', `/v1/runs?sessionId=${run.sessionId}`)).body.data.filter(
    (row: { parentRunId?: string }) => row.parentRunId === run.id,
  );
  expect(children).toHaveLength(2);
  const spentByChildren = children.reduce((sum: number, row: { totals: { costMicroUsd: number } }) => sum + row.totals.costMicroUsd, 0);
  expect(spentByChildren).toBeGreaterThan(0);
  const rows = (await server.call('GET', `/v1/budgets?scope=run:${run.id}`)).body.data;
  const cost = rows.find((row: { unit: string }) => row.unit === 'costMicroUsd');
  expect(cost).toMatchObject({ limit: 200_000, reserved: 0, spent: run.totals.costMicroUsd + spentByChildren });
});

it('counts sub-agents at work as running tools [verifies tools.bounded]', async () => {
  await server.agent('worker');
  await server.agent('boss', { subagents: ['worker'], maxParallelTools: 2 });
  const task = '[[sim tools=probe(waitMs=60)]] [[sim say="done"]]';
  const calls = Array.from({ length: 5 }, () => `agent_worker(task=${JSON.stringify(task)})`).join(',');
  probe.mostRunning = 0;
  const { run } = await server.finish({ agent: 'boss', input: `[[sim tools=${calls}]] [[sim say="{{results}}"]]` });
  expect(run.output).toBe('done\ndone\ndone\ndone\ndone');
  expect(probe.mostRunning).toBe(2);
});

it('cancels the sub-agents of a cancelled run', async () => {
  await server.agent('worker');
  await server.agent('boss', { subagents: ['worker'] });
  const task = JSON.stringify('[[sim tools=probe(waitMs=9000)]]');
  const runId = await server.start({ agent: 'boss', input: `[[sim tools=agent_worker(task=${task})]]` });
  const child = (await server.event(runId, 'tool.started')).data.childRunId ?? '';
  await server.until(runId, 'waiting');
  await pause(30);
  await server.call('POST', `/v1/runs/${runId}/cancel`);
  expect((await server.until(runId, 'cancelled')).status).toBe('cancelled');
  await server.until(child, 'cancelled');
});
