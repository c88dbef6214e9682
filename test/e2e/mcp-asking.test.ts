import type { Approval, McpServerInspection, Page, ToolExecuteResult } from '@nexus-agent/protocol';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startTestPlatform, type TestPlatform } from '../../packages/server/src/apps/testing/index.ts';
import { type AskingServer, type FormerCall, startAskingServer, tableForm } from './support/asking-server.ts';

type Data = Readonly<Record<string, unknown>>;
let platform: TestPlatform;
let asker: AskingServer;
/** What the servers do in this test. */
let former: (call: FormerCall) => Promise<string>;
let modern: (params: Data) => Data;
let beforeList: (send: (message: Data) => void) => void = () => undefined;

const wish = (inputRequests: Data, requestState = 'state-1') => ({ resultType: 'input_required', inputRequests, requestState });
const done = (text: string) => ({ resultType: 'complete', content: [{ type: 'text', text }] });

beforeAll(async () => {
  asker = await startAskingServer({
    former: (call) => former(call),
    modern: (params) => modern(params),
    beforeList: (send) => beforeList(send),
  });
  platform = await startTestPlatform({ config: { mcpClient: { allowPrivate: [`127.0.0.1:${asker.port}`] } } });
  await platform.agent('helper', { tools: [], policy: { allow: [] } });
  for (const name of ['former', 'modern'] as const) {
    const more = { elicitation: true, sampling: { agent: 'helper' } };
    const added = await put(name, more);
    expect(added).toMatchObject({ state: 'ready', definition: more });
    await platform.agent(`${name}-agent`, {
      tools: [`${name}_*`],
      subagents: ['helper'],
      policy: { allow: [`${name}_*`, 'net:127.0.0.1', 'ask_human', 'agent_helper'] },
    });
  }
}, 30_000);

afterAll(async () => {
  await platform.close();
  await asker.close();
});

beforeEach(() => {
  asker.calls.length = 0;
  asker.capabilities.length = 0;
  asker.others.length = 0;
});

const put = (name: 'former' | 'modern', more: Data, as: string = name) =>
  platform.ask<McpServerInspection>('PUT', `/v1/mcp-servers/${as}`, { transport: { type: 'http', url: asker.url(name) }, ...more });
const start = (name: string, how = 'well') =>
  platform.start({ agent: `${name}-agent`, input: `[[sim tools=${name}_book(how="${how}")]] [[sim say="{{result}}"]]` });
const answer = (approval: Approval, body: Data) => platform.ask<Approval>('POST', `/v1/approvals/${approval.id}`, body);
const output = async (runId: string) => (await platform.until(runId, 'completed')).output;

/** The questions that the run waits for. */
async function questions(runId: string): Promise<readonly Approval[]> {
  await platform.until(runId, 'waiting');
  const { data } = await platform.ask<Page<Approval>>('GET', '/v1/approvals?status=pending');
  return data.filter((approval) => approval.runId === runId);
}

async function question(runId: string): Promise<Approval> {
  const [first] = await questions(runId);
  if (first === undefined) throw new Error(`the run ${runId} asks nothing`);
  return first;
}

/** The same dialogue in both revisions: asks for a form, and says what it was answered. */
function asksForm(params: Data = tableForm): void {
  former = async ({ ask }) => `heard ${JSON.stringify((await ask('elicitation/create', params)).result)}`;
  modern = ({ inputResponses, requestState }) =>
    inputResponses === undefined
      ? wish({ table: { method: 'elicitation/create', params } })
      : done(`heard ${JSON.stringify((inputResponses as Data).table)}${requestState === 'state-1' ? '' : ' in another state'}`);
}

describe.each(['former', 'modern'] as const)('a server of the %s revision', (name) => {
  it('asks a person in the midst of a call, and goes on with what they filled in [verifies tools.mcp.elicitation]', async () => {
    asksForm();
    const runId = await start(name);
    const asked = await question(runId);
    expect(asked).toMatchObject({
      kind: 'question',
      toolName: 'ask_human',
      question: `The MCP server ${name} asks, in a call of ${name}_book: Which table?`,
      form: { server: name, tool: `${name}_book`, question: 'Which table?' },
    });
    expect(asked.form?.fields?.map((field) => [field.name, field.type, field.required])).toEqual([
      ['guests', 'integer', true],
      ['name', 'text', true],
      ['when', 'text', true],
      ['place', 'choice', false],
      ['quiet', 'boolean', false],
      ['extras', 'choices', false],
    ]);
    // What does not fit is said to the person, and the question stays.
    const misfits: [Data, RegExp][] = [
      [{ content: { guests: 9, when: '2026-05-31' } }, /guests: expected at most 8/],
      [{ content: { guests: 1.5, when: '2026-05-31' } }, /guests: expected a whole number/],
      [{ content: { guests: 2 } }, /when: it must be filled in/],
      [{ content: { guests: 2, when: 'soon' } }, /when: expected a date/],
      [{ content: { guests: 2, when: '2026-05-31', place: 'up' } }, /place: expected one of in, out/],
      [{ content: { guests: 2, when: '2026-05-31', name: 'A' } }, /name: expected 2 to/],
      [{ content: { guests: 2, when: '2026-05-31', extras: ['cake', 'cake'] } }, /extras: expected each choice once/],
      [{ content: { guests: 2, when: '2026-05-31', room: 'x' } }, /room: the form has no such field/],
      [{ result: 'two of us' }, /JSON object of its fields/],
    ];
    for (const [body, message] of misfits) await expect(answer(asked, { decision: 'answer', ...body })).rejects.toThrow(message);
    await answer(asked, { decision: 'answer', content: { guests: 2, when: '2026-05-31', place: 'out', extras: ['cake'] } });
    const content = { guests: 2, name: 'Ada', when: '2026-05-31', place: 'out', quiet: true, extras: ['cake'] };
    expect(await output(runId)).toBe(`heard ${JSON.stringify({ action: 'accept', content })}`);
    expect(asker.calls).toHaveLength(name === 'former' ? 1 : 2);
    const events = await platform.events(runId);
    expect(events.filter(({ type }) => type === 'tool.suspended')).toHaveLength(1);
    const [, nested] = events.flatMap((event) => (event.type === 'tool.requested' ? [event.data] : []));
    expect(nested).toMatchObject({ name: 'ask_human', parentCallId: expect.any(String) });
    expect(await platform.ask('POST', `/v1/runs/${runId}/replay`)).toMatchObject({ matches: true });
  });

  it('hears that a person declined', async () => {
    asksForm();
    const runId = await start(name);
    await answer(await question(runId), { decision: 'deny', note: 'not today' });
    expect(await output(runId)).toBe('heard {"action":"decline"}');
  });

  it('hears that it was dismissed where policy lets nobody be asked', async () => {
    asksForm();
    await platform.agent(`${name}-quiet`, { tools: [`${name}_*`], policy: { allow: [`${name}_*`, 'net:127.0.0.1'] } });
    const runId = await platform.complete({
      agent: `${name}-quiet`,
      input: `[[sim tools=${name}_book()]] [[sim say="{{result}}"]]`,
    });
    expect((await platform.until(runId, 'completed')).output).toBe('heard {"action":"cancel"}');
  });

  it('has an agent answer in place of a model, at the cost of the run [verifies tools.mcp.sampling]', async () => {
    const params = { messages: [{ role: 'user', content: { type: 'text', text: '[[sim say="blue"]]' } }], maxTokens: 50 };
    const request = { method: 'sampling/createMessage', params };
    former = async ({ ask }) => `heard ${JSON.stringify((await ask(request.method, params)).result)}`;
    modern = ({ inputResponses }) =>
      inputResponses === undefined ? wish({ colour: request }) : done(`heard ${JSON.stringify((inputResponses as Data).colour)}`);
    const runId = await start(name);
    const said = await output(runId);
    expect(JSON.parse(String(said).slice(6))).toEqual({
      role: 'assistant',
      content: { type: 'text', text: 'blue' },
      model: 'agent_helper',
      stopReason: 'endTurn',
    });
    const child = (await platform.events(runId)).flatMap((event) => (event.type === 'tool.started' ? [event.data.childRunId] : []));
    expect(child.filter((id) => id !== undefined)).toHaveLength(1);
  });

  it('is told what of its request cannot be had', async () => {
    const broken = { ...tableForm, requestedSchema: { type: 'object', properties: { x: { type: 'object' } } } };
    former = async ({ ask }) => `heard ${(await ask('elicitation/create', broken)).error?.message}`;
    modern = () => wish({ x: { method: 'elicitation/create', params: broken } });
    expect(await output(await start(name))).toMatch(/x.*of a type that no form has|Invalid elicitation/i);
    former = async ({ ask }) => `heard ${(await ask('roots/list', {})).error?.message}`;
    modern = () => wish({ x: { method: 'roots/list' } });
    expect(await output(await start(name))).toMatch(/Method not found|roots\/list is not offered/);
    const picture = { messages: [{ role: 'user', content: { type: 'image', data: 'AA==', mimeType: 'image/png' } }], maxTokens: 5 };
    former = async ({ ask }) => `heard ${(await ask('sampling/createMessage', picture)).error?.message}`;
    modern = () => wish({ x: { method: 'sampling/createMessage', params: picture } });
    expect(await output(await start(name))).toMatch(/messages of text and nothing else/);
  });

  it('may ask nothing where it is called without a run', async () => {
    asksForm();
    const { id: sessionId } = await platform.ask<{ id: string }>('POST', '/v1/sessions', { agent: `${name}-agent` });
    const tried = await platform.ask<ToolExecuteResult>('POST', `/v1/tools/${name}_book/execute`, { sessionId, input: {} });
    if (name === 'former') expect(tried).toMatchObject({ status: 'ok', output: 'heard undefined' });
    else expect(tried).toMatchObject({ status: 'error', error: { code: 'tool_failed', message: expect.stringMatching(/asks for/) } });
    if (name === 'modern') expect(asker.capabilities).toEqual([{}]);
  });

  it('asks for an address to be opened, which we do not open', async () => {
    const url = { mode: 'url', message: 'Pay first', elicitationId: 'e1', url: 'https://pay.example.com/a?b=1' };
    asksForm(url);
    const runId = await start(name);
    const asked = await question(runId);
    expect(asked.form).toEqual({
      server: name,
      tool: `${name}_book`,
      question: 'Pay first',
      url: 'https://pay.example.com/a?b=1',
      host: 'pay.example.com',
    });
    await answer(asked, { decision: 'answer' });
    expect(await output(runId)).toBe('heard {"action":"accept"}');
  });
});
