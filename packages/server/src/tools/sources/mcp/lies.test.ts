import { setTimeout } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { makeToolCall, readCall, said } from '../../testing/index.ts';
import { type Answer, type FakeMcpServer, send, startFakeMcpServer, stream, toolOf } from './mcp-server.testkit.ts';
import { definitionOf, startServers, type TestServers, tenant } from './servers.testkit.ts';

const never = new AbortController().signal;
let server: FakeMcpServer;
let servers: TestServers;

beforeEach(async () => {
  server = await startFakeMcpServer();
  servers = startServers({ connectTimeoutMs: 1_000 });
});

afterEach(async () => {
  await servers.close();
  await server.close();
});

const add = (more = {}) => servers.administration.put(tenant, 'fake', definitionOf(server.url, more), never);
const call = (input: unknown = {}, timeoutMs = 10_000) =>
  readCall(servers.service, makeToolCall({ toolName: 'fake_echo', input, timeoutMs })).then(said);

/** Whatever answers, this process answers others meanwhile. */
async function longestTurn(work: Promise<unknown>): Promise<number> {
  let isDone = false;
  let longest = 0;
  const watched = work.finally(() => {
    isDone = true;
  });
  while (!isDone) {
    const before = performance.now();
    await Promise.race([setTimeout(5), watched]);
    longest = Math.max(longest, performance.now() - before - 5);
  }
  await watched;
  return longest;
}

const on =
  (method: string, answer: (...said: Parameters<Answer>) => unknown): Answer =>
  (message, ...rest) => {
    if (message.method !== method) return undefined;
    answer(message, ...rest);
    return true;
  };

describe('a server that is added [verifies tools.mcp.hostile]', () => {
  it.each<[string, Answer, RegExp]>([
    ['says nothing when it is greeted', () => true, /did not take part|in time/],
    ['says nothing when its tools are asked for', on('tools/list', () => true), /in time|did not/],
    [
      'answers with no JSON',
      on('tools/list', (_message, response) => void response.writeHead(200, { 'content-type': 'application/json' }).end('{{{')),
      /cannot be read|broke off/,
    ],
    [
      'answers with a page',
      on('tools/list', (_message, response) => void response.writeHead(200, { 'content-type': 'text/html' }).end('<html>')),
      /cannot be read|broke off/,
    ],
    ['answers with the id of nobody', on('tools/list', (_message, response) => send(response, 987_654, { tools: [] })), /in time|did not/],
    [
      'lists its tools as something else',
      on('tools/list', ({ id }, response) => send(response, id, { tools: 'all of them' })),
      /no result|cannot be read/,
    ],
    [
      'has pages without end',
      on('tools/list', ({ id }, response) => send(response, id, { tools: [], nextCursor: 'again' })),
      /more than 50 pages/,
    ],
    [
      'has ten thousand tools',
      on('tools/list', ({ id }, response) =>
        send(response, id, {
          tools: Array.from({ length: 10_000 }, (_, index) => ({ name: `t${index}`, inputSchema: { type: 'object' } })),
        }),
      ),
      /more than/,
    ],
    [
      'sends itself elsewhere',
      (_message, response) => Boolean(response.writeHead(307, { location: 'http://127.0.0.1:1/' }).end()),
      /HTTP 307/,
    ],
    [
      'compresses what nobody asked it to',
      on(
        'tools/list',
        (_message, response) => void response.writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'gzip' }).end('x'),
      ),
      /encoding/,
    ],
    ['hangs up', on('tools/list', (_message, _response, request) => void request.socket.destroy()), /broke off/],
  ])('and %s has no tools, and says why', async (_what, answer, fault) => {
    server.answer = answer;
    const added = await add();
    expect(added).toMatchObject({ state: 'unapproved', tools: [] });
    expect(added.fault).toMatch(fault);
  });

  it('and describes tools that cannot be taken has them refused, one by one', async () => {
    const deep = (depth: number): object => (depth === 0 ? { type: 'string' } : { type: 'object', properties: { a: deep(depth - 1) } });
    server.tools = [
      toolOf('echo'),
      toolOf('echo', { description: 'the same name' }),
      toolOf('remote', { inputSchema: { type: 'object', properties: { a: { $ref: 'http://127.0.0.1/schema.json' } } } }),
      toolOf('broken', { inputSchema: { type: 'object', properties: { a: { type: 'nonsense' } } } }),
      toolOf('long', { description: 'x'.repeat(30_000) }),
      toolOf('huge', { inputSchema: { type: 'object', description: 'x'.repeat(150_000) } }),
      toolOf('x'.repeat(300)),
      toolOf('constructor'),
      toolOf('__proto__'),
      toolOf('deep', { inputSchema: deep(60) }),
    ];
    const added = await add();
    const states = added.tools.map(({ tool, state }) => `${tool.slice(0, 20)} ${state}`);
    expect(states).toEqual(
      expect.arrayContaining([
        'echo ready',
        'echo refused',
        'remote refused',
        'broken refused',
        'long refused',
        'huge refused',
        'constructor ready',
      ]),
    );
    expect(await servers.service.list(tenant)).not.toHaveLength(0);
    expect(servers.leftOut).toEqual([]);
    expect(await call()).toBe('called echo {}');
  });
});

describe('a call [verifies tools.mcp.hostile]', () => {
  it.each<[string, (...said: Parameters<Answer>) => unknown, RegExp]>([
    [
      'gets no JSON',
      (_message, response) => void response.writeHead(200, { 'content-type': 'application/json' }).end('{"jsonrpc":'),
      /unknown/,
    ],
    ['gets a result that is none', ({ id }, response) => send(response, id, { content: 'all' }), /no result/],
    [
      'gets nothing but a stream that ends',
      (_message, response) => {
        stream(response);
        response.end();
      },
      /did not finish its answer: .*without a result/,
    ],
    [
      'gets an error',
      ({ id }, response) =>
        void response
          .writeHead(200, { 'content-type': 'application/json' })
          .end(JSON.stringify({ jsonrpc: '2.0', id, error: { code: -1, message: 'no' } })),
      /^tool_failed: the MCP server answered: .*no/,
    ],
    [
      'gets text that nests without end',
      (_message, response) => void response.writeHead(200, { 'content-type': 'application/json' }).end('['.repeat(900_000)),
      /deeper than/,
    ],
    [
      'gets values without end',
      (_message, response) => void response.writeHead(200, { 'content-type': 'application/json' }).end(`[${'1,'.repeat(300_000)}1]`),
      /more than 20000 values/,
    ],
  ])('that %s ends with a word of it', async (_what, answer, message) => {
    await add();
    server.answer = on('tools/call', answer);
    expect(await call()).toMatch(message);
    server.answer = () => undefined;
    expect(await call()).toBe('called echo {}');
  });

  it('that gets two answers takes the first', async () => {
    await add();
    server.answer = on('tools/call', ({ id }, response) => {
      const say = stream(response);
      for (const text of ['first', 'second']) say({ jsonrpc: '2.0', id, result: { content: [{ type: 'text', text }] } });
      response.end();
    });
    expect(await call()).toBe('first');
    expect(await call()).toBe('first');
  });

  it('that gets 50 MB is cut off, and holds nobody up', async () => {
    await add();
    const block = Buffer.alloc(1024 * 1024, 'x');
    let sent = 0;
    server.answer = on('tools/call', ({ id }, response) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.write(`{"jsonrpc":"2.0","id":${String(id)},"result":{"content":[{"type":"text","text":"`);
      const go = () => {
        while (sent < 50 && !response.destroyed) {
          sent += 1;
          if (!response.write(block)) return;
        }
      };
      response.on('drain', go);
      go();
    });
    const end = call();
    expect(await longestTurn(end)).toBeLessThan(250);
    expect(await end).toMatch(/more than 1048576 bytes/);
    expect(sent).toBeLessThan(20);
  });

  it('that is told of progress without end is cut off, and holds nobody up', async () => {
    await add();
    server.answer = on('tools/call', ({ params }, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      const meta = params?._meta as { progressToken: unknown }; // as the client sends it
      const event = `data: ${JSON.stringify({ jsonrpc: '2.0', method: 'notifications/progress', params: { progressToken: meta.progressToken, progress: 1 } })}\n\n`;
      const go = () => {
        while (!response.destroyed && response.write(event.repeat(100)));
      };
      response.on('drain', go);
      go();
    });
    const end = call();
    expect(await longestTurn(end)).toBeLessThan(250);
    expect(await end).toMatch(/did not finish its answer: .*more than/);
  });

  it('that is never answered ends by its own time', async () => {
    await add({ timeoutMs: 300 });
    server.answer = on('tools/call', () => true);
    await servers.service.list(tenant);
    expect(await call({}, 300)).toMatch(/^tool_outcome_unknown: .*300 ms/);
  });

  it('is not answered for what the server asks of us', async () => {
    await add();
    server.answer = on('tools/call', ({ id }, response) => {
      const say = stream(response);
      say({ jsonrpc: '2.0', id: 'ask-1', method: 'sampling/createMessage', params: { messages: [], maxTokens: 10 } });
      say({
        jsonrpc: '2.0',
        id: 'ask-2',
        method: 'elicitation/create',
        params: { message: 'your password?', requestedSchema: { type: 'object', properties: {} } },
      });
      say({ jsonrpc: '2.0', id, result: { content: [{ type: 'text', text: 'done' }] } });
      response.end();
    });
    expect(await call()).toBe('done');
  });
});
