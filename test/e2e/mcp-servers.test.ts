import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { McpServer as FormerServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { createMcpHandler, McpServer } from '@modelcontextprotocol/server';
import type { McpServerInspection, Page, ToolInfo } from '@nexus-agent/protocol';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { z } from 'zod';
import { startTestPlatform, type TestPlatform } from '../../packages/server/src/apps/testing/index.ts';

/** Servers of both ages of the protocol, written with the SDK of each, that keep notes. */
const notes: string[] = [];
const shape = { note: z.string() };
const keep = async ({ note }: { note: string }) => {
  notes.push(note);
  return { content: [{ type: 'text' as const, text: `kept: ${note}` }] };
};
const about = { description: 'Keeps a note', inputSchema: z.object(shape) };
const guide = async () => ({ contents: [{ uri: 'notes://guide', text: 'write short notes' }] });

const modern = createMcpHandler(() => {
  const server = new McpServer({ name: 'notes', version: '2.0.0' });
  server.registerTool('keep_note', about, keep);
  server.registerResource('guide', 'notes://guide', {}, guide);
  return server;
});

async function serveModern(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const body = await textOf(request);
  const headers = new Headers(Object.entries(request.headers).map(([name, value]) => [name, String(value)]));
  const bodyOf = body === '' ? {} : { body };
  const answer = await modern.fetch(new Request(`http://127.0.0.1${request.url}`, { method: request.method ?? 'GET', headers, ...bodyOf }));
  response.writeHead(answer.status, Object.fromEntries(answer.headers));
  for await (const piece of answer.body ?? []) response.write(piece);
  response.end();
}

async function serveFormer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const server = new FormerServer({ name: 'notes', version: '1.0.0' });
  server.registerTool('keep_note', { ...about, inputSchema: shape }, keep);
  server.registerResource('guide', 'notes://guide', {}, guide);
  const transport = new StreamableHTTPServerTransport({});
  response.on('close', () => void server.close());
  await server.connect(transport as Parameters<typeof server.connect>[0]); // its optional members are written in another way, no more
  await transport.handleRequest(request, response);
}

async function textOf(request: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of request) text += String(chunk);
  return text;
}

let platform: TestPlatform;
let servers: Server;
let base: string;

beforeAll(async () => {
  servers = createServer((request, response) => {
    const serve = request.url?.startsWith('/modern') ? serveModern : serveFormer;
    serve(request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => servers.listen(0, '127.0.0.1', resolve));
  const { port } = servers.address() as AddressInfo; // it listens on a port
  base = `http://127.0.0.1:${port}`;
  platform = await startTestPlatform({ config: { mcpClient: { allowPrivate: [`127.0.0.1:${port}`] } } });
});

afterAll(async () => {
  await platform.close();
  servers.closeAllConnections();
  await new Promise((resolve) => servers.close(resolve));
});

it.each([
  ['2026-07-28', 'modern'],
  ['2025-11-25', 'former'],
])('an agent uses the tools of a server of %s, under policy and journal [verifies tools.mcp.client]', async (revision, name) => {
  const url = `${base}/${name}/mcp`;
  const added = await platform.ask<McpServerInspection>('PUT', `/v1/mcp-servers/${name}`, { transport: { type: 'http', url } });
  expect(added).toMatchObject({ state: 'ready', live: { protocolVersion: revision, resources: ['notes://guide'] } });
  const { data } = await platform.ask<Page<ToolInfo>>('GET', '/v1/tools');
  expect(data.find((tool) => tool.name === `${name}_keep_note`)).toMatchObject({ source: `mcp:${name}`, tier: 'remote', effects: 'once' });

  notes.length = 0;
  await platform.agent(`${name}-keeper`, {
    tools: [`${name}_*`, `mcp_${name}_*`],
    policy: { allow: [`${name}_*`, `mcp_${name}_*`, 'net:127.0.0.1'] },
  });
  const runId = await platform.complete({
    agent: `${name}-keeper`,
    input: `[[sim tools=${name}_keep_note(note="buy milk")]] [[sim tools=mcp_${name}_read_resource(uri="notes://guide")]] [[sim say="done"]]`,
  });
  expect(notes).toEqual(['buy milk']);
  const results = (await platform.events(runId)).flatMap((event) => (event.type === 'tool.completed' ? [event.data.output] : []));
  expect(results).toEqual(['kept: buy milk', 'write short notes']);

  // An agent that no policy lets reach the host is told so, and nothing is sent.
  await platform.agent(`${name}-hermit`, { tools: [`${name}_*`], policy: { allow: [`${name}_*`] } });
  await platform.complete({ agent: `${name}-hermit`, input: `[[sim tools=${name}_keep_note(note="again")]] [[sim say="done"]]` });
  expect(notes).toEqual(['buy milk']);
});

it('is for administrators only', async () => {
  const key = await platform.key(['runs']);
  const response = await fetch(`${platform.url}/v1/mcp-servers`, { headers: { authorization: `Bearer ${key}` } });
  expect(response.status).toBe(403);
});
