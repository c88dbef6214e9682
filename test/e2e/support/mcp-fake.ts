import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** The least that is an MCP server of the revision 2025-11-25, over HTTP. */
export interface LeastMcpServer {
  readonly url: string;
  readonly port: number;
  /** Every message that came, in order. */
  readonly heard: { readonly method: string; readonly headers: IncomingMessage['headers'] }[];
  tools: Record<string, unknown>[];
  /** Takes an answer over, in its own way or never. */
  takeOver: ((response: ServerResponse) => void) | undefined;
  close(): Promise<void>;
}

export function leastTool(name: string, more: Record<string, unknown> = {}): Record<string, unknown> {
  return { name, description: `does ${name}`, inputSchema: { type: 'object', properties: { text: { type: 'string' } } }, ...more };
}

export async function startLeastMcpServer(): Promise<LeastMcpServer> {
  const kit = {
    heard: [] as LeastMcpServer['heard'],
    tools: [] as Record<string, unknown>[],
    takeOver: undefined as LeastMcpServer['takeOver'],
  };
  const server = createServer(async (request, response) => {
    let text = '';
    for await (const chunk of request) text += String(chunk);
    const { id, method = '', params = {} } = text === '' ? {} : JSON.parse(text);
    if (method !== '') kit.heard.push({ method, headers: request.headers });
    if (kit.takeOver !== undefined) return kit.takeOver(response);
    if (id === undefined) return void response.writeHead(request.method === 'GET' ? 405 : 202).end();
    const results: Readonly<Record<string, unknown>> = {
      initialize: { protocolVersion: '2025-11-25', capabilities: { tools: {} }, serverInfo: { name: 'least', version: '1.0.0' } },
      'tools/list': { tools: kit.tools },
      'tools/call': { content: [{ type: 'text', text: `called ${params.name} ${JSON.stringify(params.arguments)}` }] },
    };
    if (!Object.hasOwn(results, method)) return void response.writeHead(400).end();
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ jsonrpc: '2.0', id, result: results[method] }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo; // it listens on a port
  return Object.assign(kit, {
    port,
    url: `http://127.0.0.1:${port}/mcp`,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  });
}
