import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { connectMcp, type McpClient, type McpClientOptions, revisions, textOf } from './support/mcp-client.ts';
import { startTestServer, type TestServer } from './support/server.ts';
import { createProbe } from './support/tools.ts';

const probe = createProbe();
let server: TestServer;
const open: McpClient[] = [];

async function connect(options: McpClientOptions): Promise<McpClient['client']> {
  const connected = await connectMcp(`${server.app.url}/mcp`, options);
  open.push(connected);
  return connected.client;
}

beforeAll(async () => {
  server = await startTestServer({ tools: probe.tools, config: { mcp: { server: { questionMs: 700 } } } });
  await server.agent('asking', { tools: ['probe'], policy: { approve: ['probe'] } });
  await server.agent('boss', { subagents: ['asking'] });
  await server.agent('director', { subagents: ['boss'] });
});
afterEach(async () => {
  for (const { close } of open.splice(0)) await close();
  await server.verifyRuns();
});
afterAll(() => server.close());

const draft = '[[sim tools=probe(label="draft")]] [[sim say="{{result}}"]]';
const callAsking = { name: 'agent_asking', arguments: { input: draft } };
const callBoss = {
  name: 'agent_boss',
  arguments: { input: `[[sim tools=agent_asking(task=${JSON.stringify(draft)})]] [[sim say="done"]]` },
};

/** What a client was told of a run that waits, and that it goes on from there. */
async function goesOnElsewhere(result: Awaited<ReturnType<McpClient['client']['callTool']>>): Promise<string | undefined> {
  const { runId, approvals } = result.structuredContent as { runId: string; approvals: string[] };
  expect(textOf(result)).toContain(`nexus approvals approve ${approvals[0]}`);
  expect(textOf(result)).toContain(`GET /v1/runs/${runId}`);
  expect(await server.run(runId)).toMatchObject({ status: 'waiting' });
  expect(await server.call('POST', `/v1/approvals/${approvals[0]}`, { decision: 'approve' })).toMatchObject({ status: 200 });
  return (await server.until(runId, 'completed')).output;
}

describe.each(revisions)('revision %s', (revision) => {
  it('tells a client that cannot be asked what a sub-agent waits for [verifies mcp.server.waits.told]', async () => {
    const client = await connect({ revision });
    const result = await client.callTool(callBoss);
    expect(await goesOnElsewhere(result)).toBe('done');
  });

  it('puts to the person what a sub-agent waits for, and goes on with the answer [verifies mcp.server.waits.told]', async () => {
    const shown: string[] = [];
    const client = await connect({
      revision,
      person: (message) => {
        shown.push(message);
        return { action: 'accept', content: {} };
      },
    });
    const before = probe.calls.length;
    const result = await client.callTool(callBoss);
    expect(textOf(result)).toBe('done');
    expect(result.structuredContent).toMatchObject({ status: 'completed' });
    expect(shown).toEqual([expect.stringMatching(/May probe run[\s\S]*"label": "draft"/)]);
    expect(probe.calls).toHaveLength(before + 1);
  });

  it('tells where it waits when the answer is nonsense [verifies mcp.server.waits.told]', async () => {
    const client = await connect({ revision, person: () => ({ action: 'accept', content: { note: 7 } }) });
    expect(await goesOnElsewhere(await client.callTool(callAsking))).toBe('draft');
  });
});

it('finds what waits below a sub-agent of a sub-agent [verifies mcp.server.waits.told]', async () => {
  const client = await connect({ revision: '2025-11-25' });
  const input = `[[sim tools=agent_boss(task=${JSON.stringify(callBoss.arguments.input)})]] [[sim say="all done"]]`;
  expect(await goesOnElsewhere(await client.callTool({ name: 'agent_director', arguments: { input } }))).toBe('all done');
});

it('does not wait for ever for a client that takes questions and never answers [verifies mcp.server.waits.told]', async () => {
  const late = Promise.withResolvers<{ action: 'accept'; content: Record<string, never> }>();
  const client = await connect({ revision: '2025-11-25', person: () => late.promise });
  const result = await client.callTool(callAsking);
  // An answer that comes after all counts for nothing: it was given up.
  late.resolve({ action: 'accept', content: {} });
  expect(await goesOnElsewhere(result)).toBe('draft');
});

it('leaves the run waiting when the client goes away while it is asked [verifies mcp.server.waits.told]', async () => {
  const asked = Promise.withResolvers<void>();
  const never = new Promise<never>(() => undefined);
  const connected = await connectMcp(`${server.app.url}/mcp`, {
    revision: '2025-11-25',
    person: () => {
      asked.resolve();
      return never;
    },
  });
  const call = connected.client.callTool(callAsking).catch(() => null);
  await asked.promise;
  await connected.close();
  await call;
  const [{ id }] = (await server.call('GET', '/v1/runs?limit=1')).body.data;
  const { waitingFor } = await server.run(id);
  expect(await server.call('POST', `/v1/approvals/${waitingFor?.approvals?.[0]}`, { decision: 'approve' })).toMatchObject({ status: 200 });
  expect(await server.until(id, 'completed')).toMatchObject({ output: 'draft' });
});

describe('a client of 2025-11-25 that has no stream open but that of its call', () => {
  /** Posts one message; gives the session and what comes on the stream, message by message. */
  async function post(message: object, session?: string) {
    const response = await fetch(`${server.app.url}/mcp`, {
      method: 'POST',
      headers: {
        ...{ 'content-type': 'application/json', accept: 'application/json, text/event-stream', 'mcp-protocol-version': '2025-11-25' },
        ...(session === undefined ? {} : { 'mcp-session-id': session }),
      },
      body: JSON.stringify({ jsonrpc: '2.0', ...message }),
    });
    return { session: response.headers.get('mcp-session-id') ?? '', messages: messagesIn(response) };
  }

  async function* messagesIn({ body }: Response): AsyncGenerator<{ id?: unknown; method?: string; params?: unknown; result?: unknown }> {
    let text = '';
    for await (const piece of body?.pipeThrough(new TextDecoderStream()) ?? []) {
      text += piece;
      const lines = text.split('\n');
      text = lines.pop() ?? '';
      for (const line of lines) if (line.startsWith('data: {')) yield JSON.parse(line.slice('data: '.length));
    }
  }

  it.each([{ elicitation: {} }, { elicitation: { form: {} } }])(
    'is asked on it, with %j [verifies mcp.server.waits.told]',
    async (capabilities) => {
      const params = { protocolVersion: '2025-11-25', capabilities, clientInfo: { name: 'raw', version: '1' } };
      const { session, messages } = await post({ id: 1, method: 'initialize', params });
      for await (const { id } of messages) expect(id).toBe(1);
      await post({ method: 'notifications/initialized' }, session);
      const call = await post({ id: 2, method: 'tools/call', params: callAsking }, session);
      const said: unknown[] = [];
      for await (const { id, method, result } of call.messages) {
        if (method === 'elicitation/create') await post({ id, result: { action: 'accept', content: {} } }, session);
        said.push(method ?? result);
      }
      expect(said).toEqual([
        expect.stringMatching('elicitation/create'),
        expect.objectContaining({ content: [{ type: 'text', text: 'draft' }] }),
      ]);
    },
  );
});
