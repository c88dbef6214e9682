import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { connectMcp, type McpClient, type McpClientOptions, revisions, textOf } from './support/mcp-client.ts';
import { startTestServer, type TestServer } from './support/server.ts';
import { createProbe } from './support/tools.ts';

const probe = createProbe();
let server: TestServer;
const open: McpClient[] = [];

async function connect(options: McpClientOptions, query = ''): Promise<McpClient['client']> {
  const connected = await connectMcp(`${server.app.url}/mcp${query}`, options);
  open.push(connected);
  return connected.client;
}

async function keyOf(scopes: readonly string[], more: Record<string, unknown> = {}): Promise<{ id: string; secret: string }> {
  return (await server.call('POST', '/v1/keys', { name: 'a key', scopes, ...more })).body;
}

beforeAll(async () => {
  server = await startTestServer({ tools: probe.tools });
  await server.agent('worker', { description: 'Does what it is told' });
  await server.agent('asking', { tools: ['probe'], policy: { approve: ['probe'] } });
  await server.agent('strict', { tools: ['probe', 'broken'], policy: { deny: ['broken'], allow: ['probe'] } });
});
afterEach(async () => {
  for (const { close } of open.splice(0)) await close();
  await server.verifyRuns();
});
afterAll(() => server.close());

describe.each(revisions)('revision %s', (revision) => {
  it('lists the tools of the agent and the agents, and runs them [verifies mcp.server.tools mcp.server.agents]', async () => {
    const client = await connect({ revision }, '?agent=strict');
    const { tools } = await client.listTools();
    const names = tools.map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining(['probe', 'broken', 'agent_worker', 'agent_asking', 'agent_chat']));
    expect(names).not.toContain('ask_human');
    expect(tools.find(({ name }) => name === 'probe')).toMatchObject({ annotations: { readOnlyHint: true } });

    const direct = await client.callTool({ name: 'probe', arguments: { label: 'here' } });
    expect(textOf(direct)).toBe('here');
    const sessionId = direct._meta?.['nexus-agent/sessionId'];
    expect((await server.call('GET', `/v1/sessions/${sessionId}`)).body).toMatchObject({ agent: 'strict' });
    // The second runs in the same session as the first.
    const second = await client.callTool({ name: 'probe', arguments: {} });
    expect(second._meta?.['nexus-agent/sessionId']).toBe(sessionId);

    const answer = await client.callTool({ name: 'agent_worker', arguments: { input: '[[sim say="it is done"]]' } });
    expect(textOf(answer)).toBe('it is done');
    expect(answer.structuredContent).toMatchObject({ status: 'completed', runId: expect.stringMatching(/^run_/) });
  });

  it('tells what is refused as a result that says why, and what there is not as an error [verifies mcp.server.tools]', async () => {
    const client = await connect({ revision }, '?agent=strict');
    const refused = await client.callTool({ name: 'broken', arguments: {} });
    expect(refused).toMatchObject({ isError: true, _meta: { 'nexus-agent/error': { code: 'policy_denied' } } });
    expect(textOf(await client.callTool({ name: 'probe', arguments: { label: 7 } }))).toMatch(/^tool_input_invalid: .*label/);
    await expect(client.callTool({ name: 'constructor', arguments: {} })).rejects.toThrow(/there is no tool/);
    await expect(client.callTool({ name: 'agent_nobody', arguments: {} })).rejects.toThrow(/there is no tool/);
    await expect(client.callTool({ name: 'prboe', arguments: {} })).rejects.toThrow(/did you mean "probe"\?; tools\/list gives: .*probe/);
    await expect(client.callTool({ name: 'agent_workr', arguments: {} })).rejects.toThrow(/did you mean "agent_worker"/);
    const failed = await client.callTool({ name: 'agent_worker', arguments: { input: '' } });
    expect(failed).toMatchObject({ isError: true, _meta: { 'nexus-agent/error': { code: 'invalid_request' } } });
    await expect((await connect({ revision }, '?agent=nobody')).listTools()).rejects.toThrow(/nobody/);
  });

  it('tells the steps of a run while it goes on [verifies mcp.server.progress]', async () => {
    const client = await connect({ revision });
    const steps: { progress: number; message?: string | undefined }[] = [];
    const input = '[[sim tools=probe(label="a")]] [[sim say="{{result}}"]]';
    const answer = await client.callTool({ name: 'agent_worker', arguments: { input } }, { onprogress: (step) => void steps.push(step) });
    expect(textOf(answer)).toBe('a');
    expect(steps.map(({ message }) => message)).toEqual(expect.arrayContaining(['started', 'step 1', 'runs probe', 'probe: ok', 'step 2']));
    const counted = steps.map(({ progress }) => progress);
    expect(counted).toEqual([...new Set(counted)].sort((a, b) => a - b));
  });

  it('cancels the run, or the tool, of a call that is cancelled [verifies mcp.server.cancel]', async () => {
    const client = await connect({ revision });
    const stop = new AbortController();
    let running: () => void = () => undefined;
    const runs = new Promise<void>((resolve) => {
      running = resolve;
    });
    const call = client.callTool(
      { name: 'agent_worker', arguments: { input: '[[sim tools=probe(waitMs=9000)]]' } },
      { signal: stop.signal, onprogress: ({ message }) => message === 'runs probe' && running() },
    );
    const rejected = expect(call).rejects.toThrow();
    await runs;
    stop.abort(new Error('enough'));
    await rejected;
    const [{ id }] = (await server.call('GET', '/v1/runs?limit=1')).body.data;
    expect(await server.until(id, 'cancelled')).toMatchObject({ agent: 'worker' });

    const direct = new AbortController();
    const strict = await connect({ revision }, '?agent=strict');
    const before = probe.stopped.length;
    const held = expect(strict.callTool({ name: 'probe', arguments: { waitMs: 9_000 } }, { signal: direct.signal })).rejects.toThrow();
    await expect.poll(() => probe.running).toBe(1);
    direct.abort(new Error('enough'));
    await held;
    await expect.poll(() => probe.stopped.length).toBe(before + 1);
    await expect.poll(() => probe.running).toBe(0);
  });

  const draft = '[[sim tools=probe(label="draft")]] [[sim say="{{result}}"]]';
  const callAsking = { name: 'agent_asking', arguments: { input: draft } };

  it('puts an approval to the person at the client: accept approves, decline denies [verifies mcp.server.approvals]', async () => {
    const shown: string[] = [];
    const says = (action: 'accept' | 'decline') => (message: string) => {
      shown.push(message);
      return action === 'accept' ? { action, content: { note: 'fine' } } : { action };
    };
    const accepting = await connect({ revision, person: says('accept') });
    expect(textOf(await accepting.callTool(callAsking))).toBe('draft');
    expect(shown[0]).toMatch(/May probe run[\s\S]*"label": "draft"/);
    const before = probe.calls.length;
    const declining = await connect({ revision, person: says('decline') });
    const denied = await declining.callTool(callAsking);
    expect(denied.structuredContent).toMatchObject({ status: 'completed' });
    expect(probe.calls).toHaveLength(before);
  });

  it('cancels the run of a call that is cancelled while the person is asked, where the call goes on meanwhile [verifies mcp.server.cancel]', async () => {
    const stop = new AbortController();
    const client = await connect({
      revision,
      person: () => {
        stop.abort(new Error('never mind'));
        return { action: 'cancel' };
      },
    });
    await expect(client.callTool(callAsking, { signal: stop.signal })).rejects.toThrow();
    const [{ id }] = (await server.call('GET', '/v1/runs?limit=1')).body.data;
    // In the newest revision the call had ended with the question: the run waits, as it does for a client that never comes back.
    if (revision === '2025-11-25') await server.until(id, 'cancelled');
    else expect(await server.until(id, 'waiting')).toMatchObject({ agent: 'asking' });
    await server.call('POST', `/v1/runs/${id}/cancel`, {});
    await server.until(id, 'cancelled');
  });

  it('leaves an approval waiting that the person sends back, or that nobody can be asked about, and says where [verifies mcp.server.approvals]', async () => {
    const undecided = await connect({ revision, person: () => ({ action: 'cancel' }) });
    const unable = await connect({ revision });
    for (const client of [undecided, unable]) {
      const result = await client.callTool(callAsking);
      const { runId, approvals } = result.structuredContent as { runId: string; approvals: string[] };
      expect(textOf(result)).toContain(`nexus approvals approve ${approvals[0]}`);
      expect(await server.run(runId)).toMatchObject({ status: 'waiting' });
      expect(await server.call('POST', `/v1/approvals/${approvals[0]}`, { decision: 'approve' })).toMatchObject({ status: 200 });
      expect(await server.until(runId, 'completed')).toMatchObject({ output: 'draft' });
    }
  });

  it('asks nobody whose key may not decide, and says what policy says of one that may not [verifies mcp.server.approvals]', async () => {
    let asked = 0;
    const person = () => {
      asked += 1;
      return { action: 'accept', content: {} } as const;
    };
    const plain = await keyOf(['runs']);
    const without = await (await connect({ revision, person, key: plain.secret })).callTool(callAsking);
    expect(asked).toBe(0);
    expect(without.structuredContent).toMatchObject({ status: 'waiting' });
    const both = await keyOf(['runs', 'approvals']);
    const own = await (await connect({ revision, person, key: both.secret })).callTool(callAsking);
    expect(asked).toBe(1);
    expect(textOf(own)).toMatch(/policy_denied: this key started the run/);
    for (const { structuredContent } of [without, own]) {
      const { runId } = structuredContent as { runId: string };
      await server.call('POST', `/v1/runs/${runId}/cancel`, {});
      await server.until(runId, 'cancelled');
    }
  });

  it('reads the messages and files of sessions, page by page, and nothing else [verifies mcp.server.resources]', async () => {
    const client = await connect({ revision });
    const input = '[[sim tools=fs_write(path="notes/a b.txt",content="kept")]] [[sim say="written"]]';
    const { structuredContent } = await client.callTool({ name: 'agent_worker', arguments: { input } });
    const { sessionId } = structuredContent as { sessionId: string };
    const uri = `nexus://sessions/${sessionId}/messages`;
    const first = await client.listResources();
    expect(first.resources.map((resource) => resource.uri)).toContain(uri);
    const { contents } = await client.readResource({ uri });
    expect(textOf({ content: contents })).toMatch(/user \([\s\S]*written/);
    const file = await client.readResource({ uri: `nexus://sessions/${sessionId}/files/notes/a%20b.txt` });
    expect(textOf({ content: file.contents })).toBe('kept');
    expect((await client.listResourceTemplates()).resourceTemplates).toHaveLength(2);
    const missing = ['nexus://sessions/../messages', `nexus://sessions/${sessionId}/files/none`, 'file:///etc/passwd', `${uri}?cursor=%`];
    for (const each of missing) await expect(client.readResource({ uri: each })).rejects.toThrow();
    await expect(client.readResource({ uri: `nexus://sessions/${sessionId}/files/../../../../etc/passwd` })).rejects.toThrow();
  });

  it('lets nobody in without a key that stands, and shows no tenant what another has [verifies mcp.server.keys]', async () => {
    await expect(connect({ revision, key: 'nx_unknown_secret' })).rejects.toThrow();
    const approver = await keyOf(['approvals']);
    await expect(connect({ revision, key: approver.secret })).rejects.toThrow();
    const here = await connect({ revision });
    const { structuredContent } = await here.callTool({ name: 'agent_worker', arguments: { input: '[[sim say="ours"]]' } });
    const { sessionId } = structuredContent as { sessionId: string };
    const theirs = await keyOf(['runs'], { tenant: 'other' });
    const there = await connect({ revision, key: theirs.secret });
    expect((await there.listTools()).tools.map(({ name }) => name)).not.toContain('agent_worker');
    await expect(there.readResource({ uri: `nexus://sessions/${sessionId}/messages` })).rejects.toThrow();
    expect((await there.listResources()).resources).toEqual([]);
    const key = await keyOf(['runs']);
    const revoked = await connect({ revision, key: key.secret });
    expect((await server.call('DELETE', `/v1/keys/${key.id}`)).status).toBeLessThan(300);
    await expect(revoked.listTools()).rejects.toThrow();
  });

  it('serves two clients at once, each in a session of its own [verifies mcp.server.apart]', async () => {
    const [one, two] = await Promise.all([connect({ revision }), connect({ revision, key: (await keyOf(['runs'])).secret })]);
    const call = (client: McpClient['client'], n: number) =>
      client.callTool({
        name: 'agent_worker',
        arguments: { input: `[[sim tools=probe(label="n${n}",waitMs=20)]] [[sim say="{{result}}"]]` },
      });
    const answers = await Promise.all(Array.from({ length: 8 }, (_, n) => call(n % 2 === 0 ? one : two, n)));
    expect(answers.map(textOf)).toEqual(Array.from({ length: 8 }, (_, n) => `n${n}`));
  });
});

it('serves clients of the older library [verifies mcp.server.conforms]', async () => {
  const client = new Client({ name: 'an-older-client', version: '1.0.0' });
  const transport = new StreamableHTTPClientTransport(new URL(`${server.app.url}/mcp`));
  await client.connect(transport as Parameters<Client['connect']>[0]); // its own types differ in whether a member may be undefined
  const { tools } = await client.listTools();
  expect(tools.map(({ name }) => name)).toContain('agent_worker');
  const steps: number[] = [];
  const call = { name: 'agent_worker', arguments: { input: '[[sim say="for all"]]' } };
  const result = await client.callTool(call, undefined, { onprogress: ({ progress }) => void steps.push(progress) });
  expect(JSON.stringify(result.content)).toContain('for all');
  expect(steps.length).toBeGreaterThan(0);
  await transport.terminateSession();
  await client.close();
});

describe('sessions', () => {
  const headers = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' };
  const initialize = {
    jsonrpc: '2.0',
    id: 1,
    method: 'initialize',
    params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'raw', version: '1' } },
  };
  const post = (body: unknown, more: Record<string, string> = {}) =>
    fetch(`${server.app.url}/mcp`, { method: 'POST', headers: { ...headers, ...more }, body: JSON.stringify(body) });
  const bearer = ({ secret }: { secret: string }) => ({ authorization: `Bearer ${secret}` });

  async function begin(more: Record<string, string> = {}): Promise<string> {
    const answer = await post(initialize, more);
    expect(answer.status).toBe(200);
    await answer.text();
    return answer.headers.get('mcp-session-id') ?? '';
  }

  it('belong to the key that began them, and end by DELETE [verifies mcp.server.apart]', async () => {
    const [mine, theirs] = [bearer(await keyOf(['runs'])), bearer(await keyOf(['runs']))];
    const id = await begin(mine);
    const list = { jsonrpc: '2.0', id: 2, method: 'tools/list' };
    const as = (who: Record<string, string>) => post(list, { ...who, 'mcp-session-id': id });
    expect((await as(mine)).status).toBe(200);
    expect((await as(theirs)).status).toBe(404);
    expect((await as({})).status).toBe(404);
    const end = (who: Record<string, string>) =>
      fetch(`${server.app.url}/mcp`, { method: 'DELETE', headers: { ...who, 'mcp-session-id': id } });
    expect((await end(theirs)).status).toBe(404);
    expect((await end(mine)).status).toBe(200);
    expect((await as(mine)).status).toBe(404);
    expect((await post(list)).status).toBe(400);
  });
});
