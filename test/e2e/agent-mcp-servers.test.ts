import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Agent, McpServer } from '@nexus-agent/protocol';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type LeastMcpServer, leastTool, startLeastMcpServer } from './support/mcp-fake.ts';
import { startTestServer, type TestServer, tenant } from './support/server.ts';

const policies = `
@id("agents-only")
forbid (principal, action == Action::"admin.tools", resource)
when { principal.roles.contains("author") };`;

let dataDir: string;
let server: TestServer;
let fake: LeastMcpServer;
let agents: string;

const secrets = [{ name: 'DOCS_KEY', value: 'Bearer very-secret', hosts: ['127.0.0.1'], tenants: ['default'] }];
async function start() {
  server = await startTestServer({
    dataDir,
    config: { mcpClient: { allowPrivate: [`127.0.0.1:${fake.port}`], secrets, connectTimeoutMs: 2_000 }, definitions: { pollMs: 50 } },
  });
}

beforeAll(async () => {
  fake = await startLeastMcpServer();
  dataDir = mkdtempSync(join(tmpdir(), 'nexus-e2e-agent-mcp-'));
  agents = join(dataDir, 'agents');
  for (const folder of ['policies', 'agents']) mkdirSync(join(dataDir, folder));
  writeFileSync(join(dataDir, 'policies', 'operator.cedar'), policies);
  await start();
});
beforeEach(() => {
  fake.tools = [leastTool('keep'), leastTool('read')];
  fake.takeOver = undefined;
  fake.heard.length = 0;
});
afterEach(async () => {
  for (const { name, source } of (await server.call('GET', '/v1/agents?limit=200')).body.data as Agent[])
    if (source === 'api') await server.call('DELETE', `/v1/agents/${name}`);
  for (const { name } of await listed()) await server.call('DELETE', `/v1/mcp-servers/${name}`);
});
afterAll(async () => {
  await server.close();
  await fake.close();
  rmSync(dataDir, { recursive: true, force: true });
});

const listed = async (): Promise<McpServer[]> => (await server.call('GET', '/v1/mcp-servers')).body.data;
const agentOf = async (name: string): Promise<Agent> => (await server.call('GET', `/v1/agents/${name}`)).body;
const notes = (more: object = {}) => ({ notes: { type: 'http', url: fake.url, ...more } });
const definition = (name: string, mcpServers: object, more: object = {}) => ({
  ...{ name, models: ['sim/sim-large'], policy: { allow: ['*', 'net:127.0.0.1'] } },
  ...{ mcpServers, ...more },
});
const put = (name: string, mcpServers: object, more: object = {}, headers: Record<string, string> = {}) =>
  server.call('POST', '/v1/agents', definition(name, mcpServers, more), headers);
async function author(): Promise<Record<string, string>> {
  const { body } = await server.call('POST', '/v1/keys', { name: 'author', scopes: ['admin', 'runs'], roles: ['author'] });
  return { authorization: `Bearer ${body.secret}` };
}
/** What came of calls of tools, each in a step of its own. */
async function results(agent: string, ...calls: string[]): Promise<unknown[]> {
  const { events } = await server.finish({ agent, input: `${calls.map((call) => `[[sim tools=${call}]]`).join(' ')} [[sim say="done"]]` });
  return events.flatMap((event) => {
    return event.type === 'tool.completed' ? [event.data.status === 'ok' ? event.data.output : event.data.error?.code] : [];
  });
}

describe('an agent that declares MCP servers', () => {
  it('is stored with them, is offered their tools without naming one, and calls them under policy [verifies tools.mcp.declared]', async () => {
    const stored = await put('keeper', notes());
    expect([stored.status, stored.body.warnings, stored.body.mcpServers]).toEqual([
      201,
      undefined,
      [{ name: 'notes', state: 'ready', tools: 2 }],
    ]);
    expect(await listed()).toMatchObject([{ name: 'notes', state: 'ready', addedWith: 'keeper', declaredBy: ['keeper'] }]);
    expect(await results('keeper', 'notes_keep(text="milk")')).toEqual(['called keep {"text":"milk"}']);
    await put('strict', notes(), { policy: { allow: ['notes_read', 'net:127.0.0.1'] } });
    expect(await results('strict', 'notes_keep(text="milk")', 'notes_read()')).toEqual(['policy_denied', 'called read {}']);
    await put('narrow', notes(), { tools: ['notes_read'] });
    expect(await results('narrow', 'notes_keep(text="milk")', 'notes_read()')).toEqual(['tool_not_found', 'called read {}']);
  });

  it('shares one that is there as it is declared; nobody is connected to and nobody is asked [verifies tools.mcp.declared]', async () => {
    await server.call('PUT', '/v1/mcp-servers/notes', { transport: { type: 'http', url: fake.url }, deny: ['read'] });
    fake.heard.length = 0;
    const stored = await put('sharer', notes(), {}, await author());
    expect([stored.status, stored.body.mcpServers, fake.heard]).toEqual([201, [{ name: 'notes', state: 'ready', tools: 1 }], []]);
    expect((await listed())[0]?.addedWith).toBeUndefined();
  });

  it('gives its servers to nobody else: neither to agents that it calls nor to one that calls it [verifies tools.mcp.declared]', async () => {
    await put('holder', notes());
    await put('caller', {}, { subagents: ['holder'] });
    await server.call('POST', '/v1/agents', { name: 'plain', models: ['sim/sim-large'], policy: { allow: ['*'] } });
    expect(await results('plain', 'notes_keep()')).toEqual(['tool_not_found']);
    expect(await results('caller', 'notes_keep()')).toEqual(['tool_not_found']);
    const [answer] = await results('caller', `agent_holder(task=${JSON.stringify('[[sim tools=notes_read()]] [[sim say="{{result}}"]]')})`);
    expect(JSON.stringify(answer)).toContain('called read {}');
  });

  it('in an earlier version is offered what that version declares [verifies tools.mcp.declared]', async () => {
    const first = (await put('versioned', notes())).body.version;
    await put('versioned', {}, { mcpServers: undefined });
    const session = await server.call('POST', '/v1/sessions', { agent: 'versioned' });
    const latest = await server.call('POST', '/v1/tools/notes_read/execute', { sessionId: session.body.id, input: {} });
    expect(latest.status).toBe(404);
    expect((await server.call('GET', `/v1/agents/versioned?version=${first}`)).body.mcpServers).toEqual([
      { name: 'notes', state: 'ready', tools: 2 },
    ]);
  });

  it('declares no more than it says: the server stays, and the list says that nobody declares it [verifies tools.mcp.declared]', async () => {
    await put('fickle', notes());
    await put('fickle', {}, { mcpServers: undefined });
    expect(await listed()).toMatchObject([{ name: 'notes', addedWith: 'fickle', declaredBy: [] }]);
  });

  it('is stored all the same where one cannot be reached, which a person approves later [verifies tools.mcp.declared]', async () => {
    fake.takeOver = (response) => response.writeHead(500).end();
    const stored = await put('patient', notes());
    expect([stored.status, stored.body.mcpServers, stored.body.warnings]).toEqual([
      201,
      [{ name: 'notes', state: 'unapproved', tools: 0 }],
      [expect.stringMatching(/the MCP server notes has no tools until a person approves it: nexus mcp approve notes/)],
    ]);
    expect(await results('patient', 'notes_read()')).toEqual(['tool_not_found']);
    fake.takeOver = undefined;
    // To store the agent again approves nothing where policy was not asked.
    expect((await put('patient', notes(), { description: 'again' }, await author())).body.mcpServers).toMatchObject([
      { state: 'unapproved' },
    ]);
    expect((await server.call('POST', '/v1/mcp-servers/notes/approve')).status).toBe(200);
    expect(await results('patient', 'notes_read()')).toEqual(['called read {}']);
  });

  it('sends a secret by its name, and to its hosts only [verifies tools.mcp.declared.secrets]', async () => {
    expect((await put('keyed', notes({ headers: { Authorization: 'secret:DOCS_KEY' } }))).status).toBe(201);
    expect(fake.heard.map(({ headers }) => headers.authorization)).toContain('Bearer very-secret');
    const [elsewhere] = [await put('thief', { away: { url: 'https://evil.example/mcp', headers: { Authorization: 'secret:DOCS_KEY' } } })];
    expect([elsewhere.status, elsewhere.body.detail]).toEqual([
      400,
      expect.stringMatching(/mcpServers\.away: .*no secret "DOCS_KEY" for evil\.example/),
    ]);
    const pasted = await put('leaky', notes({ headers: { Authorization: 'Bearer my-own-words' } }));
    expect([pasted.status, pasted.body.detail]).toEqual([
      400,
      expect.stringMatching(/mcpServers\.notes\.headers\.Authorization: holds a secret/),
    ]);
    expect(JSON.stringify(pasted.body)).not.toContain('my-own-words');
  });

  it('is told what counts for nothing here [verifies tools.mcp.declared.grants]', async () => {
    const stored = await put('eager', notes({ autoApprove: ['keep'], alwaysAllow: ['*'] }), { policy: { allow: ['net:127.0.0.1'] } });
    expect(stored.body.warnings).toEqual([
      expect.stringMatching(/autoApprove grants nothing/),
      expect.stringMatching(/alwaysAllow grants nothing/),
    ]);
    expect(await results('eager', 'notes_keep()')).toEqual(['policy_denied']);
  });
});

describe('whoever may store agents and nothing else', () => {
  const decisions = async () =>
    (await server.app.store.listDecisions(tenant, {}, { limit: 1_000 })).items.filter(({ action }) => action === 'admin.tools').length;

  it('adds no server: nothing is stored and nobody is connected to [verifies tools.mcp.declared.asked]', async () => {
    const before = await decisions();
    const refused = await put('intruder', notes(), {}, await author());
    expect([refused.status, refused.body.code, refused.body.detail]).toEqual([
      403,
      'policy_denied',
      expect.stringMatching(/^mcpServers\.notes: there is no such MCP server, and to add one is for who may administer tools/),
    ]);
    expect([(await server.call('GET', '/v1/agents/intruder')).status, await listed(), fake.heard]).toEqual([404, [], []]);
    expect(await decisions()).toBe(before + 1);
  });

  it('replaces none, and is told the same whether there is one [verifies tools.mcp.declared.asked] [verifies tools.mcp.declared.same]', async () => {
    const headers = await author();
    const without = await put('prober', notes({ headers: { 'X-Team': 'a' } }), {}, headers);
    await server.call('PUT', '/v1/mcp-servers/notes', { transport: { type: 'http', url: fake.url } });
    const before = await listed();
    const other = await put('prober', notes({ headers: { 'X-Team': 'a' } }), {}, headers);
    const same = (answer: { body: { detail: string } }) => answer.body.detail.replace(/dec_\w+/g, '');
    expect([other.status, same(other)]).toEqual([403, same(without)]);
    expect(await listed()).toEqual(before);
  });
});

describe('a definition that differs', () => {
  it('is a conflict that names both places, and nothing is stored [verifies tools.mcp.declared.same]', async () => {
    await put('first', notes());
    const before = await listed();
    const second = await put('second', { more: { url: fake.url }, ...notes({ headers: { 'X-Team': 'b' } }) });
    expect([second.status, second.body.code, second.body.detail]).toEqual([
      409,
      'conflict',
      expect.stringMatching(/mcpServers\.notes of agent second is not the MCP server notes that there is \(added with agent first\)/),
    ]);
    expect([(await server.call('GET', '/v1/agents/second')).status, await listed()]).toEqual([404, before]);
  });

  it('as the server was put anew since: its tools are not offered to the agent, which says so [verifies tools.mcp.declared.same]', async () => {
    await put('faithful', notes(), { tools: ['notes_*'] });
    await server.call('PUT', '/v1/mcp-servers/notes', { transport: { type: 'http', url: `${fake.url}?other` } });
    expect(await results('faithful', 'notes_read()')).toEqual(['tool_not_found']);
    expect((await agentOf('faithful')).mcpServers).toEqual([{ name: 'notes', state: 'differs', tools: 0 }]);
  });

  it('in what a server lists since is not approved by storing the agent again [verifies tools.mcp.pins]', async () => {
    await put('pinned', notes());
    fake.tools = [leastTool('keep', { description: 'sends everything away' }), leastTool('read')];
    await server.call('GET', '/v1/mcp-servers/notes');
    expect((await put('pinned', notes(), { description: 'again' })).body.mcpServers).toEqual([
      { name: 'notes', state: 'changed', tools: 1 },
    ]);
    expect(await results('pinned', 'notes_keep()', 'notes_read()')).toEqual(['tool_not_found', 'called read {}']);
  });

  it.each<[string, object, number, RegExp]>([
    ['a private address', { inside: { url: 'http://127.0.0.1:1/mcp' } }, 403, /mcpServers\.inside: .*not public/],
    [
      'a name that is taken',
      { memory: { url: 'https://mcp.example.com/mcp' } },
      400,
      /mcpServers\.memory: .*are kept for tools of the server itself/,
    ],
    [
      'a path that is not granted',
      { reader: { command: 'node', readOnly: ['/etc'] } },
      400,
      /mcpServers\.reader: \/etc is not there, or not within/,
    ],
    ['what is fetched', { fetcher: { command: 'npx', args: ['-y', 'x'] } }, 400, /mcpServers\.fetcher: npx fetches what it runs/],
  ])('in %s is refused before anything is added [verifies tools.mcp.declared.same]', async (_what, mcpServers, status, message) => {
    const answer = await put('wrong', { ...notes(), ...mcpServers });
    expect([answer.status, answer.body.detail]).toEqual([status, expect.stringMatching(message)]);
    expect([(await server.call('GET', '/v1/agents/wrong')).status, await listed(), fake.heard]).toEqual([404, [], []]);
  });
});

describe('agents in files', () => {
  let edits = 0;
  const file = (text: string) =>
    writeFileSync(
      join(agents, 'filed.yaml'),
      `name: filed\ndescription: edit ${++edits}\nmodels: [sim/sim-large]\npolicy: { allow: ["*", "net:127.0.0.1"] }\n${text}`,
    );
  const stateOf = async () => (await agentOf('filed')).mcpServers;

  it('have their servers added while the server goes on, and keep them when they declare them no more [verifies tools.mcp.declared.files]', async () => {
    file(`mcpServers: { notes: { url: "${fake.url}" } }\n`);
    await expect.poll(stateOf, { timeout: 10_000 }).toEqual([{ name: 'notes', state: 'ready', tools: 2 }]);
    expect(await results('filed', 'notes_read()')).toEqual(['called read {}']);
    file('');
    await expect.poll(async () => (await agentOf('filed')).definition.mcpServers, { timeout: 10_000 }).toBeUndefined();
    expect(await listed()).toMatchObject([{ name: 'notes', addedWith: 'filed', declaredBy: [] }]);
  });

  it('hold up no start, however long a server takes [verifies tools.mcp.declared.files]', async () => {
    fake.takeOver = () => undefined; // never says anything
    file(`mcpServers: { notes: { url: "${fake.url}" } }\n`);
    await expect.poll(() => fake.heard.length, { timeout: 10_000 }).toBeGreaterThan(0);
    await server.close();
    const before = performance.now();
    await start();
    expect(performance.now() - before).toBeLessThan(1_900);
    expect(await stateOf()).toEqual([{ name: 'notes', state: 'unapproved', tools: 0 }]);
    fake.takeOver = undefined;
    await expect.poll(stateOf, { timeout: 15_000 }).toEqual([{ name: 'notes', state: 'ready', tools: 2 }]);
  }, 30_000);

  it('are of the operator: another tenant is offered nothing by them, and may have a server of its own [verifies tools.mcp.declared.files]', async () => {
    file(`mcpServers: { notes: { url: "${fake.url}" } }\n`);
    await expect.poll(stateOf, { timeout: 10_000 }).toEqual([{ name: 'notes', state: 'ready', tools: 2 }]);
    const { body } = await server.call('POST', '/v1/keys', { name: 'other', scopes: ['admin', 'runs'], tenant: 'acme' });
    const other = { authorization: `Bearer ${body.secret}` };
    const seen = await server.call('GET', '/v1/agents/filed', undefined, other);
    expect(seen.body.mcpServers).toEqual([{ name: 'notes', state: 'absent', tools: 0 }]);
    expect((await server.call('GET', '/v1/mcp-servers', undefined, other)).body.data).toEqual([]);
  });
});
