import { expect, it } from 'vitest';
import { importMcpServers } from './commands/mcp-import.ts';

const of = (mcpServers: unknown) => importMcpServers(JSON.stringify({ mcpServers }));

it('takes what other clients have written down [verifies tools.mcp.import]', () => {
  expect(
    of({
      Files_Here: { command: 'node', args: ['/opt/mcp/files.js', '/data'], env: { LEVEL: 'info' }, disabled: false },
      remote: { type: 'http', url: 'https://mcp.example.com/mcp', headers: { 'X-Team': 'a' } },
    }),
  ).toEqual([
    { name: 'files-here', transport: { type: 'stdio', command: 'node', args: ['/opt/mcp/files.js', '/data'], env: { LEVEL: 'info' } } },
    { name: 'remote', transport: { type: 'http', url: 'https://mcp.example.com/mcp', headers: { 'X-Team': 'a' } } },
  ]);
});

it.each<[unknown, RegExp]>([
  [{ '1st': { command: 'node' } }, /mcpServers\.1st: expected a name/],
  [{ a: {} }, /mcpServers\.a: give either command or url/],
  [{ a: { command: 'node', args: 'x' } }, /mcpServers\.a: args: /],
  [{ a: { type: 'sse', url: 'https://a.example/sse' } }, /mcpServers\.a: servers of type sse/],
  [null, /has no "mcpServers"/],
])('says of %j what cannot be taken [verifies tools.mcp.import]', (servers, message) => {
  expect(() => of(servers)).toThrow(message);
});
