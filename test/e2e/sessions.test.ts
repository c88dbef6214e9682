import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { startSimulator } from '../../packages/server/src/llm/sim/index.ts';
import { type Recorder, startRecorder } from './support/recorder.ts';
import { type Answer, all, one, startTestServer, type TestServer, typesOf } from './support/server.ts';
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
    models: { 'sim/sim-small': { contextTokens: 9_000 } },
  });
  await server.agent('free', { models: ['sim/sim-large', 'sim-anthropic/sim-small'] });
  await server.agent('small', { models: ['sim/sim-small'], tools: [], maxOutputTokens: 1_000 });
});
afterEach(() => server.verifyRuns());
afterAll(async () => {
  await server.close();
  await recorder.close();
});

it('creates once per idempotency key, on every POST that creates [verifies api.idempotency]', async () => {
  const sessionId = await server.session({ agent: 'free', budget: { toolCalls: 100 } });
  const forked = await server.finish({ sessionId, input: '[[sim say="original"]]' });
  const cases: [string, Record<string, unknown>, Record<string, unknown>][] = [
    ['/v1/sessions', { agent: 'free', user: 'ada' }, { agent: 'free', user: 'bob' }],
    ['/v1/runs', { sessionId, input: '[[sim say="one"]]' }, { sessionId, input: '[[sim say="two"]]' }],
    [`/v1/runs/${forked.run.id}/fork`, { input: 'hello' }, { input: 'good morning' }],
    ['/v1/keys', { name: 'one' }, { name: 'two' }],
  ];
  for (const [path, body, other] of cases) {
    const post = (content: unknown) => server.call('POST', path, content, { 'idempotency-key': 'the-same' });
    const answers = await Promise.all([post(body), post(body), post(body)]);
    expect(
      answers.every(({ status }) => status < 300),
      `${path} ${JSON.stringify(answers[0]?.body)}`,
    ).toBe(true);
    expect(new Set(answers.map((answer) => answer.body.id)).size, path).toBe(1);
    expect(
      answers.filter((answer) => answer.headers.get('idempotent-replayed') === 'true'),
      path,
    ).toHaveLength(2);
    expect(await post(other), path).toMatchObject({ status: 409, body: { code: 'idempotency_conflict' } });
    if (path === '/v1/keys') expect(answers.filter((answer) => answer.body.secret !== undefined)).toHaveLength(1);
    if (path === '/v1/runs') await server.until(answers[0]?.body.id, 'completed');
  }
  const stream = () =>
    readStream(`${server.app.url}/v1/agents/chat/stream`, {
      body: { sessionId, input: '[[sim say="streamed"]]' },
      headers: { 'idempotency-key': 'stream' },
    });
  const [first, second] = [await stream(), await stream()];
  expect(second.frames.filter(({ data }) => 'seq' in data)).toEqual(first.frames.filter(({ data }) => 'seq' in data));
});

it('answers a repeat also when the budget would refuse a second run', async () => {
  const sessionId = await server.session({ agent: 'small', budget: { tokens: 1_000 } });
  const post = (key = 'scarce') =>
    server.call('POST', '/v1/runs', { sessionId, input: '[[sim say="word" tokens=850]]' }, { 'idempotency-key': key });
  const first = await post();
  expect(first.status).toBe(202);
  await server.until(first.body.id, 'completed');
  expect(await post('another')).toMatchObject({ status: 402 });
  expect(await post()).toMatchObject({ status: 202, body: { id: first.body.id } });
});

it('forks before a model call with edits and leaves the original as it was [verifies durability.fork]', async () => {
  const script = (last: string) => `[[sim tools=probe(label="kept")]] [[sim say="${last} {{result}}"]]`;
  const { run, events } = await server.finish({ agent: 'free', input: script('first') });
  const lastCall = all(events, 'model.started')[1]?.seq ?? 0;
  const calls = probe.calls.length;
  const fork = async (body: unknown) => {
    const { status, body: forked } = await server.call('POST', `/v1/runs/${run.id}/fork`, body);
    expect(status).toBe(202);
    return { run: await server.until(forked.id, 'completed'), events: await server.events(forked.id) };
  };
  const edited = await fork({ input: script('second') });
  expect(edited.run.output).toBe('second kept');
  expect(probe.calls).toHaveLength(calls);
  const created = one(edited.events, 'run.created').data;
  expect(created.forkOf).toEqual({
    runId: run.id,
    afterSeq: lastCall - 1,
  });
  expect(typesOf(await server.events(run.id))).toEqual(typesOf(events));

  const early = await fork({ afterSeq: 1, input: '[[sim say="from the start"]]', model: 'sim-anthropic/sim-small' });
  expect(early.run.output).toBe('from the start');
  expect(one(early.events, 'model.started').data.provider).toBe('sim-anthropic');

  const inTool = one(events, 'tool.started').seq;
  const refused = await server.call('POST', `/v1/runs/${run.id}/fork`, { afterSeq: inTool });
  expect(refused).toMatchObject({ status: 400, body: { code: 'invalid_request', details: { points: expect.arrayContaining([1]) } } });
  expect(refused.body.details.points).not.toContain(inTool);
});

it('holds a fork to all that a run is held to when it is started [verifies run.fork.as-start]', async () => {
  const { run } = await server.finish({ agent: 'free', input: '[[sim tools=probe(label="a")]] [[sim say="first"]]' });
  const runs = async () => (await server.call('GET', `/v1/runs?sessionId=${run.sessionId}`)).body.data.length;
  const fork = (body: unknown) => server.call('POST', `/v1/runs/${run.id}/fork`, body);
  const start = (body: object) => server.call('POST', '/v1/runs', { agent: 'free', input: 'x', sessionId: run.sessionId, ...body });
  for (const [wrong, status, code] of [
    [{ model: 'nobody/nothing' }, 404, 'model_not_found'],
    [{ model: 'sim-anthropic/sim-small' }, 202, undefined],
    [{ budget: { tokens: 5 } }, 402, 'budget_exceeded'],
    [{ budget: { costMicroUsd: -1 } }, 400, 'invalid_request'],
    [{ input: '' }, 400, 'invalid_request'],
    [{ input: 'x'.repeat(1_000_001) }, 400, 'invalid_request'],
    [{ input: [] }, 400, 'invalid_request'],
  ] as const) {
    const [before, forked] = [await runs(), await fork(wrong)];
    const after = await runs();
    const started = await start(wrong);
    expect([forked.status, forked.body.code], JSON.stringify(wrong).slice(0, 80)).toEqual([status, code]);
    expect([started.status, started.body.code], JSON.stringify(wrong).slice(0, 80)).toEqual([status, code]);
    expect(after - before).toBe(status === 202 ? 1 : 0); // what is refused does not exist
    for (const { body } of [forked, started]) if (status === 202) await server.until(body.id, 'completed', 'failed');
  }
  // The money that it may spend is kept for it before it exists, in one step with its creation.
  const { spent } = (await server.call('GET', `/v1/sessions/${run.sessionId}`)).body.budget;
  await server.call('PUT', '/v1/budgets', { scope: { kind: 'session', id: run.sessionId }, unit: 'tokens', limit: spent.tokens + 1 });
  expect(await fork({})).toMatchObject({ status: 402, body: { code: 'budget_exceeded', details: { scope: { kind: 'session' } } } });
});

it('forks a run that was resumed after its answer was refused', async () => {
  await server.agent('plain', { tools: [] });
  const { run } = await server.finish({ agent: 'plain', input: '[[sim say="word" tokens=9000]]', budget: { tokens: 3_000 } });
  expect(run.error?.code).toBe('budget_exceeded');
  await server.call('PUT', '/v1/budgets', { scope: { kind: 'run', id: run.id }, unit: 'tokens', limit: 50_000 });
  await server.call('POST', `/v1/runs/${run.id}/resume`);
  await server.until(run.id, 'completed');
  const { body } = await server.call('POST', `/v1/runs/${run.id}/fork`, { input: '[[sim say="short"]]' });
  expect((await server.until(body.id, 'completed')).output).toBe('short');
});

it('keeps what one tenant has from another [verifies stream.tenant api.keys]', async () => {
  const secret = (await server.call('POST', '/v1/keys', { name: 'guest', tenant: 'guest', scopes: ['runs', 'approvals', 'admin'] })).body
    .secret;
  const guest = (method: string, path: string, body?: unknown): Promise<Answer> =>
    server.call(method, path, body, { authorization: `Bearer ${secret}` });
  const sessionId = await server.session({ agent: 'free' });
  const runId = await server.start({ sessionId, input: '[[sim tools=ask_human(question="?")]]' });
  const { approvalId } = (await server.event(runId, 'approval.requested')).data;
  await server.until(runId, 'waiting');
  for (const [method, path, body] of [
    ['GET', `/v1/sessions/${sessionId}`],
    ['DELETE', `/v1/sessions/${sessionId}`],
    ['GET', `/v1/sessions/${sessionId}/messages`],
    ['GET', `/v1/runs/${runId}`],
    ['GET', `/v1/runs/${runId}/events`],
    ['GET', `/v1/runs/${runId}/decisions`],
    ['POST', `/v1/runs/${runId}/cancel`],
    ['POST', `/v1/runs/${runId}/resume`],
    ['POST', `/v1/runs/${runId}/replay`],
    ['POST', `/v1/runs/${runId}/fork`],
    ['GET', `/v1/approvals/${approvalId}`],
    ['POST', `/v1/approvals/${approvalId}`, { decision: 'answer', result: 'mine' }],
    ['POST', '/v1/runs', { sessionId, input: 'hello' }],
    ['POST', '/v1/tools/probe/execute', { sessionId, input: {} }],
  ] as const) {
    expect(await guest(method, path, body), `${method} ${path}`).toMatchObject({ status: 404, body: { code: 'not_found' } });
  }
  const stream = await readStream(`${server.app.url}/v1/runs/${runId}/events`, { headers: { authorization: `Bearer ${secret}` } });
  expect(stream).toMatchObject({ status: 404, frames: [] });
  for (const path of ['/v1/sessions', '/v1/runs', '/v1/approvals', '/v1/budgets', '/v1/usage', '/v1/keys']) {
    const { status, body } = await guest('GET', path);
    expect(status).toBe(200);
    expect(
      body.data.filter((row: { name?: string }) => row.name !== 'guest'),
      path,
    ).toEqual([]);
  }
  expect((await guest('GET', '/v1/agents')).body.data.map((row: { name: string }) => row.name)).toEqual(['chat']);
  expect((await server.run(runId)).status).toBe('waiting');
  await server.call('POST', `/v1/runs/${runId}/cancel`);
  await server.until(runId, 'cancelled');
});

it('lets a key do what its scopes say until it expires or is revoked [verifies api.keys]', async () => {
  const create = async (body: Record<string, unknown>) => (await server.call('POST', '/v1/keys', body)).body;
  const use = async (secret: string, path = '/v1/runs') => (await server.call('GET', path, undefined, { 'x-api-key': secret })).status;
  const reader = await create({ name: 'reader', scopes: ['runs'] });
  expect(reader.secret).toMatch(/^nx_/);
  expect(await use(reader.secret)).toBe(200);
  expect(await use(reader.secret, '/v1/keys')).toBe(403);
  expect(await use(reader.secret, '/v1/approvals')).toBe(403);
  expect(await use(`${reader.secret.slice(0, -1)}${reader.secret.endsWith('A') ? 'B' : 'A'}`)).toBe(401);
  expect(JSON.stringify((await server.call('GET', '/v1/keys')).body)).not.toContain(reader.secret);
  const brief = await create({ name: 'brief', expiresAt: new Date(Date.now() + 400).toISOString() });
  expect(await use(brief.secret)).toBe(200);
  expect((await server.call('DELETE', `/v1/keys/${reader.id}`)).status).toBe(204);
  expect(await use(reader.secret)).toBe(401);
  await expect.poll(() => use(brief.secret)).toBe(401);
});

it('summarises a conversation that outgrows the model, in the journal, and loses no turn [verifies durability.compaction]', async () => {
  const sessionId = await server.session({ agent: 'small' });
  let compactions = 0;
  for (let turn = 1; turn <= 6; turn++) {
    const sent = recorder.requests.length;
    const { run, events } = await server.finish({
      sessionId,
      input: `[[sim say="answer ${turn}"]] fact number ${turn}. ${'Some padding words follow here. '.repeat(110)}`,
    });
    expect(run).toMatchObject({ status: 'completed', output: `answer ${turn}` });
    const summaries = all(events, 'model.completed').filter((event) => event.data.purpose === 'compaction');
    for (const summary of summaries) {
      compactions += 1;
      expect(summary.data.replacesMessages).toBeGreaterThan(0);
      const id = all(events, 'model.started').find((event) => event.data.callId === summary.data.callId)?.data.reservationId;
      expect(all(events, 'budget.settled').map((event) => event.data.reservationId)).toContain(id);
    }
    // What the model was given last holds the summary and each turn that it does not stand for.
    const last = JSON.stringify(recorder.requests.at(-1)?.body.messages);
    const replaced = summaries.at(-1)?.data.replacesMessages;
    if (replaced !== undefined) {
      expect(last).toContain('Summary of the conversation so far');
      for (let kept = Math.floor(replaced / 2) + 1; kept <= turn; kept++) expect(last).toContain(`fact number ${kept}.`);
      const summarised = JSON.stringify(
        recorder.requests.slice(sent).find(({ body }) => !JSON.stringify(body).includes('Summary of the conv'))?.body,
      );
      expect(summarised).toContain('fact number');
    } else expect(last).toContain(`fact number ${turn}.`);
  }
  expect(compactions).toBeGreaterThan(1);
  const { body } = await server.call('GET', `/v1/sessions/${sessionId}/messages`);
  expect(body.data).toHaveLength(12);
});

it('says that a message is too long for the model, before and in a run [verifies durability.compaction]', async () => {
  const huge = 'word '.repeat(8_000);
  expect(await server.call('POST', '/v1/runs', { agent: 'small', input: huge })).toMatchObject({
    status: 422,
    body: { code: 'context_overflow', details: { contextTokens: 9_000 } },
  });
  await server.agent('small-tools', { models: ['sim/sim-small'], tools: ['flood'], maxOutputTokens: 1_000 });
  const { run, events } = await server.finish({ agent: 'small-tools', input: '[[sim tools=flood()]] [[sim say="{{result}}"]]' });
  expect(run).toMatchObject({ status: 'failed', error: { code: 'context_overflow' }, resumable: false });
  expect(one(events, 'tool.completed').data.status).toBe('ok');
});

it('never replaces a conversation by a summary that the budget cut [verifies durability.compaction]', async () => {
  const sessionId = await server.session({ agent: 'small' });
  const padding = 'Some padding words follow here. '.repeat(110);
  for (let turn = 1; turn <= 3; turn++) await server.finish({ sessionId, input: `[[sim say="ok"]] ${padding}` });
  const probeRun = await server.finish({ sessionId, input: `[[sim say="ok"]] ${padding}` });
  const summary = all(probeRun.events, 'model.started').find((event) => event.data.purpose === 'compaction');
  const summarised = all(probeRun.events, 'model.completed').find((event) => event.data.callId === summary?.data.callId);
  expect(summary?.data.maxTokens).toBe(1_500);
  // So many tokens pay for what the summary reads and 20 of what it says.
  const slack = 16;
  const tokens = (summarised?.data.usage.inputTokens ?? 0) + slack + 20;
  const again = await server.session({ agent: 'small' });
  for (let turn = 1; turn <= 3; turn++) await server.finish({ sessionId: again, input: `[[sim say="ok"]] ${padding}` });
  const { run, events } = await server.finish({ sessionId: again, input: `[[sim say="ok"]] ${padding}`, budget: { tokens } });
  expect(run).toMatchObject({
    status: 'failed',
    resumable: true,
    error: { code: 'budget_exceeded', message: expect.stringContaining('summary') },
  });
  expect(typesOf(events)).not.toContain('model.completed');
  await server.call('PUT', '/v1/budgets', { scope: { kind: 'run', id: run.id }, unit: 'tokens', limit: 100_000 });
  await server.call('POST', `/v1/runs/${run.id}/resume`);
  expect(await server.until(run.id, 'completed')).toMatchObject({ output: 'ok' });
  const { frames } = await readStream(`${server.app.url}/v1/runs/${run.id}/events`);
  const shown = frames.flatMap(({ data }) => (data.type === 'model.delta' ? [data.data.text] : []));
  expect(shown.join('')).toBe('ok');
});

it('lets no run begin in a session that is closed at the same time', async () => {
  for (let round = 0; round < 12; round++) {
    const sessionId = await server.session({ agent: 'free' });
    const starts = Array.from({ length: 6 }, () =>
      server.call('POST', '/v1/runs', { sessionId, input: 'hello [[sim tokens=200 say="slow"]]' }),
    );
    const closing = server.call('DELETE', `/v1/sessions/${sessionId}`);
    const answers = await Promise.all(starts);
    await closing;
    for (const { status, body } of answers) {
      if (status === 409) continue;
      expect(status).toBe(202);
      await server.until(body.id, 'completed', 'cancelled');
    }
    expect((await server.call('POST', '/v1/runs', { sessionId, input: 'hello' })).status).toBe(409);
  }
});
