import { describe, expect, it } from 'vitest';
import { createSchemaValidator, createSecretValues, NexusError, systemClock, systemTimers } from '#core';
import { createHttpApis } from '../index.ts';
import { importOpenApi, type OpenApiImport, type OpenApiImportOptions } from './import-openapi.ts';

const document = (paths: object, more: object = {}) =>
  JSON.stringify({
    openapi: '3.0.3',
    info: { title: 'Pets', version: '1' },
    servers: [{ url: 'https://pets.example/v1' }],
    paths,
    ...more,
  });

async function load(paths: object, more: object = {}, options: Partial<OpenApiImportOptions> = {}): Promise<OpenApiImport> {
  const made = await importOpenApi(document(paths, more), { name: 'pets', ...options });
  // Whatever comes of it can be put.
  const http = createHttpApis({
    ...{ clock: systemClock, timers: systemTimers, known: createSecretValues() },
    secrets: { find: () => 'x' },
  });
  expect(await http.check('acme', made.source)).toEqual([]);
  return made;
}

async function refused(text: string, options: Partial<OpenApiImportOptions> = {}): Promise<string> {
  try {
    await importOpenApi(text, { name: 'pets', ...options });
  } catch (error) {
    if (error instanceof NexusError) return `${error.code}: ${error.message}`;
    throw error;
  }
  return 'taken';
}

const text = { type: 'string' };

it('makes a tool of an operation, with typed arguments [verifies tools.openapi.import]', async () => {
  const { source } = await load(
    {
      '/pets/{petId}/photos': {
        parameters: [{ name: 'petId', in: 'path', required: true, schema: { type: 'integer' } }],
        post: {
          operationId: 'addPhoto',
          summary: 'Adds a photo.',
          parameters: [
            { name: 'size', in: 'query', description: 'in pixels', schema: { type: 'integer', minimum: 0, exclusiveMinimum: true } },
            { name: 'tags', in: 'query', explode: false, schema: { type: 'array', items: text } },
            { name: 'X-Trace', in: 'header', schema: text },
          ],
          requestBody: { required: true, content: { 'application/json': { schema: { $ref: '#/components/schemas/Photo' } } } },
        },
      },
    },
    {
      components: {
        schemas: {
          Photo: {
            type: 'object',
            required: ['url', 'id'],
            properties: { id: { type: 'string', readOnly: true }, url: text, note: { type: 'string', nullable: true } },
          },
        },
      },
    },
  );
  expect(source.baseUrl).toBe('https://pets.example/v1');
  expect(source.tools).toMatchObject([
    {
      name: 'pets_addPhoto',
      description: 'Adds a photo.',
      method: 'POST',
      path: '/pets/{petId}/photos',
      query: { size: '{size}', tags: { value: '{tags}', list: 'comma' } },
      headers: { 'X-Trace': '{X-Trace}' },
      body: { type: 'json', fields: { url: 'url', note: 'note' } },
      inputSchema: {
        properties: {
          petId: { type: 'integer' },
          size: { type: 'integer', exclusiveMinimum: 0, description: 'in pixels' },
          tags: { type: 'array', items: text },
          url: text,
          note: { type: ['string', 'null'] },
        },
        required: ['petId', 'url'],
        additionalProperties: false,
      },
    },
  ]);
});

it('keeps arguments of one name apart [verifies tools.openapi.import]', async () => {
  const { source } = await load({
    '/a/{id}': {
      put: {
        parameters: ['path', 'query', 'header'].map((place) => ({ name: 'id', in: place, required: place === 'path', schema: text })),
        requestBody: {
          content: { 'application/json': { schema: { type: 'object', properties: { id: text, 'odd name!': text, odd_name_: text } } } },
        },
      },
    },
  });
  expect(source.tools).toMatchObject([
    {
      name: 'pets_put_a_id',
      path: '/a/{id}',
      query: { id: '{id_query}' },
      headers: { id: '{id_header}' },
      body: { fields: { id: 'id_body', 'odd name!': 'odd_name_', odd_name_: 'odd_name__body' } },
    },
  ]);
});

it('takes bodies that are no plain object as one argument, forms and texts', async () => {
  const body = (content: object) => ({ requestBody: { required: true, content } });
  const { source } = await load({
    '/list': { post: body({ 'application/json': { schema: { type: 'array', items: text } } }) },
    '/open': { post: body({ 'application/json': { schema: { type: 'object', additionalProperties: text } } }) },
    '/form': { post: body({ 'application/x-www-form-urlencoded': { schema: { type: 'object', properties: { a: text } } } }) },
    '/text': { post: body({ 'text/plain': {} }) },
    '/all': {
      post: body({
        'application/json': {
          schema: { allOf: [{ type: 'object', properties: { a: text }, required: ['a'] }, { properties: { b: text } }] },
        },
      }),
    },
  });
  expect(source.tools.map((tool) => tool.body)).toMatchObject([
    { type: 'json', argument: 'body' },
    { type: 'json', argument: 'body' },
    { type: 'form', fields: { a: 'a' } },
    { type: 'text', argument: 'body' },
    { type: 'json', fields: { a: 'a', b: 'b' } },
  ]);
  expect(source.tools[4]?.inputSchema).toMatchObject({ required: ['a'] });
});

describe('a schema', () => {
  const posting = (schema: object, schemas: object) =>
    load({ '/a': { post: { requestBody: { content: { 'application/json': { schema } } } } } }, { components: { schemas } });

  it('that holds itself is taken, and checks what it says [verifies tools.openapi.bounded]', async () => {
    const { source } = await posting(
      { type: 'object', properties: { tree: { $ref: '#/components/schemas/Node' } } },
      {
        Node: {
          type: 'object',
          required: ['name'],
          properties: {
            name: text,
            children: { type: 'array', items: { $ref: '#/components/schemas/Node' } },
            owner: { $ref: '#/components/schemas/Person' },
          },
        },
        Person: { type: 'object', properties: { boss: { $ref: '#/components/schemas/Person' } } },
      },
    );
    const schema = source.tools[0]?.inputSchema ?? {};
    expect(Object.keys(schema.$defs ?? {}).sort()).toEqual(['Node', 'Person']);
    const schemas = createSchemaValidator();
    expect(schemas.check(schema, { tree: { name: 'a', children: [{ name: 'b', children: [{ name: 'c' }] }] } })).toEqual([]);
    expect(schemas.check(schema, { tree: { name: 'a', children: [{ name: 'b', children: [{}] }] } })).not.toEqual([]);
  });

  it.each([
    ['refers to itself', { A: { $ref: '#/components/schemas/A' } }],
    ['refers in a circle', { A: { $ref: '#/components/schemas/B' }, B: { $ref: '#/components/schemas/A' } }],
    ['is nowhere', {}],
    ['is elsewhere', { A: { $ref: 'https://evil.example/schema.json' } }],
    ['is a file', { A: { $ref: '../../etc/passwd' } }],
    ['is a name of Object.prototype', { A: { $ref: '#/constructor' } }],
  ])('that %s is left open, and nothing is fetched [verifies tools.openapi.bounded]', async (_what, schemas) => {
    const { source } = await posting({ type: 'object', properties: { a: { $ref: '#/components/schemas/A' } } }, schemas);
    expect(source.tools[0]?.inputSchema?.properties).toEqual({ a: {} });
  });

  it('that doubles at each step is cut [verifies tools.openapi.bounded]', async () => {
    const schemas = Object.fromEntries(
      Array.from({ length: 60 }, (_, index) => [
        `S${index}`,
        {
          type: 'object',
          properties: Object.fromEntries(['a', 'b', 'c'].map((name) => [name, { $ref: `#/components/schemas/S${index + 1}` }])),
        },
      ]),
    );
    const { source } = await posting({ $ref: '#/components/schemas/S0' }, schemas);
    expect(JSON.stringify(source).length).toBeLessThan(100_000);
  });

  it('with a pattern of another language goes without it', async () => {
    const { source } = await posting({ type: 'object', properties: { a: { type: 'string', pattern: '(?<=x)\\p{IsGreek}(?i)[' } } }, {});
    expect(source.tools[0]?.inputSchema?.properties).toEqual({ a: text });
  });
});

describe('who the caller is', () => {
  const schemes = {
    bearer: { type: 'http', scheme: 'bearer' },
    basic: { type: 'http', scheme: 'Basic' },
    key: { type: 'apiKey', in: 'header', name: 'X-Key' },
    query: { type: 'apiKey', in: 'query', name: 'key' },
    cookie: { type: 'apiKey', in: 'cookie', name: 'c' },
    oauth: { type: 'oauth2', flows: {} },
  };
  const more = { components: { securitySchemes: schemes } };

  it.each([
    ['bearer', { type: 'bearer', token: 'secret:PETS_TOKEN' }],
    ['basic', { type: 'basic', username: 'secret:PETS_USERNAME', password: 'secret:PETS_PASSWORD' }],
    ['key', { type: 'header', name: 'X-Key', value: 'secret:PETS_API_KEY' }],
    ['query', { type: 'query', name: 'key', value: 'secret:PETS_API_KEY' }],
    ['oauth', { type: 'bearer', token: 'secret:PETS_TOKEN' }],
  ])('by %s becomes a secret to fill in [verifies tools.openapi.import]', async (scheme, auth) => {
    const { source, secrets } = await load(
      { '/a': { get: {} }, '/b': { get: { security: [] } } },
      { ...more, security: [{ [scheme]: [] }] },
    );
    expect(source).toMatchObject({ auth, tools: [{}, { auth: { type: 'none' } }] });
    expect(source.tools[0]?.auth).toBeUndefined();
    expect(secrets.length).toBe(scheme === 'basic' ? 2 : 1);
  });

  it('that cannot be shown is noted', async () => {
    const { notes, source } = await load({ '/a': { get: { security: [{ cookie: [] }] } } }, { ...more, security: [{ bearer: [] }] });
    expect(notes).toEqual([expect.stringMatching(/^GET \/a: it wants cookie, which tools cannot show/)]);
    expect(source.tools[0]?.auth).toEqual({ type: 'none' });
  });
});

describe('what is chosen', () => {
  const paths = {
    '/pets': { get: { operationId: 'listPets' }, post: { operationId: 'createPet' } },
    '/pets/{id}': { get: { operationId: 'getPet' }, delete: {} },
    '/shops': { get: {} },
  };
  it.each([
    [{ include: ['GET /pets*'] }, ['pets_listPets', 'pets_getPet']],
    [{ exclude: ['/pets*'] }, ['pets_get_shops']],
    [{ include: ['*Pet*'], exclude: ['POST *'] }, ['pets_listPets', 'pets_getPet']],
  ])('by %j [verifies tools.openapi.import]', async (options, names) => {
    expect((await load(paths, {}, options)).source.tools.map(({ name }) => name)).toEqual(names);
  });

  it('names what was not found, with the nearest [verifies tools.openapi.import]', async () => {
    expect(await refused(document(paths), { include: ['listPtes'] })).toBe(
      'invalid_request: no operation is chosen: the document has no operation "listPtes"; did you mean "listPets"?',
    );
    expect((await load(paths, {}, { include: ['listPets', 'zzz*'] })).notes).toEqual(['the document has no operation "zzz*"']);
  });

  it('has the effects that are given', async () => {
    const effects = new Map([
      ['createPet', 'idempotent'],
      ['pets_listPets', 'once'],
    ] as const);
    expect((await load(paths, {}, { effects })).source.tools.slice(0, 2)).toMatchObject([{ effects: 'once' }, { effects: 'idempotent' }]);
    expect(await refused(document(paths), { effects: new Map([['nobody', 'once']]) })).toMatch(/effects are given for nobody/);
  });
});

it('says what is left out, and why [verifies tools.openapi.import]', async () => {
  const query = (more: object) => ({ get: { parameters: [{ name: 'q', in: 'query', schema: text, ...more }] } });
  const { source, leftOut, notes } = await load({
    '/file': { post: { requestBody: { required: true, content: { 'multipart/form-data': {} } } } },
    '/deep': query({ required: true, style: 'deepObject' }),
    '/cookie': { get: { parameters: [{ name: 'c', in: 'cookie', required: true }] } },
    '/options': { options: {} },
    '/other': { get: { servers: [{ url: 'https://other.example' }] } },
    '/ref': { get: { parameters: [{ $ref: 'https://evil.example/p.json' }] } },
    '/soft': query({ style: 'deepObject' }),
  });
  expect(source.tools.map(({ name }) => name)).toEqual(['pets_get_soft']);
  expect(Object.fromEntries(leftOut.map(({ operation, why }) => [operation, why]))).toMatchObject({
    'POST /file': expect.stringContaining('multipart/form-data'),
    'GET /deep': 'its parameter q is an object whose members are not all known, or no plain values',
    'GET /cookie': 'its parameter c is a cookie',
    'OPTIONS /options': 'tools send no OPTIONS',
    'GET /other': expect.stringContaining('a server of its own'),
    'GET /ref': 'one of its parameters is elsewhere, or none',
  });
  expect(notes).toEqual(['GET /soft: q is left out: it is an object whose members are not all known, or no plain values']);
});

it('imports what takes a file beside something else without the file, and says so [verifies tools.openapi.import]', async () => {
  const file = { type: 'string', format: 'binary' };
  const upload = { 'multipart/form-data': { schema: { type: 'object', properties: { file } } } };
  const form = (properties: object, required: string[] = []) => ({
    'application/x-www-form-urlencoded': { schema: { type: 'object', properties, required } },
  });
  const post = (content: object, required = true) => ({ post: { requestBody: { required, content } } });
  const { source, leftOut, notes } = await load({
    '/optional': post(upload, false),
    '/either': post({ ...upload, 'application/json': { schema: { type: 'object', properties: { title: text } } } }),
    '/parts': post(form({ title: text, pages: { type: 'array', items: file } }, ['title'])),
    '/needed': post(form({ scan: file }, ['scan'])),
    '/upload': post(upload),
  });
  expect(source.tools.map(({ name, body, inputSchema }) => [name, body?.type, Object.keys(inputSchema?.properties ?? {})])).toEqual([
    ['pets_post_optional', undefined, []],
    ['pets_post_either', 'json', ['title']],
    ['pets_post_parts', 'form', ['title']],
  ]);
  expect(notes).toEqual([
    'POST /optional: its body (multipart/form-data) is left out',
    'POST /either: it is called with application/json: what it takes as multipart/form-data, such as files, is left out',
    'POST /parts: pages is left out: it is a file',
  ]);
  expect(leftOut.map(({ operation }) => operation)).toEqual(['POST /needed', 'POST /upload']);
});

it('gives every tool a name that models take, once [verifies tools.openapi.import]', async () => {
  const { source } = await load({
    '/a': { get: { operationId: '查询天气' }, post: { operationId: 'a.b/c d' } },
    '/b': { get: { operationId: 'x'.repeat(200) }, post: { operationId: 'x'.repeat(300) } },
    '/c': { get: { operationId: 'pets_c' }, put: { operationId: 'pets_c' } },
    '/天气/{城市}': { get: {} },
  });
  expect(source.tools.map(({ name }) => name)).toEqual([
    'pets_get_a',
    'pets_a_b_c_d',
    `pets_${'x'.repeat(59)}`,
    `pets_${'x'.repeat(53)}_2`,
    'pets_c',
    'pets_c_2',
    'pets_get',
  ]);
  expect(source.tools.at(-1)).toMatchObject({ path: '/天气/{__}', inputSchema: { required: ['__'] } });
});

describe('a document is refused that', () => {
  it.each([
    ['is Swagger 2.0', '{"swagger":"2.0","paths":{}}', /^invalid_request: the document is Swagger 2\.0, which is not read; convert it/],
    ['is of another version', '{"openapi":"4.0.0"}', /no OpenAPI 3\.0 or 3\.1: openapi is "4\.0\.0"/],
    ['is no document', '[1]', /holds no object/],
    ['is broken', '{"openapi":', /neither JSON nor YAML/],
    ['holds itself by an alias', 'openapi: 3.0.0\npaths: &a { /a: { get: { parameters: [*a] } } }\n', /neither JSON nor YAML/],
    ['has no operations', document({}), /no operations/],
    [
      'has too many',
      document(Object.fromEntries(Array.from({ length: 2_001 }, (_, index) => [`/${index}`, { get: {} }]))),
      /2001 operations are chosen.*--include/,
    ],
    [
      'multiplies by aliases',
      `openapi: 3.0.0\na: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n`,
      /neither JSON nor YAML/,
    ],
  ])('%s [verifies tools.openapi.bounded]', async (_what, given, message) => {
    expect(await refused(given)).toMatch(message);
  });

  it('names no server, unless its origin or the caller does', async () => {
    const relative = document({ '/a': { get: {} } }, { servers: [{ url: '/v2' }] });
    expect(await refused(relative)).toMatch(/names no address of its server.*--base-url/);
    expect((await importOpenApi(relative, { name: 'pets', origin: 'https://a.example/docs/openapi.json' })).source.baseUrl).toBe(
      'https://a.example/v2',
    );
    expect((await importOpenApi(relative, { name: 'pets', baseUrl: 'https://b.example' })).source.baseUrl).toBe('https://b.example');
    const variables = document(
      { '/a': { get: {} } },
      { servers: [{ url: 'https://{region}.example', variables: { region: { default: 'eu' } } }] },
    );
    expect((await importOpenApi(variables, { name: 'pets' })).source.baseUrl).toBe('https://eu.example/');
  });
});

it('reads YAML', async () => {
  const yaml =
    'openapi: 3.1.0\ninfo: { title: Pets, version: "1" }\nservers: [{ url: https://pets.example }]\npaths:\n  /pets:\n    get: { operationId: listPets }\n';
  expect((await importOpenApi(yaml, { name: 'pets' })).source.tools.map(({ name }) => name)).toEqual(['pets_listPets']);
});

it('takes 2,000 operations with schemas that are much, and makes a source that can be put [verifies tools.openapi.bounded]', async () => {
  const wide = {
    type: 'object',
    properties: Object.fromEntries(
      Array.from({ length: 12 }, (_, index) => [`field${index}`, { type: 'object', properties: { a: text, b: text } }]),
    ),
  };
  const paths = Object.fromEntries(
    Array.from({ length: 2_000 }, (_, index) => [
      `/r${index}/{id}`,
      {
        post: {
          description: 'x'.repeat(100),
          requestBody: { content: { 'application/json': { schema: { $ref: '#/components/schemas/Wide' } } } },
        },
      },
    ]),
  );
  const { source, notes } = await importOpenApi(
    document(paths, {
      components: { schemas: { Wide: { type: 'object', additionalProperties: true, properties: { wide } } } },
    }),
    { name: 'pets' },
  );
  expect(source.tools.length).toBe(2_000);
  expect(notes[0]).toMatch(/left open in part/);
  expect(JSON.stringify(source).length).toBeLessThan(4_000_000);
}, 60_000);
