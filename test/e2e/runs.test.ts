import { WireEvent } from '@nexus-agent/protocol';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { all, one, pause, startTestServer, type TestServer, tenant, typesOf } from './support/server.ts';
import { createProbe } from './support/tools.ts';

const probe = createProbe();
let server: TestServer;
beforeAll(async () => {
  server = await startTestServer({ tools: probe.tools });
  await server.agent('free', { maxParallelTools: 2 });
});
afterEach(() => server.verifyRuns());
afterAll(() => server.close());

it('streams, journals and settles a run with a tool [verifies durability.log.gap-free budget.tool.reserved budget.model.reserved]', async () => {
  const { run, events } = await server.finish({
    agent: 'free',
    input: '[[sim tools=probe(label="42")]] [[sim think="that was quick" say="The answer is {{result}}."]]',
  });
  expect(run).toMatchObject({ status: 'completed', output: 'The answer is 42.', step: 2, totals: { modelCalls: 2, toolCalls: 1 } });
  expect(typesOf(events)).toEqual([
    'run.created',
    'run.started',
    'step.started',
    'budget.reserved',
    'model.started',
    'model.completed',
    'budget.settled',
    'tool.requested',
    'budget.reserved',
    'tool.started',
    'tool.completed',
    'budget.settled',
    'step.started',
    'budget.reserved',
    'model.started',
    'model.completed',
    'budget.settled',
    'message.completed',
    'run.completed',
  ]);
  const settled = all(events, 'budget.settled').reduce((sum, event) => sum + (event.data.amounts.costMicroUsd ?? 0), 0);
  expect(run.totals.costMicroUsd).toBe(settled);
  const entries = await server.app.store.listLedgerEntries(tenant, { runId: run.id as never }, { limit: 100 }); // the run's own id
  expect(entries.items.reduce((sum, entry) => sum + (entry.amounts.costMicroUsd ?? 0), 0)).toBe(settled);
});

it('streams only events that fit their schemas [verifies protocol.fold]', async () => {
  const response = await fetch(`${server.app.url}/v1/agents/chat/stream`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'text/event-stream' },
    body: JSON.stringify({ agent: 'free', input: '[[sim tools=probe(),unknown()]] [[sim think="so" say="Both are done."]]' }),
  });
  const frames = [...(await response.text()).matchAll(/^event: (.*)\ndata: (.*)$/gm)].map(([, type, data]) => ({ type, data: data ?? '' }));
  expect(frames.map(({ type }) => type)).toEqual(expect.arrayContaining(['model.delta', 'tool.completed', 'run.completed']));
  for (const { type, data } of frames) expect(WireEvent.parse(JSON.parse(data)).type).toBe(type);
});

it('runs parallel tools up to the bound and gives results in the order of the request [verifies tools.bounded tools.order]', async () => {
  probe.mostRunning = 0;
  const calls = [90, 10, 60, 5, 30].map((waitMs, index) => `probe(label="r${index}",waitMs=${waitMs})`).join(',');
  const { run, events } = await server.finish({ agent: 'free', input: `[[sim tools=${calls}]] [[sim say="{{results}}"]]` });
  expect(probe.mostRunning).toBe(2);
  expect(run.output).toBe('r0\nr1\nr2\nr3\nr4');
  expect(all(events, 'tool.completed').map((event) => event.data.output)).not.toEqual(['r0', 'r1', 'r2', 'r3', 'r4']);
});

it('hands tool errors, unknown tools and unreadable arguments to the model as results [verifies tools.error.result tools.schema]', async () => {
  const before = probe.calls.length;
  const { run, events } = await server.finish({
    agent: 'free',
    input: '[[sim tools=broken(),nothing(),probe(waitMs="soon"),probe!("{broken")]] [[sim say="{{results}}"]]',
  });
  expect(run.status).toBe('completed');
  expect(
    all(events, 'tool.completed')
      .map((event) => event.data.error?.code)
      .sort(),
  ).toEqual(['tool_failed', 'tool_input_invalid', 'tool_input_invalid', 'tool_not_found']);
  expect(run.output).toContain('waitMs');
  expect(run.output).not.toContain('node:internal');
  expect(probe.calls.slice(before).map((call) => call.name)).toEqual(['broken']);
});

it('checks the final answer against the output schema, and asks again for one that does not fit', async () => {
  const outputSchema = { type: 'object', properties: { total: { type: 'number' } }, required: ['total'], additionalProperties: false };
  await server.agent('typed', { tools: [], outputSchema });
  const good = await server.finish({ agent: 'typed', input: 'What is the total of 3 and 4?' });
  expect(good.run.status).toBe('completed');
  expect(one(good.events, 'message.completed').data.output).toEqual({ total: expect.any(Number) });

  for (const [said, why] of [
    ['no JSON at all', /not JSON/],
    ['{\\"total\\":\\"many\\"}', /total/],
  ] as const) {
    const bad = await server.finish({ agent: 'typed', input: `[[sim say="${said}"]]` });
    expect(one(bad.events, 'answer.refused').data.message).toMatch(why);
    expect(bad.run).toMatchObject({ status: 'completed', totals: { modelCalls: 2 } });
    expect(one(bad.events, 'message.completed').data.output).toEqual({ total: expect.any(Number) });
  }
});

it('sends images to the model', async () => {
  const pixel = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
  const image = { type: 'image', mediaType: 'image/png', data: { base64: pixel } };
  for (const model of ['sim/sim-large', 'sim-anthropic/sim-large']) {
    await server.agent('eyes', { models: [model] });
    const { run } = await server.finish({ agent: 'eyes', input: 'What is this?', attachments: [image] });
    expect(run.output).toContain('an image');
  }
});

it('ends a run at its step limit, in a loop and at its deadline, and says so [verifies durability.limits]', async () => {
  await server.agent('short', { maxSteps: 2 });
  const steps = await server.finish({
    agent: 'short',
    input: '[[sim tools=probe(label="a")]] [[sim tools=probe(label="b")]] [[sim say="never said"]]',
  });
  expect(steps.run).toMatchObject({ status: 'failed', error: { code: 'step_limit_exceeded', details: { maxSteps: 2 } }, resumable: false });

  const again = '[[sim tools=probe(label="same")]]';
  const loop = await server.finish({ agent: 'free', input: `${again} ${again} ${again} ${again} ${again}` });
  expect(loop.run).toMatchObject({ status: 'failed', step: 3, error: { code: 'loop_detected' }, resumable: false });

  const startedAt = Date.now();
  const late = await server.finish({ agent: 'free', input: '[[sim tools=probe(waitMs=9000)]]', deadlineMs: 250 });
  expect(late.run).toMatchObject({ status: 'failed', error: { code: 'deadline_exceeded' }, resumable: false });
  expect(Date.now() - startedAt).toBeLessThan(3_000);
  expect(probe.stopped).toContain(one(late.events, 'tool.started').data.callId);
});

it('lets a deadline end a run that waits for a person, once', async () => {
  const { run, events } = await server.finish({ agent: 'free', input: '[[sim tools=ask_human(question="Now?")]]', deadlineMs: 200 });
  expect(run).toMatchObject({ status: 'failed', error: { code: 'deadline_exceeded' } });
  expect(all(events, 'run.waiting')).toHaveLength(1);
  const approval = one(events, 'approval.requested').data.approvalId;
  expect((await server.call('GET', `/v1/approvals/${approval}`)).body.status).toBe('cancelled');
});

it('cancels the upstream request and the tools within a bound [verifies durability.cancel budget.cancel.leaks-nothing]', async () => {
  await server.agent('slow', { models: ['sim/sim-large?tokensPerSecond=20'] });
  const speaking = await server.start({ agent: 'slow', input: '[[sim say="word" tokens=400]]' });
  await server.event(speaking, 'model.started');
  await pause(120);
  const aborted = server.sim.stats().models['sim-large']?.aborted ?? 0;
  let startedAt = Date.now();
  expect((await server.call('POST', `/v1/runs/${speaking}/cancel`, { reason: 'enough' })).status).toBe(200);
  const run = await server.until(speaking, 'cancelled');
  expect(Date.now() - startedAt).toBeLessThan(1_500);
  expect(run.totals.costMicroUsd).toBeGreaterThan(0);
  expect(run.totals.outputTokens).toBeLessThan(100);
  expect(one(await server.events(speaking), 'run.cancelled').data.reason).toBe('enough');
  await expect.poll(() => server.sim.stats().models['sim-large']?.aborted ?? 0).toBe(aborted + 1);

  const working = await server.start({ agent: 'free', input: '[[sim tools=probe(waitMs=9000),send(waitMs=20)]]' });
  const started = await server.event(working, 'tool.started');
  startedAt = Date.now();
  await server.call('POST', `/v1/runs/${working}/cancel`);
  await server.until(working, 'cancelled');
  expect(Date.now() - startedAt).toBeLessThan(1_500);
  expect(probe.stopped).toContain(started.data.callId);

  const repeated = await server.call('POST', `/v1/runs/${working}/cancel`);
  expect(repeated).toMatchObject({ status: 200, body: { status: 'cancelled' } });
});

it('closing a session cancels its runs and lets none begin', async () => {
  const sessionId = await server.session({ agent: 'free' });
  const failed = await server.finish({ sessionId, input: '[[sim say="x" finish=content_filter]]' });
  const done = await server.finish({ sessionId, input: '[[sim say="first"]]' });
  const waiting = await server.start({ sessionId, input: '[[sim tools=ask_human(question="?")]]' });
  await server.until(waiting, 'waiting');
  expect((await server.call('POST', `/v1/sessions/${sessionId}/close`)).status).toBe(204);
  await server.until(waiting, 'cancelled');
  expect(await server.call('POST', '/v1/runs', { sessionId, input: 'hello' })).toMatchObject({ status: 409, body: { code: 'conflict' } });
  expect(await server.call('POST', `/v1/runs/${done.run.id}/fork`, {})).toMatchObject({ status: 409 });
  expect(failed.run).toMatchObject({ status: 'failed', error: { code: 'content_filtered' } });
});

it('gives a run the turns of the session before it', async () => {
  const sessionId = await server.session({ agent: 'free' });
  await server.finish({ sessionId, input: '[[sim tools=probe(label="seven")]] [[sim say="It is {{result}}."]]' });
  await server.finish({ sessionId, input: '[[sim say="Second answer."]]' });
  const { body } = await server.call('GET', `/v1/sessions/${sessionId}/messages`);
  const texts = body.data.map((entry: { message: { role: string } }) => entry.message.role);
  expect(texts).toEqual(['user', 'assistant', 'user', 'assistant', 'tool', 'assistant']);
  const third = await server.finish({ sessionId, input: 'hello' });
  expect(one(third.events, 'run.created').data.history).toHaveLength(1);
  expect(one(third.events, 'model.completed').data.usage.inputTokens).toBeGreaterThan(
    one((await server.finish({ agent: 'free', input: 'hello' })).events, 'model.completed').data.usage.inputTokens,
  );
});
