import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

type Message = { readonly id?: number | string; readonly method: string; readonly params?: Record<string, unknown> };

/** Answers a request in its own way; false leaves it to the server. */
export type Answer = (message: Message, response: ServerResponse, request: IncomingMessage) => boolean | undefined;

export interface FakeMcpServer {
  readonly url: string;
  readonly port: number;
  /** Every message that came, in order. */
  readonly heard: { readonly method: string; readonly params: Record<string, unknown>; readonly headers: IncomingMessage['headers'] }[];
  tools: Record<string, unknown>[];
  answer: Answer;
  /** What GET of a path is answered with. */
  readonly documents: Map<string, (response: ServerResponse) => void>;
  /** Conversations that it knows; cleared, it has forgotten all of them. */
  readonly sessions: Set<string>;
  close(): Promise<void>;
}

export function toolOf(name: string, more: Record<string, unknown> = {}): Record<string, unknown> {
  return { name, description: `does ${name}`, inputSchema: { type: 'object', properties: { text: { type: 'string' } } }, ...more };
}

/** A server of the revision 2025-11-25, written by hand so that it can do anything wrong. */
export async function startFakeMcpServer(): Promise<FakeMcpServer> {
  const heard: FakeMcpServer['heard'] = [];
  const sessions = new Set<string>();
  let count = 0;
  const documents: FakeMcpServer['documents'] = new Map();
  const kit = { heard, documents, sessions, tools: [toolOf('echo')], answer: (() => undefined) as Answer };

  const server = createServer(async (request, response) => {
    request.on('error', () => undefined);
    response.on('error', () => undefined);
    const document = request.method === 'GET' ? documents.get(request.url ?? '') : undefined;
    if (document !== undefined) return document(response);
    if (request.method !== 'POST') {
      response.writeHead(request.method === 'DELETE' ? 200 : 405).end();
      return;
    }
    let text = '';
    for await (const chunk of request) text += String(chunk);
    const message = JSON.parse(text) as Message; // the client sends JSON
    const { method, id, params = {} } = message;
    heard.push({ method, params, headers: request.headers });
    if (kit.answer(message, response, request) === true) return;
    const session = request.headers['mcp-session-id'];
    if (method === 'initialize') {
      const name = `session-${++count}`;
      sessions.add(name);
      response.setHeader('mcp-session-id', name);
      return send(response, id, {
        protocolVersion: '2025-11-25',
        capabilities: { tools: { listChanged: true } },
        serverInfo: { name: 'fake', version: '1.0.0' },
      });
    }
    if (typeof session !== 'string') return void response.writeHead(400).end('{"error":"no session"}');
    if (!sessions.has(session)) return void response.writeHead(404).end('{"error":"session not found"}');
    if (id === undefined) return void response.writeHead(202).end();
    if (method === 'tools/list') return send(response, id, { tools: kit.tools });
    if (method === 'tools/call')
      return send(response, id, { content: [{ type: 'text', text: `called ${String(params.name)} ${JSON.stringify(params.arguments)}` }] });
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ jsonrpc: '2.0', id, error: { code: -32601, message: 'no such method' } }));
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

export function send(response: ServerResponse, id: Message['id'], result: unknown): void {
  response.writeHead(200, { 'content-type': 'application/json' });
  response.end(JSON.stringify({ jsonrpc: '2.0', id, result }));
}

/** Opens a stream of events, and gives what writes messages to it. */
export function stream(response: ServerResponse): (message: unknown) => boolean {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  return (message) => response.write(`data: ${JSON.stringify(message)}\n\n`);
}
