import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createMcpHandler, McpServer } from '@modelcontextprotocol/server';
import { z } from 'zod';

type Data = Readonly<Record<string, unknown>>;

/** What a client answers to a request: a result, or an error. */
export interface AnswerOfClient {
  readonly result?: Data;
  readonly error?: { readonly code: number; readonly message: string };
}

/** The work of a tool of the former revision: it asks in the midst of the call. */
export interface FormerCall {
  /** Of the request that the call is. */
  readonly id: unknown;
  readonly args: Data;
  /** Resolves with the answer. */
  ask(method: string, params: unknown): Promise<AnswerOfClient>;
  /** Any message, on the stream of the call. */
  send(message: Data): void;
  /** Resolves when the client cancels the call. */
  readonly cancelled: Promise<void>;
  /** Ends everything, as a process that dies does. */
  die(): void;
}

export interface AskingServerOptions {
  readonly former?: (call: FormerCall) => Promise<string>;
  /** The result of a `tools/call`, whatever it is, by its params. */
  readonly modern?: (params: Data) => Data;
  /** What the former server says as its tools are asked for, before it lists them. */
  readonly beforeList?: (send: (message: Data) => void) => void;
}

export interface AskingServer {
  readonly port: number;
  readonly url: (revision: 'former' | 'modern') => string;
  /** What clients say that they can do, the newest last. */
  readonly capabilities: Data[];
  /** How often a tool was called. */
  readonly calls: Data[];
  /** Answers to what nobody asked in a call. */
  readonly others: AnswerOfClient[];
  close(): Promise<void>;
}

const tools = [{ name: 'book', description: 'Books a table', inputSchema: { type: 'object', properties: { how: { type: 'string' } } } }];

/** An MCP server of both revisions whose tool `book` does what a test wants, over real sockets. */
export async function startAskingServer(options: AskingServerOptions): Promise<AskingServer> {
  const calls: Data[] = [];
  const capabilities: Data[] = [];
  const others: AnswerOfClient[] = [];
  const waiting = new Map<unknown, (answer: AnswerOfClient) => void>();
  const cancels = new Map<unknown, () => void>();
  let asked = 0;
  const handler = createMcpHandler(() => {
    const server = new McpServer({ name: 'asker', version: '2.0.0' });
    server.registerTool('book', { description: 'Books a table', inputSchema: z.object({ how: z.string().optional() }) }, async () => ({
      content: [],
    }));
    return server;
  });

  async function serveModern(request: IncomingMessage, response: ServerResponse, body: string): Promise<void> {
    const message = body === '' ? {} : (JSON.parse(body) as { id?: number; method?: string; params?: Data });
    if (message.method === 'tools/call') {
      const params = message.params ?? {};
      calls.push(params);
      capabilities.push((params._meta as Data)['io.modelcontextprotocol/clientCapabilities'] as Data); // every request has them
      const result = options.modern?.(params) ?? { resultType: 'complete', content: [] };
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ jsonrpc: '2.0', id: message.id, result }));
      return;
    }
    const headers = new Headers(Object.entries(request.headers).map(([name, value]) => [name, String(value)]));
    const bodyOf = body === '' ? {} : { body };
    const answer = await handler.fetch(
      new Request(`http://127.0.0.1${request.url}`, { method: request.method ?? 'GET', headers, ...bodyOf }),
    );
    response.writeHead(answer.status, Object.fromEntries(answer.headers));
    for await (const piece of answer.body ?? []) response.write(piece);
    response.end();
  }

  function serveFormer(request: IncomingMessage, response: ServerResponse, body: string): void {
    if (request.method !== 'POST') {
      response.writeHead(request.method === 'DELETE' ? 200 : 405).end();
      return;
    }
    const message = JSON.parse(body) as { id?: unknown; method?: string; params?: Data } & AnswerOfClient;
    const { id, method, params = {} } = message;
    const reply = (result: unknown) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ jsonrpc: '2.0', id, result }));
    };
    const stream = () => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      return (data: Data) => void response.write(`data: ${JSON.stringify({ jsonrpc: '2.0', ...data })}\n\n`);
    };
    if (method === undefined) {
      const { result, error } = message;
      const answer = { ...(result === undefined ? {} : { result }), ...(error === undefined ? {} : { error }) };
      response.writeHead(202).end();
      const resolve = waiting.get(id);
      if (resolve === undefined) others.push(answer);
      else resolve(answer);
      return;
    }
    if (method === 'initialize') {
      capabilities.push(params.capabilities as Data); // the handshake has them
      response.setHeader('mcp-session-id', `session-${Math.random()}`);
      reply({ protocolVersion: '2025-11-25', capabilities: { tools: {} }, serverInfo: { name: 'asker', version: '1.0.0' } });
      return;
    }
    if (method === 'notifications/cancelled') cancels.get(params.requestId)?.();
    if (id === undefined) {
      response.writeHead(202).end();
      return;
    }
    if (method === 'tools/list') {
      const send = stream();
      options.beforeList?.(send);
      send({ id, result: { tools } });
      response.end();
      return;
    }
    if (method !== 'tools/call') {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ jsonrpc: '2.0', id, error: { code: -32601, message: 'no such method' } }));
      return;
    }
    calls.push(params);
    const send = stream();
    const work = options.former?.({
      id,
      args: (params.arguments ?? {}) as Data, // the client sends an object
      send,
      ask: (wanted, about) =>
        new Promise((resolve) => {
          const question = `ask-${++asked}`;
          waiting.set(question, resolve);
          send({ id: question, method: wanted, params: about });
        }),
      cancelled: new Promise((resolve) => cancels.set(id, resolve)),
      die: () => server.closeAllConnections(),
    });
    work?.then(
      (text) => {
        send({ id, result: { content: [{ type: 'text', text }] } });
        response.end();
      },
      () => response.destroy(),
    );
  }

  const server = createServer(async (request, response) => {
    request.on('error', () => undefined);
    response.on('error', () => undefined);
    try {
      let body = '';
      for await (const piece of request) body += String(piece);
      if (request.url?.startsWith('/modern')) await serveModern(request, response, body);
      else serveFormer(request, response, body);
    } catch {
      response.destroy();
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo; // it listens on a port
  return {
    ...{ port, calls, capabilities, others },
    url: (revision) => `http://127.0.0.1:${port}/${revision}/mcp`,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** A form with one field of each kind. */
export const tableForm = {
  mode: 'form',
  message: 'Which table?',
  requestedSchema: {
    type: 'object',
    properties: {
      guests: { type: 'integer', title: 'Guests', minimum: 1, maximum: 8 },
      name: { type: 'string', minLength: 2, default: 'Ada' },
      when: { type: 'string', format: 'date' },
      place: { type: 'string', enum: ['in', 'out'], enumNames: ['inside', 'outside'] },
      quiet: { type: 'boolean', default: true },
      extras: {
        type: 'array',
        items: {
          anyOf: [
            { const: 'cake', title: 'A cake' },
            { const: 'candle', title: 'A candle' },
          ],
        },
      },
    },
    required: ['guests', 'when', 'name'],
  },
};
