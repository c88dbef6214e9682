import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { all, one, startTestServer, type TestServer } from './support/server.ts';
import { createProbe } from './support/tools.ts';

const probe = createProbe();
let server: TestServer;

beforeAll(async () => {
  server = await startTestServer({ tools: probe.tools, config: { runs: { maxWaitMs: 60_000 } } });
  await server.agent('patient', { tools: ['wait', 'probe'], policy: { allow: ['wait', 'probe'] }, maxParallelTools: 2 });
  await server.agent('hasty', { tools: ['wait'], policy: { deny: ['wait'] } });
});
afterEach(() => server.verifyRuns());
afterAll(() => server.close());

const say = '[[sim say="{{results}}"]]';

it('sleeps beside other calls of its step, in no process, and goes on by itself [verifies waits.timer]', async () => {
  const runId = await server.start({
    agent: 'patient',
    input: `[[sim tools=wait(seconds=1),probe(label="meanwhile"),wait(seconds=2)]] ${say}`,
  });
  const waiting = await server.until(runId, 'waiting');
  expect(waiting.waitingFor).toMatchObject({ reason: 'timer', until: expect.stringMatching(/^\d{4}-.*Z$/) });
  expect(await server.until(runId, 'completed')).toMatchObject({ output: expect.stringContaining('meanwhile') });
  const events = await server.events(runId);
  const started = all(events, 'tool.started').filter(({ data }) => data.until !== undefined);
  expect(started).toHaveLength(2);
  for (const { data } of started) {
    const ended = all(events, 'tool.completed').find((event) => event.data.callId === data.callId);
    expect(Date.parse(String(ended?.at))).toBeGreaterThanOrEqual(Date.parse(data.until ?? ''));
  }
  expect(one(events, 'run.completed').data.totals.toolCalls).toBe(3);
});

it('waits until a time, also one that is over [verifies waits.timer]', async () => {
  const soon = new Date(Date.now() + 500).toISOString();
  const { run, events } = await server.finish({
    agent: 'patient',
    input: `[[sim tools=wait(until="${soon}"),wait(until="2020-01-01T00:00:00+02:00")]] ${say}`,
  });
  expect(run).toMatchObject({ status: 'completed', output: expect.stringMatching(/It is .* now/) });
  expect(all(events, 'tool.completed').map(({ data }) => data.status)).toEqual(['ok', 'ok']);
});

it('tells the model of a wait that is too long, or no time at all [verifies waits.bounded]', async () => {
  const bad = ['seconds=61', 'until="tomorrow"', 'until="2026-01-01T00:00:00"', 'seconds=1,until="2020-01-01T00:00:00Z"', ''];
  for (const given of bad) {
    const { run, events } = await server.finish({ agent: 'patient', input: `[[sim tools=wait(${given})]] ${say}` });
    expect(run.status).toBe('completed');
    expect(one(events, 'tool.completed').data.error).toMatchObject({ code: 'tool_input_invalid' });
    expect(all(events, 'tool.started')).toEqual([]);
  }
});

it('waits only where policy allows it and the budget has a call left [verifies waits.bounded]', async () => {
  const { events } = await server.finish({ agent: 'hasty', input: `[[sim tools=wait(seconds=1)]] ${say}` });
  expect(one(events, 'tool.completed').data).toMatchObject({ status: 'denied', error: { code: 'policy_denied' } });
  const { run } = await server.finish({
    agent: 'patient',
    input: `[[sim tools=wait(seconds=1),wait(seconds=1)]] ${say}`,
    budget: { toolCalls: 1 },
  });
  expect(run).toMatchObject({ status: 'failed', error: { code: 'budget_exceeded' } });
});

it('ends with a cancel and with the deadline of its run [verifies waits.bounded]', async () => {
  const input = `[[sim tools=wait(seconds=50)]] ${say}`;
  const runId = await server.start({ agent: 'patient', input });
  await server.until(runId, 'waiting');
  await server.call('POST', `/v1/runs/${runId}/cancel`, {});
  await server.until(runId, 'cancelled');
  const late = await server.start({ agent: 'patient', input, deadlineMs: 1_000 });
  expect(await server.until(late, 'failed')).toMatchObject({ error: { code: 'deadline_exceeded' } });
});

it('is no tool that is called by itself [verifies waits.bounded]', async () => {
  const session = await server.call('POST', '/v1/sessions', { agent: 'patient' });
  const answer = await server.call('POST', '/v1/tools/wait/execute', { sessionId: session.body.id, input: { seconds: 1 } });
  expect(answer).toMatchObject({ status: 400, body: { code: 'invalid_request' } });
});
