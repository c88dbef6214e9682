import { McpServerDefinition } from '@nexus-agent/protocol';
import { describe, expect, it } from 'vitest';
import { offeredTools } from './arguments.ts';
import { isAsDeclared, isOfDeclaredServer, readDeclaredServers, serverMark } from './declared-servers.ts';

/** As other clients write what they fill in. */
const filled = (name: string) => ['$', `{${name}}`].join('');
/** Made up, and joined here so that no scanner takes this file for a leak. */
const openAiKey = ['sk', 'Ab9Cd8Ef7Gh6Ij5Kl4Mn3Op2Qr1St0Uv9Wx8Yz7A'].join('-');

describe('what people paste under mcpServers', () => {
  it('is taken as other clients have it [verifies tools.mcp.import]', () => {
    const { servers, notes } = readDeclaredServers({
      Files_Here: {
        command: 'node',
        args: ['/opt/mcp/files.js', '/data'],
        env: { LEVEL: 'info', PORT: 8080, MAX_TOKENS: 4096 },
        disabled: false,
      },
      remote: { type: 'streamable-http', url: 'https://mcp.example.com/mcp', headers: { 'X-Team': 'a', Authorization: 'secret:DOCS_KEY' } },
    });
    expect(notes).toEqual([]);
    expect(servers.map(({ name, definition, isDisabled }) => [name, definition.transport, isDisabled])).toEqual([
      [
        'files-here',
        {
          ...{ type: 'stdio', command: 'node', args: ['/opt/mcp/files.js', '/data'], readOnly: [] },
          env: { LEVEL: 'info', PORT: '8080', MAX_TOKENS: '4096' },
        },
        false,
      ],
      [
        'remote',
        { type: 'http', url: 'https://mcp.example.com/mcp', headers: { 'X-Team': 'a', Authorization: { secret: 'DOCS_KEY' } } },
        false,
      ],
    ]);
  });

  it.each<[unknown, RegExp]>([
    [{ '1st': { command: 'node' } }, /mcpServers\.1st: expected a name/],
    [{ a: {} }, /mcpServers\.a: give either command or url/],
    [{ a: { command: 'node', url: 'https://a.example' } }, /mcpServers\.a: give either command or url/],
    [{ a: { command: 'node', args: 'x' } }, /mcpServers\.a\.args: expected array/],
    [{ a: { type: 'sse', url: 'https://a.example/sse' } }, /mcpServers\.a: servers of type sse/],
    [{ a: { type: 'http', command: 'node' } }, /mcpServers\.a: type http goes with url/],
    [{ a: { url: 'https://a.example', env: { A: 'b' } } }, /mcpServers\.a\.env is for programs/],
    [{ a: { command: 'node', headers: { A: 'b' } } }, /mcpServers\.a\.headers are for servers with a url/],
    [{ a: { command: 'node', timeout: 60 } }, /mcpServers\.a\.timeout is in seconds for some clients .* write timeoutMs/],
    [{ a: { command: 'node', arg: ['x'] } }, /mcpServers\.a\.arg: .*did you mean "args"/],
    [{ 'a b': { command: 'x' }, a_b: { command: 'y' } }, /mcpServers\.a_b and mcpServers\.a b are both called a-b/],
    [{ a: { command: 'node', env: { ID: 2 ** 70 } } }, /mcpServers\.a\.env\.ID: write this number in quotes/],
    [null, /mcpServers: expected/],
  ])('is refused where %j cannot be taken, saying what would be right [verifies tools.mcp.import]', (servers, message) => {
    expect(() => readDeclaredServers(servers)).toThrow(message);
  });

  it.each<[unknown, RegExp]>([
    [
      { a: { command: 'x', env: { API_KEY: 'my own key' } } },
      /mcpServers\.a\.env\.API_KEY: holds a secret in plain words.*"secret:NAME" or \{ secret: NAME \}/,
    ],
    [{ a: { command: 'x', env: { HARMLESS: openAiKey } } }, /mcpServers\.a\.env\.HARMLESS: holds a secret/],
    [{ a: { command: 'x', env: { DB: 'postgres://me:hunter2@db/x' } } }, /mcpServers\.a\.env\.DB: holds a secret/],
    [
      { a: { url: 'https://a.example', headers: { Authorization: 'Bearer my own key' } } },
      /mcpServers\.a\.headers\.Authorization: holds a secret/,
    ],
    [{ a: { url: 'https://a.example', headers: { 'X-Team': `Bearer ${openAiKey}` } } }, /mcpServers\.a\.headers\.X-Team: holds a secret/],
    [{ a: { command: 'x', args: ['--key', openAiKey] } }, /mcpServers\.a\.args\[1\]: holds a secret/],
    [{ a: { url: `https://a.example/mcp?api_key=my-own-key` } }, /mcpServers\.a\.url: holds a secret/],
    [{ a: { url: 'https://me:my-own-key@a.example/mcp' } }, /mcpServers\.a\.url: holds a secret/],
    [{ a: { command: 'x', env: { API_KEY: ['my own key'] } } }, /mcpServers\.a\.env\.API_KEY: expected/],
  ])('is refused with a secret in it, which is not repeated [verifies tools.mcp.declared.secrets]', (servers, message) => {
    expect(() => readDeclaredServers(servers)).toThrow(message);
    try {
      readDeclaredServers(servers);
    } catch (error) {
      expect(String(error)).not.toMatch(/own.key|hunter2|Ab9Cd8/);
    }
  });
});

describe('what went wrong elsewhere', () => {
  it.each([
    ['env', { command: 'x', env: { ENDPOINT: filled('API_ENDPOINT') } }],
    ['env', { command: 'x', env: { ENDPOINT: filled('env:API_ENDPOINT') } }],
    ['headers', { url: 'https://a.example', headers: { 'X-Team': filled('input:team') } }],
    ['url', { url: filled('MY_URL') }],
    ['args', { command: 'x', args: [`${filled('workspaceFolder')}/a`] }],
    ['args', { command: 'x', args: ['--dsn', `mysql://${filled('DB_HOST:-db')}/x`] }],
  ])('a variable that nobody fills in reaches no server as it is written, in %s [verifies tools.mcp.import]', (place, server) => {
    expect(() => readDeclaredServers({ a: server })).toThrow(new RegExp(`mcpServers\\.a\\.${place}.*nothing is filled in here`));
  });

  it.each([
    ['autoApprove', ['keep']],
    ['autoApprove', true],
    ['alwaysAllow', ['*']],
  ])('%s: %j grants nothing, and that is said [verifies tools.mcp.declared.grants]', (key, value) => {
    const { servers, notes } = readDeclaredServers({ a: { command: 'x', [key]: value } });
    expect(notes).toEqual([expect.stringContaining(`mcpServers.a.${key} grants nothing here`)]);
    expect(JSON.stringify(servers)).not.toContain(key);
  });

  it('an empty list of what is approved, as examples have it, is worth no word', () => {
    expect(readDeclaredServers({ a: { command: 'x', autoApprove: [], alwaysAllow: [], disabled: true } })).toMatchObject({
      servers: [{ isDisabled: true }],
      notes: [],
    });
  });
});

describe('a declared server and the one that the tenant has', () => {
  const declared = (more: object) => readDeclaredServers({ a: { command: 'node', args: ['/a.js'], ...more } }).servers[0] as never;
  const kept = (more: object = {}, transport: object = {}) =>
    McpServerDefinition.parse({ transport: { type: 'stdio', command: 'node', args: ['/a.js'], ...transport }, ...more });

  it('are the same where all that is declared is so, whatever the operator has beside it [verifies tools.mcp.declared.same]', () => {
    expect(isAsDeclared(declared({}), kept())).toBe(true);
    expect(
      isAsDeclared(declared({}), kept({ deny: ['x'], trustHints: true, timeoutMs: 500, elicitation: true }, { readOnly: ['/opt'] })),
    ).toBe(true);
    expect(isAsDeclared(declared({ elicitation: false }), kept())).toBe(true);
  });

  it.each<[string, object, ReturnType<typeof kept>]>([
    ['another argument', { args: ['/b.js'] }, kept()],
    ['another environment', { env: { A: '1' } }, kept()],
    ['another secret', { env: { A: 'secret:X' } }, kept({}, { env: { A: { secret: 'Y' } } })],
    ['more tools', { allow: ['*'] }, kept({ allow: ['read_*'] })],
    ['other effects', { effects: { pay: 'idempotent' } }, kept()],
    ['trusted hints', { trustHints: true }, kept()],
    ['another right to ask people', { elicitation: true }, kept()],
    ['no right to ask people', { elicitation: false }, kept({ elicitation: true })],
    ['another who answers', { sampling: { agent: 'a' } }, kept({ sampling: { agent: 'b' } })],
    ['more to read', { readOnly: ['/opt', '/etc'] }, kept({}, { readOnly: ['/opt'] })],
  ])('are not with %s [verifies tools.mcp.declared.same]', (_what, more, server) => {
    expect(isAsDeclared(declared(more), server)).toBe(false);
  });

  it('an http one with other headers is another [verifies tools.mcp.declared.same]', () => {
    const [remote] = readDeclaredServers({ a: { url: 'https://a.example/mcp', headers: { 'X-Team': 'a' } } }).servers;
    const of = (headers: object) => McpServerDefinition.parse({ transport: { type: 'http', url: 'https://a.example/mcp', headers } });
    expect([isAsDeclared(remote as never, of({ 'X-Team': 'a' })), isAsDeclared(remote as never, of({}))]).toEqual([true, false]);
  });
});

describe('what an agent is offered of a server that it declares', () => {
  const mcpServers = { notes: { command: 'node', args: ['/notes.js'] }, off: { command: 'x', disabled: true } };
  const mark = serverMark({ transport: { type: 'stdio', command: 'node', args: ['/notes.js'], env: {}, readOnly: ['/opt'] } });
  const known = [
    { name: 'fs_read', source: 'built-in' },
    { name: 'notes_keep', source: 'mcp:notes', serverMark: mark },
    { name: 'notes_read', source: 'mcp:notes', serverMark: mark },
    { name: 'mcp_notes_get_prompt', source: 'mcp:notes', serverMark: mark },
    { name: 'off_run', source: 'mcp:off', serverMark: 'whatever' },
    { name: 'other_run', source: 'mcp:other', serverMark: mark },
    { name: 'notes_forged', source: 'worker' },
  ];
  const offered = (definition: Parameters<typeof offeredTools>[1], tools: Parameters<typeof offeredTools>[0] = known) =>
    offeredTools(tools, definition).map(({ name }) => name);

  it('is all of it without naming it, and of others what it names [verifies tools.mcp.declared]', () => {
    expect(offered({ tools: ['fs_*'], mcpServers })).toEqual(['fs_read', 'notes_keep', 'notes_read', 'mcp_notes_get_prompt']);
    expect(offered({ tools: ['fs_*'] })).toEqual(['fs_read']);
  });

  it('is what it names of it where it names something [verifies tools.mcp.declared]', () => {
    expect(offered({ tools: ['notes_read'], mcpServers })).toEqual(['notes_read']);
    expect(offered({ tools: ['mcp_notes_*'], mcpServers })).toEqual(['mcp_notes_get_prompt']);
  });

  it('is nothing of another server of that name, nor of a disabled one, whatever it names [verifies tools.mcp.declared.same]', () => {
    const swapped = known.map((tool) => (tool.source === 'mcp:notes' ? { ...tool, serverMark: 'another' } : tool));
    expect(offered({ tools: ['*'], mcpServers }, swapped)).toEqual(['fs_read', 'other_run', 'notes_forged']);
    expect(offered({ tools: [], mcpServers }, swapped)).toEqual([]);
  });

  it('keeps the names of its tools from the tools of clients [verifies tools.mcp.declared]', () => {
    const names = ['notes_keep', 'mcp_notes_x', 'noted', 'fs_read'];
    expect(names.map((name) => isOfDeclaredServer({ tools: [], mcpServers }, name))).toEqual([true, true, false, false]);
  });
});
