import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startTestPlatform, type TestPlatform } from '#apps/testing';
import { runCli } from './cli.testkit.ts';

let platform: TestPlatform;
let server: Server;
let url: string;
const tool = { name: 'keep_note', description: 'Keeps a note', inputSchema: { type: 'object' } };

/** The least that is an MCP server of the revision 2025-11-25. */
const answers: Readonly<Record<string, unknown>> = {
  initialize: { protocolVersion: '2025-11-25', capabilities: { tools: {} }, serverInfo: { name: 'notes', version: '1.0.0' } },
  'tools/list': { tools: [tool] },
};

beforeAll(async () => {
  server = createServer(async (request, response) => {
    let text = '';
    for await (const chunk of request) text += String(chunk);
    const { id, method = '' } = text === '' ? {} : JSON.parse(text);
    if (id === undefined) return void response.writeHead(request.method === 'GET' ? 405 : 202).end();
    if (!Object.hasOwn(answers, method)) return void response.writeHead(400).end();
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ jsonrpc: '2.0', id, result: answers[method] }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo; // it listens on a port
  url = `http://127.0.0.1:${port}/mcp`;
  platform = await startTestPlatform({ config: { mcpClient: { allowPrivate: [`127.0.0.1:${port}`] } } });
});

afterAll(async () => {
  await platform.close();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

it('adds, lists, inspects, approves and removes MCP servers [verifies tools.mcp.client]', async () => {
  const nexus = (...words: string[]) => runCli(words, { env: { NEXUS_URL: platform.url } });
  const added = await nexus('mcp', 'add', 'diary', url, '--effects', 'keep_note=idempotent', '--timeout', '5000');
  expect(added.out).toMatch(/^diary: ready, at http.*\nnotes 1\.0\.0, protocol 2025-11-25, tools [0-9a-f]{16}\n/);
  expect(added.out).toMatch(/keep_note +diary_keep_note +ready +idempotent +Keeps a note/);
  expect((await nexus('mcp', 'list')).out).toMatch(/diary +ready +1 +http/);
  tool.description = 'Keeps a note, and tells others';
  const changed = await nexus('mcp', 'inspect', 'diary');
  expect([changed.code, changed.out, changed.err]).toEqual([
    0,
    expect.stringMatching(/ changed /),
    expect.stringMatching(/nexus mcp approve diary/),
  ]);
  expect((await nexus('mcp', 'approve', 'diary', '--fingerprint', 'other')).code).not.toBe(0);
  expect((await nexus('mcp', 'approve', 'diary')).out).toMatch(/^diary: ready/);
  expect((await nexus('mcp', 'remove', 'diary')).out).toBe('diary is removed\n');
  const unknown = await nexus('mcp', 'inspect', 'diary');
  expect([unknown.code === 0, unknown.err]).toEqual([false, expect.stringMatching(/no MCP server/)]);
  expect((await nexus('mcp', 'add', 'ghost', 'http://127.0.0.1:1/mcp')).err).toMatch(
    /not public.*mcpClient\.allowPrivate of the server grants it: 127\.0\.0\.1:1/,
  );
  expect((await nexus('mcp', 'add', 'we b', url)).err).toMatch(/names have 1 to 100 of the characters/);
});

it('takes servers from the file of an agent, or with it, and says how they stand [verifies tools.mcp.declared] [verifies tools.mcp.import]', async () => {
  const file = 'scribe.yaml';
  let text = `name: scribe\nmodels: [sim/sim-large]\nmcpServers:\n  Diary: { url: "${url}", autoApprove: [keep_note] }\n  off: { command: x, disabled: true }\n`;
  const nexus = (...words: string[]) => runCli(words, { env: { NEXUS_URL: platform.url }, files: { [file]: text } });
  const stored = await nexus('agents', 'put', file);
  expect([stored.code, stored.err]).toEqual([0, expect.stringMatching(/mcpServers\.Diary\.autoApprove grants nothing here/)]);
  expect((await nexus('agents', 'list')).out).toMatch(/scribe .* api +diary:1 off:disabled/);
  expect((await nexus('agents', 'show', 'scribe')).err).toMatch(/MCP server diary: ready, 1 tools\nMCP server off: disabled/);
  expect((await nexus('mcp', 'list')).out).toMatch(/diary +ready +1 +scribe +http/);
  await nexus('agents', 'delete', 'scribe');
  expect((await nexus('mcp', 'list')).out).toMatch(/diary +ready +1 +none now \(scribe\) +http/);
  await nexus('mcp', 'remove', 'diary');
  const noScheme = await nexus('mcp', 'add', 'remote', 'remote.example/mcp');
  expect([noScheme.code === 0, noScheme.err]).toEqual([
    false,
    expect.stringContaining('write https://remote.example/mcp, or -- before it'),
  ]);
  const imported = await nexus('mcp', 'import', file);
  expect([imported.out, imported.err]).toEqual([
    expect.stringMatching(/^diary: ready/),
    expect.stringMatching(/autoApprove grants nothing.*mcpServers\.off is disabled and was not added/s),
  ]);
  text = 'name: scribe\nmcpServers: { diary: { url: "https://a.example", headers: { Authorization: Bearer my-own-words } } }\n';
  for (const command of [
    ['agents', 'put', file],
    ['mcp', 'import', file],
  ]) {
    const refused = await nexus(...command);
    expect([refused.code === 0, refused.err]).toEqual([
      false,
      expect.stringMatching(/mcpServers\.diary\.headers\.Authorization: holds a secret/),
    ]);
    expect(refused.err).not.toContain('my-own-words');
  }
  await nexus('mcp', 'remove', 'diary');
});
