import { createNexusClient, defineTool, executeClientTools, runWithTools } from '@nexus-agent/sdk';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { derivedId } from '../../packages/server/src/core/index.ts';
import { all, one, startTestServer, type TestServer, tenant } from './support/server.ts';
import { createProbe } from './support/tools.ts';

const probe = createProbe();
let server: TestServer;

beforeAll(async () => {
  server = await startTestServer({ tools: probe.tools, config: { tools: { artifacts: { maxCount: 1 } } } });
  const allow = ['probe', 'pick_file', 'beep', 'code_js'];
  await server.agent('editor', { tools: ['probe', 'code_js'], policy: { allow }, maxParallelTools: 4 });
  await server.agent('careful', { policy: { approve: ['pick_file'] } });
  await server.agent('crm', { tools: ['crm_*', 'beep'], policy: { allow: ['crm_*', 'beep'] } });
  await server.agent('strict', { policy: { deny: ['pick_file'] } });
});
afterEach(() => server.verifyRuns());
afterAll(() => server.close());

const pickFile = {
  name: 'pick_file',
  description: 'asks the user of the editor for a file',
  inputSchema: { type: 'object', properties: { kind: { type: 'string' } }, required: ['kind'], additionalProperties: false },
};
const beep = { name: 'beep', description: 'beeps' };
const say = '[[sim say="{{results}}"]]';
const pick = `[[sim tools=pick_file(kind="ts")]] ${say}`;

/** Starts a run that calls `pick_file` and waits until it waits. */
async function waiting(
  changes: object = {},
): Promise<{ runId: string; callId: string; put(body: object): ReturnType<TestServer['call']> }> {
  const runId = await server.start({ agent: 'editor', input: pick, clientTools: [pickFile], ...changes });
  const { waitingFor } = await server.until(runId, 'waiting');
  const callId = waitingFor?.clientCalls?.[0] ?? '';
  return { runId, callId, put: (body) => server.call('PUT', `/v1/runs/${runId}/tool-results/${callId}`, body) };
}

it('waits for the result of its client, and goes on with it [verifies client-tools.waits]', async () => {
  const { runId, callId, put } = await waiting();
  expect((await server.call('GET', `/v1/runs/${runId}`)).body.waitingFor).toEqual({ reason: 'client', clientCalls: [callId] });
  expect((await server.call('GET', `/v1/runs/${runId}/tool-results`)).body).toEqual({
    data: [{ callId, name: 'pick_file', arguments: { kind: 'ts' }, deadlineAt: expect.stringMatching(/Z$/) }],
    nextCursor: null,
  });
  expect((await server.call('GET', '/v1/approvals')).body.data).toEqual([]);
  expect(await put({ output: 'src/main.ts' })).toMatchObject({ status: 200, body: { id: runId } });
  expect(await server.until(runId, 'completed')).toMatchObject({ output: expect.stringContaining('src/main.ts') });
  expect((await server.call('GET', `/v1/runs/${runId}/tool-results`)).body.data).toEqual([]);
  const events = await server.events(runId);
  expect(one(events, 'tool.started').data).toMatchObject({ callId, awaits: 'client', effects: 'once', decision: { effect: 'allow' } });
  expect(one(events, 'tool.completed').data).toMatchObject({ callId, status: 'ok', givenBy: expect.any(String) });
  expect(one(events, 'run.resumed').data.reason).toBe('client');
  expect(one(events, 'run.completed').data.totals.toolCalls).toBe(1);
});

it('works beside other calls, several at once, and from inside of code [verifies client-tools.waits]', async () => {
  const runId = await server.start({
    agent: 'editor',
    input: `[[sim tools=pick_file(kind="a"),probe(label="meanwhile"),beep()]] ${say}`,
    clientTools: [pickFile, beep],
  });
  const { waitingFor } = await server.until(runId, 'waiting');
  expect(waitingFor?.clientCalls).toHaveLength(2);
  for (const [index, callId] of (waitingFor?.clientCalls ?? []).entries())
    expect((await server.call('PUT', `/v1/runs/${runId}/tool-results/${callId}`, { output: `given ${index}` })).status).toBe(200);
  const run = await server.until(runId, 'completed');
  for (const text of ['given 0', 'meanwhile', 'given 1']) expect(run.output).toContain(text);

  const code = "const f = await tools.pick_file({ kind: 'x' }); return 'from code: ' + f";
  const nested = await server.start({
    agent: 'editor',
    input: `[[sim tools=code_js(code="${code}")]] ${say}`,
    clientTools: [pickFile],
  });
  const [callId] = (await server.until(nested, 'waiting')).waitingFor?.clientCalls ?? [];
  await server.call('PUT', `/v1/runs/${nested}/tool-results/${callId}`, { output: 'deep.ts' });
  expect((await server.until(nested, 'completed')).output).toContain('from code: deep.ts');
});

describe('a result of a tool with a schema for it', () => {
  const outputSchema = { type: 'object', properties: { file: { type: 'string' }, line: { type: 'integer' } }, required: ['file'] };
  const clientTools = [{ ...pickFile, outputSchema }];

  it('that does not fit is refused with the place, and the call waits for one that does [verifies client-tools.output]', async () => {
    const { runId, put } = await waiting({ clientTools });
    for (const [output, where] of [
      ['{"file":"a","line":"7"}', 'output.line'],
      ['{"line":7}', 'output.file'],
      ['main.ts', 'output'],
      ['{"file":', 'output'],
    ] as const)
      expect(await put({ output })).toMatchObject({
        status: 400,
        body: {
          code: 'invalid_request',
          detail: expect.stringMatching(/pick_file gave an output.*waits on/),
          details: { issues: [{ path: where }] },
        },
      });
    expect((await server.call('GET', `/v1/runs/${runId}/tool-results`)).body.data).toHaveLength(1);
    expect((await put({ output: '{"file":"a.ts","line":7}' })).status).toBe(200);
    expect((await server.until(runId, 'completed')).output).toContain('a.ts');
    expect((await put({ output: '{"file":"a.ts","line":7}' })).status).toBe(200);
    expect((await put({ output: 'main.ts' })).status).toBe(409);
    const failed = await waiting({ clientTools });
    expect((await failed.put({ error: 'closed' })).status).toBe(200);
    await server.until(failed.runId, 'completed');
  });

  it('may be a text as it is [verifies client-tools.output]', async () => {
    for (const output of ['7', 'seven', '"seven"']) {
      const { runId, put } = await waiting({ clientTools: [{ ...pickFile, outputSchema: { type: 'string' } }] });
      expect((await put({ output })).status).toBe(200);
      await server.until(runId, 'completed');
    }
  });
});

describe('a result that is too long for a prompt', () => {
  const log = Array.from({ length: 20_000 }, (_, index) => `line ${index + 1}`).join('\n');

  it('is kept as an artifact, once, however often it comes [verifies client-tools.long]', async () => {
    const { runId, callId, put } = await waiting();
    const answers = await Promise.all([put({ output: log }), put({ output: log })]);
    expect(answers.map(({ status }) => status)).toEqual([200, 200]);
    expect((await put({ output: `${log}!` })).status).toBe(409);
    await server.until(runId, 'completed');
    expect((await put({ output: log })).status).toBe(200);
    const { data } = one(await server.events(runId), 'tool.completed');
    expect(data).toMatchObject({ callId, givenBy: expect.any(String), artifact: { lines: 20_000, mediaType: 'text/plain', whole: true } });
    expect(data.output.length).toBeLessThanOrEqual(50_000);
    expect(data.output).toMatch(/people can read it by the API/);
    expect((await server.call('GET', `/v1/artifacts/${data.artifact?.id}/content`)).body).toBe(log);
    expect((await server.call('GET', `/v1/artifacts?runId=${runId}`)).body.data).toMatchObject([{ callId, tool: 'pick_file' }]);
  });

  it('is cut where the session has no room for it, and the run goes on [verifies client-tools.long]', async () => {
    const runId = await server.start({ agent: 'editor', input: `[[sim tools=beep(),beep()]] [[sim say="done"]]`, clientTools: [beep] });
    const calls = (await server.until(runId, 'waiting')).waitingFor?.clientCalls ?? [];
    await Promise.all(
      calls.map((callId, index) => server.call('PUT', `/v1/runs/${runId}/tool-results/${callId}`, { output: `${index}${log}` })),
    );
    await server.until(runId, 'completed');
    const ends = all(await server.events(runId), 'tool.completed').map(({ data }) => [
      data.artifact !== undefined,
      data.output.length > 40_000,
    ]);
    expect(ends.sort()).toEqual([
      [false, true],
      [true, true],
    ]);
  });
});

describe('a result', () => {
  it('may come again as it was, and not as another one [verifies client-tools.results]', async () => {
    const { runId, put } = await waiting();
    const answers = await Promise.all([put({ output: 'once' }), put({ output: 'once' }), put({ output: 'once' })]);
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200]);
    expect(await put({ output: 'twice' })).toMatchObject({
      status: 409,
      body: { code: 'conflict', detail: expect.stringMatching(/another result already/) },
    });
    expect(await put({ error: 'once' })).toMatchObject({ status: 409 });
    await server.until(runId, 'completed');
    expect(await put({ output: 'once' })).toMatchObject({ status: 200 });
    expect(all(await server.events(runId), 'tool.completed')).toHaveLength(1);
  });

  it('of two that come at once is one, and the other is told [verifies client-tools.results]', async () => {
    const { runId, put } = await waiting();
    const answers = await Promise.all(Array.from({ length: 8 }, (_, index) => put({ output: `result ${index}` })));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
    expect(answers.filter(({ status }) => status === 409)).toHaveLength(7);
    const run = await server.until(runId, 'completed');
    expect(run.output).toContain(`result ${answers.findIndex(({ status }) => status === 200)}`);
  });

  it('may be that it failed, which the model is told [verifies client-tools.results]', async () => {
    const { runId, put } = await waiting();
    await put({ error: 'the user closed the dialog' });
    await server.until(runId, 'completed');
    expect(one(await server.events(runId), 'tool.completed').data).toMatchObject({
      status: 'error',
      error: { code: 'tool_failed', message: 'the user closed the dialog' },
    });
  });

  it.each([
    ['nothing', {}],
    ['both', { output: 'a', error: 'b' }],
    ['no text', { output: { a: 1 } }],
    ['an error without words', { error: '' }],
    ['too long', { output: 'x'.repeat(4_000_001) }],
  ])('that is %s is refused, and the call still waits [verifies client-tools.results]', async (_, body) => {
    const { runId, put } = await waiting();
    expect(await put(body)).toMatchObject({ status: 400, body: { code: 'invalid_request' } });
    expect((await server.call('GET', `/v1/runs/${runId}`)).body.status).toBe('waiting');
    await put({ output: 'ok' });
    await server.until(runId, 'completed');
  });

  it('is taken only of a call that waits for a client, in its own tenant [verifies client-tools.results]', async () => {
    const { runId, callId, put } = await waiting();
    const other = 'call_01h455vb4pex5vsknk084sn02q';
    expect(await server.call('PUT', `/v1/runs/${runId}/tool-results/${other}`, { output: 'x' })).toMatchObject({ status: 404 });
    const mine = await waiting();
    expect(await server.call('PUT', `/v1/runs/${mine.runId}/tool-results/${callId}`, { output: 'x' })).toMatchObject({ status: 404 });
    await put({ output: 'ok' });
    await mine.put({ output: 'ok' });
    await server.until(runId, 'completed');
    await server.until(mine.runId, 'completed');
  });

  it('cannot be given as an answer to an approval [verifies client-tools.results]', async () => {
    const { runId, callId, put } = await waiting();
    const id = derivedId<string>('approval', `${runId}/${callId}`);
    expect(await server.app.store.getApproval(tenant, id)).toMatchObject({ kind: 'client_result', status: 'pending' });
    expect(await server.call('GET', `/v1/approvals/${id}`)).toMatchObject({ status: 404 });
    expect(await server.call('POST', `/v1/approvals/${id}`, { decision: 'answer', result: 'x' })).toMatchObject({ status: 404 });
    expect((await server.call('GET', '/v1/approvals?status=pending')).body.data).toEqual([]);
    await put({ output: 'ok' });
    await server.until(runId, 'completed');
  });
});

it('tells the model when nothing came in time, and takes nothing any more [verifies client-tools.bounded]', async () => {
  const { runId, put } = await waiting({ clientTools: [{ ...pickFile, timeoutMs: 1_000 }] });
  await server.until(runId, 'completed');
  expect(one(await server.events(runId), 'tool.completed').data).toMatchObject({ status: 'error', error: { code: 'tool_timeout' } });
  expect(await put({ output: 'late' })).toMatchObject({ status: 409, body: { detail: expect.stringMatching(/its time is over/) } });
});

it('ends with a cancel and the deadline of its run, and takes nothing any more [verifies client-tools.bounded]', async () => {
  const { runId, put } = await waiting();
  await server.call('POST', `/v1/runs/${runId}/cancel`, {});
  await server.until(runId, 'cancelled');
  expect((await server.call('GET', `/v1/runs/${runId}/tool-results`)).body.data).toEqual([]);
  expect(await put({ output: 'late' })).toMatchObject({ status: 409, body: { detail: expect.stringMatching(/its run has ended/) } });
  const late = await waiting({ deadlineMs: 1_500 });
  expect(await server.until(late.runId, 'failed')).toMatchObject({ error: { code: 'deadline_exceeded' } });
  expect(await late.put({ output: 'late' })).toMatchObject({ status: 409 });
});

it('is called only where policy allows it, asks a person where it must, and counts as a call [verifies client-tools.granted]', async () => {
  const denied = await server.finish({ agent: 'strict', input: pick, clientTools: [pickFile] });
  expect(one(denied.events, 'tool.completed').data).toMatchObject({ status: 'denied', error: { code: 'policy_denied' } });

  const runId = await server.start({ agent: 'careful', input: pick, clientTools: [pickFile] });
  const { waitingFor } = await server.until(runId, 'waiting');
  expect(waitingFor?.reason).toBe('approval');
  expect((await server.call('GET', `/v1/runs/${runId}/tool-results`)).body.data).toEqual([]);
  await server.call('POST', `/v1/approvals/${waitingFor?.approvals?.[0]}`, { decision: 'approve', arguments: { kind: 'approved' } });
  await expect
    .poll(async () => (await server.call('GET', `/v1/runs/${runId}/tool-results`)).body.data)
    .toMatchObject([{ name: 'pick_file', arguments: { kind: 'approved' } }]);
  const [call] = (await server.call('GET', `/v1/runs/${runId}/tool-results`)).body.data;
  await server.call('PUT', `/v1/runs/${runId}/tool-results/${call.callId}`, { output: 'ok' });
  await server.until(runId, 'completed');

  const { run } = await server.finish({
    agent: 'editor',
    input: `[[sim tools=beep()]] ${say}`,
    clientTools: [beep],
    budget: { toolCalls: 0 },
  });
  expect(run).toMatchObject({ status: 'failed', error: { code: 'budget_exceeded' } });
  const twice = await server.start({
    ...{ agent: 'editor', input: `[[sim tools=beep()]] [[sim tools=beep(again=1)]] ${say}` },
    ...{ clientTools: [beep], budget: { toolCalls: 1 } },
  });
  const [first] = (await server.until(twice, 'waiting')).waitingFor?.clientCalls ?? [];
  await server.call('PUT', `/v1/runs/${twice}/tool-results/${first}`, { output: 'beeped' });
  expect(await server.until(twice, 'failed', 'waiting')).toMatchObject({ status: 'failed', error: { code: 'budget_exceeded' } });
});

it('holds the arguments against the schema before the client hears of them [verifies client-tools.granted]', async () => {
  const { events } = await server.finish({ agent: 'editor', input: `[[sim tools=pick_file(kind=7)]] ${say}`, clientTools: [pickFile] });
  expect(one(events, 'tool.completed').data.error).toMatchObject({ code: 'tool_input_invalid' });
  expect(all(events, 'tool.started')).toEqual([]);
});

describe('tools that could not be called are refused when the run is started', () => {
  it.each<[string, readonly object[], RegExp]>([
    ['two of one name', [beep, beep], /clientTools\[1\] and clientTools\[0\] are both named beep/],
    ['a name that the server has', [{ ...beep, name: 'probe' }], /the definition of the agent names probe/],
    ['a name that the server has, though its agent has not', [{ ...beep, name: 'fs_read' }], /there is a tool fs_read already/],
    ['effects of its own, which policy would judge it by', [{ ...beep, effects: 'none' }], /clientTools\[0\]\.effects/],
    ['permissions of its own', [{ ...beep, permissions: [] }], /clientTools\[0\]\.permissions/],
    ['the name of an agent', [{ ...beep, name: 'agent_x' }], /names with agent_ call agents/],
    ['a name that patterns for files mean', [{ ...beep, name: 'fs_grep' }], /names with fs_ are kept for tools of the server itself/],
    ['a name in Chinese', [{ ...beep, name: '选择文件' }], /clientTools\[0\]\.name: expected 1 to 64/],
    ['no schema', [{ ...beep, inputSchema: { type: 'objekt' } }], /clientTools\[0\]\.inputSchema/],
    ['a schema that kills', [{ ...beep, inputSchema: { type: 'object', $async: true } }], /clientTools\[0\]\.inputSchema/],
    ['a schema of its results that is none', [{ ...beep, outputSchema: { type: 'objekt' } }], /clientTools\[0\]\.outputSchema/],
    ['a schema of no object', [{ ...beep, inputSchema: { type: 'string' } }], /inputSchema\.type: expected "object"/],
    ['a time without end', [{ ...beep, timeoutMs: 86_400_001 }], /timeoutMs/],
    ['too many', Array.from({ length: 33 }, (_, index) => ({ ...beep, name: `beep_${index}` })), /clientTools/],
    [
      'too long',
      Array.from({ length: 32 }, (_, index) => ({ name: `beep_${index}`, description: 'x'.repeat(3_000) })),
      /at most 64000 characters in all/,
    ],
  ])('%s [verifies client-tools.declared]', async (_, clientTools, message) => {
    const answer = await server.call('POST', '/v1/runs', { agent: 'editor', input: pick, clientTools });
    expect(answer).toMatchObject({ status: 400, body: { code: 'invalid_request', detail: expect.stringMatching(message) } });
  });
});

it('with a name that the definition of the agent has is refused, though no worker serves it now [verifies client-tools.declared]', async () => {
  for (const name of ['crm_lookup', 'beep']) {
    const answer = await server.call('POST', '/v1/runs', { agent: 'crm', input: pick, clientTools: [{ ...beep, name }] });
    expect(answer).toMatchObject({ status: 400, body: { detail: expect.stringMatching(/the definition of the agent names/) } });
  }
});

it('are of their run and its forks alone [verifies client-tools.declared]', async () => {
  const { runId, put } = await waiting();
  await put({ output: 'first' });
  await server.until(runId, 'completed');
  const fork = await server.call('POST', `/v1/runs/${runId}/fork`, { afterSeq: 2, input: pick });
  const points = fork.body.details?.points;
  const forked = points === undefined ? fork : await server.call('POST', `/v1/runs/${runId}/fork`, { afterSeq: points[0], input: pick });
  const { waitingFor } = await server.until(forked.body.id, 'waiting');
  await server.call('PUT', `/v1/runs/${forked.body.id}/tool-results/${waitingFor?.clientCalls?.[0]}`, { output: 'second' });
  expect((await server.until(forked.body.id, 'completed')).output).toContain('second');
  const { events } = await server.finish({ agent: 'editor', input: pick });
  expect(one(events, 'tool.completed').data.error).toMatchObject({ code: 'tool_not_found' });
});

it('is kept for a run that failed on its budget, which goes on with it [verifies client-tools.results]', async () => {
  const input = `[[sim tools=pick_file(kind="a"),beep()]] ${say}`;
  const runId = await server.start({ agent: 'editor', input, clientTools: [pickFile, beep], budget: { toolCalls: 1 } });
  await server.until(runId, 'failed');
  const [started] = all(await server.events(runId), 'tool.started');
  const put = () => server.call('PUT', `/v1/runs/${runId}/tool-results/${started?.data.callId}`, { output: 'kept.ts' });
  expect((await server.call('GET', `/v1/runs/${runId}/tool-results`)).body.data).toEqual([]);
  expect((await put()).status).toBe(200);
  await server.call('PUT', '/v1/budgets', { scope: { kind: 'run', id: runId }, unit: 'toolCalls', limit: 5 });
  expect((await server.call('POST', `/v1/runs/${runId}/resume`, {})).status).toBeLessThan(300);
  await expect.poll(async () => (await server.call('GET', `/v1/runs/${runId}/tool-results`)).body.data).toMatchObject([{ name: 'beep' }]);
  const [call] = (await server.call('GET', `/v1/runs/${runId}/tool-results`)).body.data;
  await server.call('PUT', `/v1/runs/${runId}/tool-results/${call.callId}`, { output: 'beeped' });
  expect((await server.until(runId, 'completed')).output).toMatch(/kept\.ts.*beeped/s);
});

describe('what went wrong elsewhere', () => {
  const put = (runId: string, callId: string | undefined, output: string) =>
    server.call('PUT', `/v1/runs/${runId}/tool-results/${callId}`, { output });

  it('equal calls of one step get each its own result, in whatever order they come [verifies client-tools.results]', async () => {
    const input = `[[sim tools=beep(),beep(),beep()]] ${say}`;
    const runId = await server.start({ agent: 'editor', input, clientTools: [beep] });
    const calls = (await server.until(runId, 'waiting')).waitingFor?.clientCalls ?? [];
    expect(new Set(calls).size).toBe(3);
    for (const index of [2, 0, 1]) {
      await put(runId, calls[index], `beep number ${index}`);
      await expect.poll(async () => (await server.call('GET', `/v1/runs/${runId}/tool-results`)).body.data.length).toBeLessThan(3);
    }
    expect((await server.until(runId, 'completed')).output).toMatch(/number 0.*number 1.*number 2/s);
  });

  it('a conversation goes on beside a call that waits, and after it [verifies client-tools.waits]', async () => {
    const session = (await server.call('POST', '/v1/sessions', { agent: 'editor' })).body.id;
    const waitingRun = await waiting({ sessionId: session });
    const beside = await server.finish({ sessionId: session, input: '[[sim say="beside"]]' });
    expect(beside.run).toMatchObject({ status: 'completed', output: 'beside' });
    const without = await server.finish({ sessionId: session, input: pick });
    expect(one(without.events, 'tool.completed').data.error).toMatchObject({ code: 'tool_not_found' });
    await waitingRun.put({ output: 'main.ts' });
    await server.until(waitingRun.runId, 'completed');
    expect((await server.finish({ sessionId: session, input: '[[sim say="after"]]' })).run.output).toBe('after');
  });

  it('a cancelled call leaves a session in which one can go on [verifies client-tools.bounded]', async () => {
    const session = (await server.call('POST', '/v1/sessions', { agent: 'editor' })).body.id;
    const { runId } = await waiting({ sessionId: session });
    await server.call('POST', `/v1/runs/${runId}/cancel`, {});
    await server.until(runId, 'cancelled');
    expect((await server.finish({ sessionId: session, input: '[[sim say="after"]]' })).run.output).toBe('after');
  });

  it('a result for a session that was deleted or closed meanwhile changes nothing [verifies client-tools.bounded]', async () => {
    const session = (await server.call('POST', '/v1/sessions', { agent: 'editor' })).body.id;
    const closed = await waiting({ sessionId: session });
    expect((await server.call('POST', `/v1/sessions/${session}/close`, {})).status).toBeLessThan(300);
    await server.until(closed.runId, 'cancelled');
    expect(await closed.put({ output: 'x' })).toMatchObject({ status: 409 });
    expect((await server.call('DELETE', `/v1/sessions/${session}`)).status).toBeLessThan(300);
    expect(await closed.put({ output: 'x' })).toMatchObject({ status: 404 });
  });

  it('one call after another waits each for its own result [verifies client-tools.waits]', async () => {
    const input = `[[sim tools=pick_file(kind="a")]] [[sim tools=pick_file(kind="b")]] ${say}`;
    const runId = await server.start({ agent: 'editor', input, clientTools: [pickFile] });
    const seen = new Set<string>();
    for (const name of ['first', 'second']) {
      let callId = '';
      await expect
        .poll(async () => {
          const { data } = (await server.call('GET', `/v1/runs/${runId}/tool-results`)).body;
          callId = data[0]?.callId ?? '';
          return callId !== '' && !seen.has(callId);
        })
        .toBe(true);
      seen.add(callId);
      await put(runId, callId, name);
    }
    expect((await server.until(runId, 'completed')).output).toContain('second');
  });

  it('an empty result, and one of many bytes for few characters, are results [verifies client-tools.results]', async () => {
    const empty = await waiting();
    expect((await empty.put({ output: '' })).status).toBe(200);
    await server.until(empty.runId, 'completed');
    const wide = await waiting();
    expect((await wide.put({ output: '文'.repeat(100_000) })).status).toBe(200);
    await server.until(wide.runId, 'completed');
  });
});

describe('the SDK', () => {
  const seen: string[] = [];
  const picker = defineTool<{ kind: string }>({
    name: 'pick_file',
    description: pickFile.description,
    input: pickFile.inputSchema,
    execute({ kind }, { callId }) {
      seen.push(callId);
      return { file: `main.${kind}` };
    },
  });
  const broken = defineTool({
    name: 'beep',
    description: 'beeps',
    input: { type: 'object' },
    execute: () => Promise.reject(new Error('no sound card')),
  });

  it('executes the calls of a run in this program [verifies client-tools.sdk]', async () => {
    const client = createNexusClient({ baseUrl: server.app.url });
    const types: string[] = [];
    const run = await runWithTools(
      client,
      { agent: 'editor', input: `[[sim tools=pick_file(kind="ts"),beep()]] ${say}` },
      [picker, broken],
      { onEvent: ({ type }) => types.push(type) },
    );
    expect(run).toMatchObject({ status: 'completed', output: expect.stringContaining('main.ts') });
    expect(run.output).toContain('no sound card');
    expect(types).toContain('run.waiting');
    expect(new Set(seen).size).toBe(seen.length);
  });

  it('executes each call once, also while others come [verifies client-tools.sdk]', async () => {
    const picked = Promise.withResolvers<void>();
    let beeps = 0;
    const slow = defineTool({
      ...{ name: 'beep', description: 'beeps until a file is picked', input: { type: 'object' } },
      async execute() {
        beeps += 1;
        await picked.promise;
        return `beep ${beeps}`;
      },
    });
    const quick = defineTool({
      ...{ name: 'pick_file', description: pickFile.description, input: pickFile.inputSchema },
      execute() {
        setTimeout(picked.resolve, 100);
        return 'quick.ts';
      },
    });
    const code = "console.log('begun'); return await tools.pick_file({ kind: 'x' })";
    const input = `[[sim tools=beep(),code_js(code="${code}")]] ${say}`;
    const run = await runWithTools(createNexusClient({ baseUrl: server.app.url }), { agent: 'editor', input }, [slow, quick]);
    expect(run.output).toMatch(/beep 1.*quick\.ts/s);
    expect(beeps).toBe(1);
  });

  it('takes a run up again that another program has left [verifies client-tools.sdk]', async () => {
    const { runId, callId } = await waiting();
    const run = await executeClientTools(createNexusClient({ baseUrl: server.app.url }), runId, [picker]);
    expect(run).toMatchObject({ status: 'completed', output: expect.stringContaining('main.ts') });
    expect(seen.at(-1)).toBe(callId);
  });

  it('leaves when it is told to, and the run waits on [verifies client-tools.sdk]', async () => {
    const { runId, put } = await waiting();
    const leave = new AbortController();
    const slow = defineTool({
      name: 'pick_file',
      description: 'never ends by itself',
      input: { type: 'object' },
      execute: (_, { signal }) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => reject(new Error('left')));
          leave.abort(new Error('the window is closed'));
        }),
    });
    const client = createNexusClient({ baseUrl: server.app.url });
    await expect(executeClientTools(client, runId, [slow], { signal: leave.signal })).rejects.toThrow('the window is closed');
    expect((await client.runs.get(runId)).status).toBe('waiting');
    await put({ output: 'ok' });
    await server.until(runId, 'completed');
  });

  const never = (name: string, timeoutMs?: number) =>
    defineTool({
      ...{ name, description: 'a dialog that nobody closes', input: { type: 'object' } },
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
      execute: () => new Promise(() => undefined),
    });

  it('is not held up by a tool that hears of nothing [verifies client-tools.sdk]', async () => {
    const client = createNexusClient({ baseUrl: server.app.url });
    const input = `[[sim tools=beep()]] ${say}`;
    expect(await runWithTools(client, { agent: 'editor', input }, [never('beep', 1_000)])).toMatchObject({
      status: 'completed',
      output: expect.stringContaining('tool_timeout'),
    });
    const signal = AbortSignal.timeout(300);
    await expect(runWithTools(client, { agent: 'editor', input }, [never('beep')], { signal })).rejects.toThrow(/timeout/i);
  });

  it.each([
    ['nothing that has words', () => Promise.reject(Object.create(null)), 'it failed'],
    ['an error without words', () => Promise.reject(new Error('')), 'it failed'],
    ['an error whose message is none', () => Promise.reject(Object.assign(new Error('x'), { message: { a: 1 } })), 'object'],
    ['a result that is no JSON', () => ({ n: 1n }), 'BigInt'],
    ['a result that is too long', () => 'x'.repeat(4_000_001), '4000000 are taken'],
    ['a result with too many bytes', () => '文'.repeat(1_500_000), 'payload_too_large|bytes'],
  ])('tells the model of %s [verifies client-tools.sdk]', async (_, execute, said) => {
    const client = createNexusClient({ baseUrl: server.app.url });
    const tool = defineTool({ name: 'beep', description: '', input: { type: 'object' }, execute });
    const run = await runWithTools(client, { agent: 'editor', input: `[[sim tools=beep()]] ${say}` }, [tool]);
    expect(run).toMatchObject({ status: 'completed', output: expect.stringMatching(said) });
  });

  it('gives what it has begun to a run that failed and may go on [verifies client-tools.sdk]', async () => {
    let done = 0;
    const slow = defineTool({
      ...{ name: 'pick_file', description: pickFile.description, input: pickFile.inputSchema },
      async execute() {
        await new Promise((resolve) => setTimeout(resolve, 500));
        done += 1;
        return 'slow.ts';
      },
    });
    const client = createNexusClient({ baseUrl: server.app.url });
    const request = { agent: 'editor', input: `[[sim tools=pick_file(kind="a"),beep()]] ${say}`, budget: { toolCalls: 1 } };
    const failed = await runWithTools(client, request, [slow, broken]);
    expect(failed.status).toBe('failed');
    await server.call('PUT', '/v1/budgets', { scope: { kind: 'run', id: failed.id }, unit: 'toolCalls', limit: 5 });
    await client.runs.resume(failed.id);
    const run = await executeClientTools(client, failed.id, [slow, broken]);
    expect(run).toMatchObject({ status: 'completed', output: expect.stringContaining('slow.ts') });
    expect(done).toBe(1);
  });

  it('tells the model of a result that does not fit its schema [verifies client-tools.sdk client-tools.output]', async () => {
    const output = { type: 'object', properties: { n: { type: 'integer' } }, required: ['n'] };
    const client = createNexusClient({ baseUrl: server.app.url });
    const run = (n: unknown) => {
      const tool = defineTool({ name: 'beep', description: '', input: { type: 'object' }, output, execute: () => ({ n }) });
      return runWithTools(client, { agent: 'editor', input: `[[sim tools=beep()]] ${say}` }, [tool]);
    };
    expect(await run(7)).toMatchObject({ status: 'completed', output: expect.stringContaining('{"n":7}') });
    expect(await run('7')).toMatchObject({ status: 'completed', output: expect.stringMatching(/does not fit its own schema/) });
  });

  it('refuses what no client tool has [verifies client-tools.sdk]', async () => {
    const client = createNexusClient({ baseUrl: server.app.url });
    const dear = defineTool({ name: 'beep', description: '', input: { type: 'object' }, maxCostMicroUsd: 5, execute: () => '' });
    await expect(runWithTools(client, { agent: 'editor', input: 'x' }, [dear])).rejects.toThrow(/client tool has none/);
  });
});
