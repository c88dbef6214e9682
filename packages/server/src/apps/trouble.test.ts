import { afterEach, describe, expect, it } from 'vitest';
import { resolveConfig } from '#apps/config';
import { createKeptLog } from '#apps/testing';
import { systemClock } from '#core';
import { call, makeRequest, startServer } from '#llm/testing';
import { silentLogger } from '#telemetry/testing';
import { setUpModels } from './models.ts';

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const item of open.splice(0).reverse()) await item.close();
});

type Handle = Parameters<typeof startServer>[0];

async function withServer(handle: Handle, own: object = {}, path = '/v1') {
  const server = await startServer(handle);
  open.push(server);
  const compatible = [{ name: 'local', baseUrl: server.url + path, ...own }];
  const models = await setUpModels(resolveConfig({ env: {}, flags: { providers: { compatible } } }), systemClock, silentLogger);
  open.push(models);
  return { url: server.url, server, llm: models.llm, close: () => server.close() };
}

async function refusal(llm: Awaited<ReturnType<typeof withServer>>['llm'], ref = 'default'): Promise<string> {
  return llm.resolve([ref]).then(
    (targets) => `resolved ${targets.map(({ model }) => model).join(', ')}`,
    (error) => `${error.code}: ${error.message}`,
  );
}

describe('a server from which no model is known', () => {
  it('is said not to answer, and where [verifies provider.newcomer]', async () => {
    const { llm, url, close } = await withServer(() => undefined);
    await close();
    expect(await refusal(llm)).toBe(
      `model_not_found: no provider has a model to use by default; local cannot be reached at ${url} (ECONNREFUSED): nothing listens there; check the base URL and the network`,
    );
  });

  it.each<[string, string, Handle, string]>([
    [
      'has another address',
      '',
      (_q, response) => response.writeHead(404).end('404 page not found'),
      'has no list of models at URL/models (status 404); does its base URL lack the version, such as /v1?',
    ],
    ['has no list', '/v1', (_q, response) => response.writeHead(404).end(), 'has no list of models at URL/v1/models (status 404)'],
    [
      'takes no key of ours',
      '/v1',
      (_q, response) => response.writeHead(401).end(),
      'refused the credentials, or there were none (status 401); check the API key and the account, when asked for URL/v1/models',
    ],
    [
      'fails',
      '/v1',
      (_q, response) => response.writeHead(500).end('{"error":"out of memory"}'),
      'failed (status 500): out of memory, when asked for URL/v1/models',
    ],
    [
      'is a page',
      '',
      (_q, response) => response.end('<html>'),
      'answers at URL/models with something that is no list of models; does its base URL lack the version, such as /v1?',
    ],
    [
      'has loaded none',
      '/v1',
      (_q, response) => response.end('{"data":[]}'),
      'lists no models at URL/v1/models: load one there, or name one under `models` beside it',
    ],
  ])('is told what it is: one that %s', async (_what, path, handle, expected) => {
    const { llm, url } = await withServer(handle, {}, path);
    expect(await refusal(llm)).toBe(`model_not_found: no provider has a model to use by default; local ${expected.replace('URL', url)}`);
  });
});

describe('a name that no server has', () => {
  const listing: Handle = (request, response) => {
    if (request.method === 'GET') return void response.end('{"data":[{"id":"llama3.2:3b"},{"id":"qwen3:latest"}]}');
    response.writeHead(404).end('{"error":{"message":"model not found"}}');
  };

  it.each([
    ['local/qwen33:latest', 'local/qwen3:latest'],
    ['local/qwen33', 'local/qwen3'],
    ['lokal/llama3.2:3b', 'local/llama3.2:3b'],
    ['lama3.2:3b', 'llama3.2:3b'],
  ])('is refused with the nearest that is there: %s', async (ref, near) => {
    const { llm } = await withServer(listing);
    await llm.list();
    expect(await refusal(llm, ref)).toContain(
      `no provider serves the model ${ref}; did you mean ${near}?; served here: local/llama3.2:3b, local/qwen3:latest`,
    );
  });

  it('is told with what the server lists when it was configured, and with the version that its address lacks', async () => {
    const named = await withServer(listing, { models: ['qwen33'] });
    await new Promise((resolve) => setTimeout(resolve, 50)); // the list is asked for at the start, and nobody waits for it
    expect((await call(named.llm, makeRequest('x'), { models: ['local/qwen33'] })).last).toMatchObject({
      error: {
        code: 'provider_rejected',
        message: 'local refused the request (status 404): model not found; it lists qwen3, llama3.2:3b',
      },
    });
    const bare = await withServer((_q, response) => response.writeHead(404).end('404 page not found'), { models: ['m'] }, '');
    expect((await call(bare.llm, makeRequest('x'), { models: ['local/m'] })).last).toMatchObject({
      error: { message: 'local refused the request (status 404): 404 page not found; does its base URL lack the version, such as /v1?' },
    });
  });
});

it.each(['OPENAI', 'ANTHROPIC'])('an address of %s without a key is not passed over in silence', async (name) => {
  const { logger, lines } = createKeptLog();
  const env = { [`${name}_BASE_URL`]: 'http://127.0.0.1:9/v1?key=secret-word' };
  open.push(await setUpModels(resolveConfig({ env }), systemClock, logger));
  expect(lines.map(({ level, message }) => [level, message])).toEqual([
    [
      'warn',
      `${name.toLowerCase()} has an address and no key, and is not used: set ${name}_API_KEY, to any word where the server wants none`,
    ],
  ]);
  expect(JSON.stringify(lines)).not.toContain('secret-word');
});

describe('what cannot be sent is refused when it is read', () => {
  it.each([
    '/v1/chat/completions',
    '/v1/chat/completions/',
    '/v1/chat/completions?api-version=1',
    '/v1/models',
    '/v1/messages',
    '/api/chat',
  ])('an address with what is appended: %s', (path) => {
    const compatible = [{ name: 'local', baseUrl: `http://127.0.0.1:9${path}` }];
    expect(() => resolveConfig({ env: {}, flags: { providers: { compatible } } })).toThrow(/expected the address up to the version/);
    expect(() => resolveConfig({ env: { OPENAI_API_KEY: 'k', OPENAI_BASE_URL: `http://127.0.0.1:9${path}` } })).toThrow(
      /up to the version/,
    );
  });

  it.each(['sk-a\nb', 'sk a', '“sk-a”', 'sk-ключ'])('a key of more than one word: %j', (key) => {
    expect(() => resolveConfig({ env: { OPENAI_API_KEY: key } })).toThrow(/expected a key of one word/);
    expect(() => resolveConfig({ env: { ANTHROPIC_API_KEY: key } })).toThrow(/expected a key of one word/);
  });

  it('but blanks around a key are left out', () => {
    expect(resolveConfig({ env: { OPENAI_API_KEY: ' sk-a\r\n' } }).providers.openai?.apiKey).toBe('sk-a');
  });
});
