import { createServer, type IncomingMessage, type RequestListener } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createSecretValues, NexusError, systemClock, systemTimers } from '#core';
import { createTestToolService, makeToolCall, readCall, said } from '#tools/testing';
import { createHttpApis } from '../index.ts';
import { importOpenApi } from './import-openapi.ts';

interface Seen {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

let seen: Seen[] = [];
let answer: RequestListener = (_request, response) => void response.end();
let address = '';
let stop: () => Promise<unknown> = async () => undefined;

beforeEach(async () => {
  seen = [];
  answer = (_request, response) => response.writeHead(200, { 'content-type': 'application/json' }).end('{"ok":true}');
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const piece of request) body += piece;
    seen.push({ method: request.method ?? '', url: request.url ?? '', headers: request.headers, body });
    answer(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const bound = server.address();
  address = `http://127.0.0.1:${typeof bound === 'object' && bound !== null ? bound.port : 0}/api`;
  stop = () => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  };
});
afterEach(() => stop());

const text = { type: 'string' };
const post = (schema: object, type = 'application/json', required = true) => ({
  post: { operationId: 'send', requestBody: { required, content: { [type]: { schema } } } },
});
const query = (parameter: object) => ({ get: { operationId: 'send', parameters: [{ name: 'q', in: 'query', ...parameter }] } });

/** A document, a call of its operation `send`, and what reached a real server of it. */
async function sends(paths: object | string, input: Record<string, unknown>, schemas: object = {}) {
  const document =
    typeof paths === 'string'
      ? paths
      : JSON.stringify({ openapi: '3.0.3', info: { title: 'x', version: '1' }, paths, components: { schemas } });
  const { source } = await importOpenApi(document, { name: 'api', baseUrl: address });
  const http = createHttpApis({
    ...{ clock: systemClock, timers: systemTimers, known: createSecretValues(), idleTimeoutMs: 5_000 },
    ...{ allowPrivate: () => true, secrets: { find: () => null } },
  });
  expect(await http.check('ten_1', source)).toEqual([]);
  const row = { kind: 'http', name: 'api', version: '1', content: source, createdAt: 0 } as const;
  const service = createTestToolService(await http.build({ ...row, tenantId: 'ten_1' as never })); // a literal
  const end = await readCall(service, makeToolCall({ toolName: 'api_send', input }));
  await service.close();
  return { end: said(end), request: seen.at(-1), tool: source.tools.find(({ name }) => name === 'api_send') };
}

const bodyOf = ({ end, request }: Awaited<ReturnType<typeof sends>>) => (request === undefined ? end : request.body);

describe('what went wrong elsewhere', () => {
  describe('a null that the API takes', () => {
    it.each([
      ['a reference', { allOf: [{ $ref: '#/components/schemas/Owner' }], nullable: true }],
      ['a reference with a mark beside it', { $ref: '#/components/schemas/Owner', nullable: true }],
      ['one of several', { oneOf: [text, { type: 'integer' }], nullable: true }],
      ['one of a list of values', { enum: ['a', 'b'], nullable: true, type: 'string' }],
      ['no type at all', { nullable: true, properties: { a: text } }],
      ['any of several, as 3.1 writes it', { anyOf: [text, { type: 'null' }] }],
      ['several types, as 3.1 writes it', { type: ['string', 'null'] }],
    ])('is sent for %s [verifies tools.openapi.elsewhere]', async (_what, value) => {
      const owner = { type: 'object', properties: { name: text } };
      const made = await sends({ '/a': post({ type: 'object', properties: { value } }) }, { value: null }, { Owner: owner });
      expect(bodyOf(made)).toBe('{"value":null}');
    });
  });

  describe('a value that fits the API and not the letter of its schema', () => {
    it.each([
      [
        'two of its oneOf',
        {
          oneOf: [
            { type: 'object', properties: { name: text } },
            { type: 'object', properties: { age: { type: 'integer' } } },
          ],
        },
        { name: 'Ada' },
      ],
      ['a oneOf of numbers', { oneOf: [{ type: 'integer' }, { type: 'number' }] }, 3],
      [
        'an allOf of closed parts',
        {
          allOf: [
            { type: 'object', properties: { a: text }, additionalProperties: false },
            { type: 'object', properties: { b: text }, additionalProperties: false },
          ],
        },
        { a: 'x', b: 'y' },
      ],
      ['texts whose values are numbers', { type: 'string', enum: [1, 2.5, true] }, '2.5'],
      ['integers whose values are texts', { type: 'integer', enum: ['1', '2'] }, 2],
    ])('is sent: %s [verifies tools.openapi.elsewhere]', async (_what, value, given) => {
      const made = await sends({ '/a': post({ type: 'object', properties: { value } }) }, { value: given });
      expect(bodyOf(made)).toBe(JSON.stringify({ value: given }));
    });
  });

  describe('a body', () => {
    it.each(['application/vnd.api+json', 'application/merge-patch+json', 'application/json-patch+json'])(
      'of the type %s is sent as that [verifies tools.openapi.elsewhere]',
      async (type) => {
        const { request } = await sends({ '/a': post({ type: 'object', properties: { a: text } }, type) }, { a: 'x' });
        expect(request).toMatchObject({ headers: { 'content-type': type }, body: '{"a":"x"}' });
      },
    );

    it('that is required is sent where nothing in it is [verifies tools.openapi.elsewhere]', async () => {
      const schema = { type: 'object', properties: { a: text } };
      expect((await sends({ '/a': post(schema) }, {})).request).toMatchObject({
        headers: { 'content-type': 'application/json' },
        body: '{}',
      });
      expect((await sends({ '/a': post(schema, 'application/json', false) }, {})).request).toMatchObject({ body: '' });
    });

    it('of letters of any kind has its length in bytes', async () => {
      const { request } = await sends({ '/a': post({ type: 'object', properties: { a: text } }) }, { a: '😀 ñ \r\n' });
      expect(JSON.parse(request?.body ?? '')).toEqual({ a: '😀 ñ \r\n' });
    });
  });

  describe('an object in the query', () => {
    const range = { type: 'object', required: ['from'], properties: { from: { type: 'integer' }, tags: { type: 'array', items: text } } };

    it('is sent member by member, in brackets or not, as its style says [verifies tools.openapi.elsewhere]', async () => {
      const deep = await sends(
        { '/a': query({ style: 'deepObject', explode: true, required: true, schema: range }) },
        { q_from: 1, q_tags: ['x', 'y z'] },
      );
      expect(deep.request?.url).toBe('/api/a?q%5Bfrom%5D=1&q%5Btags%5D=x&q%5Btags%5D=y%20z');
      expect(deep.tool?.inputSchema).toMatchObject({ required: ['q_from'], properties: { q_from: { type: 'integer' } } });
      const form = await sends({ '/a': query({ schema: { $ref: '#/components/schemas/Range' } }) }, { q_from: 1 }, { Range: range });
      expect(form.request?.url).toBe('/api/a?from=1');
      expect(form.tool?.inputSchema?.required).toBeUndefined(); // it may be left out as a whole
      const merged = await sends(
        { '/a': query({ style: 'deepObject', schema: { allOf: [range, { properties: { to: text } }] } }) },
        { q_to: 'z' },
      );
      expect(merged.request?.url).toBe('/api/a?q%5Bto%5D=z');
    });

    it.each([
      ['holds objects', { type: 'object', properties: { a: { type: 'object', properties: { b: text } } } }],
      ['has any members', { type: 'object', additionalProperties: text }],
    ])('that %s is left out, and said [verifies tools.openapi.elsewhere]', async (_what, schema) => {
      const document = { openapi: '3.0.3', info: { title: 'x', version: '1' }, paths: { '/a': query({ style: 'deepObject', schema }) } };
      const { notes, source } = await importOpenApi(JSON.stringify(document), { name: 'api', baseUrl: address });
      expect(notes).toEqual([expect.stringMatching(/^GET \/a: q is left out: /)]);
      expect(source.tools[0]?.query).toEqual({});
    });
  });

  it.each([
    ['repeated', {}, '/api/a?q=a%2Cb&q=c'],
    ['with commas', { explode: false }, '/api/a?q=a%2Cb%2Cc'],
  ])('a list in the query is sent %s', async (_what, more, url) => {
    expect((await sends({ '/a': query({ ...more, schema: { type: 'array', items: text } }) }, { q: ['a,b', 'c'] })).request?.url).toBe(url);
  });

  it('a list in a header is one line of values [verifies tools.openapi.elsewhere]', async () => {
    const parameters = [{ name: 'X-Ids', in: 'header', schema: { type: 'array', items: { type: 'integer' } } }];
    const made = await sends({ '/a': { get: { operationId: 'send', parameters } } }, { 'X-Ids': '1,2' });
    expect(made.request?.headers['x-ids']).toBe('1,2');
  });

  it('an API of several forms is asked for the one that can be read [verifies tools.openapi.elsewhere]', async () => {
    const responses = { 200: { content: { 'application/xml': {}, 'application/json': {} } } };
    answer = ({ headers }, response) => {
      const isJson = String(headers.accept).startsWith('application/json');
      response.writeHead(200, { 'content-type': isJson ? 'application/json' : 'application/xml' }).end(isJson ? '{"a":1}' : '<a>1</a>');
    };
    expect((await sends({ '/a': { get: { operationId: 'send', responses } } }, {})).end).toContain('{"a":1}');
  });

  it('numbers of more digits than a double holds come as they were [verifies tools.openapi.elsewhere]', async () => {
    answer = (_request, response) =>
      response
        .writeHead(200, { 'content-type': 'application/json' })
        .end(
          '{"id":9007199254740993,"list":[12345678901234567890,-9223372036854775808],"pi":3.14159,"big":1e400,"text":"9007199254740993"}',
        );
    const { end } = await sends({ '/a': { get: { operationId: 'send' } } }, {});
    for (const digits of ['9007199254740993', '12345678901234567890', '-9223372036854775808', '3.14159']) expect(end).toContain(digits);
  });

  it.each([
    ['gzip although nobody asked for it', 'gzip'],
    ['an encoding that nobody has', 'zstd-9'],
  ])('an answer in %s is read, or said to be unreadable', async (_what, encoding) => {
    const { gzipSync } = await import('node:zlib');
    answer = (_request, response) =>
      response.writeHead(200, { 'content-type': 'application/json', 'content-encoding': encoding }).end(gzipSync('{"packed":1}'));
    const { end } = await sends({ '/a': { get: { operationId: 'send' } } }, {});
    expect(end).toMatch(encoding === 'gzip' ? /"packed":1/ : /encoding zstd-9, which is not supported/);
  });

  it.each([204, 205, 200])('an answer %d without a body, of an operation that promises one, is no failure', async (status) => {
    answer = (_request, response) => response.writeHead(status).end();
    const responses = { [status]: { content: { 'application/json': { schema: { type: 'object', required: ['a'] } } } } };
    expect((await sends({ '/a': { delete: { operationId: 'send', responses } } }, {})).end).toMatch(/done|null/);
  });

  describe('a document', () => {
    const yaml = (head: string) => `${head}
info: { title: x, version: '1' }
paths:
  /a: { get: { operationId: send } }
`;
    it.each([
      [
        'begins with a byte order mark, as JSON',
        `\uFEFF${JSON.stringify({ openapi: '3.0.3', info: {}, paths: { '/a': { get: { operationId: 'send' } } } })}`,
      ],
      ['begins with a byte order mark, as YAML', `\uFEFF${yaml("openapi: '3.0.3'")}`],
      ['has a version that YAML reads as a number', yaml('openapi: 3.1')],
      ['has a version of two parts', yaml("openapi: '3.0'")],
      ['is YAML that begins with a brace', "{ openapi: '3.0.3', info: { title: x }, paths: { /a: { get: { operationId: send } } } }"],
      ['has lines of Windows', yaml("openapi: '3.0.3'").replaceAll('\n', '\r\n')],
    ])('that %s is read [verifies tools.openapi.elsewhere]', async (_what, document) => {
      expect((await sends(document, {})).request?.url).toBe('/api/a');
    });

    it('that merges what it names with << is read as its author sees it [verifies tools.openapi.elsewhere]', async () => {
      const document = `openapi: 3.0.3
info: { title: x, version: '1' }
x-common: &common
  parameters: [{ name: page, in: query, schema: { type: integer } }]
paths:
  /a: { get: { operationId: send, <<: *common } }
`;
      expect((await sends(document, { page: 2 })).request?.url).toBe('/api/a?page=2');
    });

    it('whose references have words of their own keeps them [verifies tools.openapi.elsewhere]', async () => {
      const schema = { type: 'object', properties: { to: { $ref: '#/components/schemas/Address', description: 'where it is sent' } } };
      const { tool } = await sends({ '/a': post(schema) }, {}, { Address: { type: 'string', description: 'any address' } });
      expect(tool?.inputSchema?.properties).toMatchObject({ to: { description: 'where it is sent' } });
    });

    it('of a server with a path of its own keeps that path before each other', async () => {
      const { request } = await sends(
        { '/a/{id}': { parameters: [{ name: 'id', in: 'path', required: true, schema: text }], get: { operationId: 'send' } } },
        { id: 'x/y' },
      );
      expect(request?.url).toBe('/api/a/x%2Fy');
    });

    it('that names one operation twice has both, each by a name of its own', async () => {
      const { request } = await sends({ '/first': { get: { operationId: 'send' } }, '/second': { get: { operationId: 'send' } } }, {});
      expect(request?.url).toBe('/api/first');
    });

    it('that is no API is refused as one', async () => {
      await expect(importOpenApi('<!doctype html><title>Sign in</title>', { name: 'api' })).rejects.toBeInstanceOf(NexusError);
    });
  });
});
