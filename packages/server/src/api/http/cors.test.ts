import { type IncomingMessage, request } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { resolveConfig } from '#apps/config';
import { startTestPlatform, type TestPlatform } from '#apps/testing';

const app = 'https://app.example.com';
const dev = 'http://localhost:5173';
let platform: TestPlatform;
let key: string;
beforeAll(async () => {
  platform = await startTestPlatform({ config: { cors: { origins: [app, dev] }, auth: { allowedOrigins: ['https://console.test'] } } });
  key = await platform.key(['runs', 'admin']);
});
afterAll(() => platform.close());

interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

/** As a browser does, which `fetch` of Node does not let one play. */
function send(method: string, path: string, headers: Record<string, string> = {}, on = platform): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ host: '127.0.0.1', port: on.port, method, path, headers, agent: false }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (chunk: string) => {
        body += chunk;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }));
    });
    outgoing.on('error', reject);
    outgoing.end();
  });
}

const asks = { 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization,content-type' };
const corsHeadersOf = ({ headers }: Answer) => Object.keys(headers).filter((name) => name.startsWith('access-control-'));

describe('a page of a configured origin', () => {
  it('is told that it may send requests with a key, and may read the answers [verifies api.cors]', async () => {
    for (const origin of [app, dev]) {
      const preflight = await send('OPTIONS', '/v1/sessions', { origin, ...asks });
      expect(preflight.status).toBe(204);
      expect(preflight.headers).toMatchObject({
        'access-control-allow-origin': origin,
        'access-control-allow-methods': expect.stringContaining('DELETE'),
        'access-control-allow-headers': expect.stringMatching(/authorization.*idempotency-key.*last-event-id/),
        vary: expect.stringContaining('Origin'),
      });
      const answer = await send('GET', '/v1/sessions', { origin, authorization: `Bearer ${key}`, 'sec-fetch-site': 'cross-site' });
      expect(answer.status).toBe(200);
      expect(answer.headers).toMatchObject({ 'access-control-allow-origin': origin, vary: 'Origin' });
      expect(answer.headers['access-control-expose-headers']).toContain('x-request-id');
    }
  });

  it('may read every header that an answer means something by: the run of a stream, the name and hash of a file', async () => {
    await platform.agent('writer');
    const input = '[[sim tools=fs_write(path="a.txt",content="x")]] [[sim say="done"]]';
    const runId = await platform.complete({ agent: 'writer', input });
    const { sessionId } = await platform.ask<{ sessionId: string }>('GET', `/v1/runs/${runId}`);
    const headers = { origin: app, authorization: `Bearer ${key}` };
    // What the standard lets a page read, what it is not for, and what belongs to the connection.
    const besides =
      /^(cache-control|content-(type|length|security-policy)|vary|access-control-.*|x-content-type-options|referrer-policy|date|connection|keep-alive|transfer-encoding|x-accel-buffering|cross-origin-.*|x-frame-options)$/;
    for (const path of [`/v1/runs/${runId}/events`, `/v1/sessions/${sessionId}/files/content?path=a.txt`, '/v1/sessions']) {
      const answer = await send('GET', path, { ...headers, accept: path.endsWith('events') ? 'text/event-stream' : '*/*' });
      expect(answer.status).toBe(200);
      const exposed = String(answer.headers['access-control-expose-headers']).split(', ');
      for (const name of Object.keys(answer.headers)) if (!besides.test(name)) expect(exposed, path).toContain(name);
    }
    const again = { ...asks, 'access-control-request-headers': 'if-none-match' };
    expect((await send('OPTIONS', '/v1/sessions', { origin: app, ...again })).headers['access-control-allow-headers']).toContain(
      'if-none-match',
    );
  });

  it('reads streams and errors too', async () => {
    const headers = { origin: app, authorization: `Bearer ${key}` };
    const runId = await platform.complete({ input: 'hello' });
    const stream = await send('GET', `/v1/runs/${runId}/events`, { ...headers, accept: 'text/event-stream' });
    expect(stream.headers['content-type']).toContain('text/event-stream');
    expect(stream.body).toContain('run.completed');
    for (const answer of [stream, await send('GET', '/v1/nothing', headers), await send('GET', '/v1/runs/none', headers)]) {
      expect(answer.headers).toMatchObject({ 'access-control-allow-origin': app, vary: 'Origin' });
    }
  });

  it('is never taken for the local operator: it brings a key, and no cookie counts [verifies api.cors]', async () => {
    for (const more of [{}, { cookie: 'session=1' }]) {
      const answer = await send('GET', '/v1/sessions', { origin: app, ...more });
      expect(answer.status).toBe(401);
      // It may read why.
      expect(answer.headers['access-control-allow-origin']).toBe(app);
      expect(answer.headers['access-control-allow-credentials']).toBeUndefined();
    }
    // An origin of a proxy before this machine may act as the operator, and is not told that others may read.
    const console = await send('GET', '/v1/sessions', { origin: 'https://console.test' });
    expect([console.status, corsHeadersOf(console)]).toEqual([200, []]);
  });

  it('may reach this machine from a public address, where its browser asks', async () => {
    const preflight = await send('OPTIONS', '/v1/runs', { origin: app, ...asks, 'access-control-request-private-network': 'true' });
    expect(preflight.headers['access-control-allow-private-network']).toBe('true');
  });

  it('still needs a Host of this machine', async () => {
    expect((await send('GET', '/healthz', { origin: app, host: 'evil.test' })).status).toBe(403);
  });
});

const hostile = [
  'null',
  'https://evil.test',
  'https://app.example.com.evil.test',
  'https://evil-app.example.com',
  'https://evilapp.example.com',
  'https://sub.app.example.com',
  'http://app.example.com',
  'https://app.example.com:8443',
  'https://app.example.com:443',
  'https://app.example.com/',
  'https://APP.example.com',
  'HTTPS://app.example.com',
  'https://app.example.com, https://evil.test',
  'https://app.example.com@evil.test',
  'https://evil.test#https://app.example.com',
  'https://app.example.com.',
  'http://localhost:5174',
  'http://127.0.0.1:5173',
  '',
];

describe('a page of any other origin', () => {
  it.each(hostile)('is refused as before, and is told nothing: "%s" [verifies api.cors api.loopback.host]', async (origin) => {
    for (const answer of [
      await send('OPTIONS', '/v1/sessions', { origin, ...asks }),
      await send('GET', '/v1/sessions', { origin, authorization: `Bearer ${key}` }),
      await send('GET', '/healthz', { origin }),
    ]) {
      expect(answer.status).toBe(403);
      expect(corsHeadersOf(answer)).toEqual([]);
      expect(answer.headers.vary).toBe('Origin');
    }
  });

  it('is told nothing either when this is no local API', async () => {
    const open = await startTestPlatform({ dataDir: platform.app.config.dataDir, config: { host: '0.0.0.0', cors: { origins: [app] } } });
    try {
      for (const origin of hostile) {
        const answer = await send('GET', '/v1/sessions', { origin, authorization: `Bearer ${key}` }, open);
        expect([answer.status, corsHeadersOf(answer), answer.headers.vary]).toEqual([200, [], 'Origin']);
        expect(corsHeadersOf(await send('OPTIONS', '/v1/sessions', { origin, ...asks }, open))).toEqual([]);
      }
      const known = await send('GET', '/v1/sessions', { origin: app, authorization: `Bearer ${key}` }, open);
      expect(known.headers['access-control-allow-origin']).toBe(app);
      expect((await send('OPTIONS', '/v1/sessions', { origin: app, ...asks }, open)).status).toBe(204);
    } finally {
      await open.close();
    }
  });
});

describe('the configuration', () => {
  it('has no origin, and answers then name none', async () => {
    const closed = await startTestPlatform();
    try {
      const answer = await send('GET', '/healthz', {}, closed);
      expect([corsHeadersOf(answer), answer.headers.vary]).toEqual([[], undefined]);
      expect((await send('OPTIONS', '/v1/sessions', { origin: app, ...asks }, closed)).status).toBe(403);
    } finally {
      await closed.close();
    }
  });

  it.each([
    '*',
    'null',
    'https://*.example.com',
    'app.example.com',
    'https://app.example.com/path',
    'https://a.test?x',
    'https://u:p@a.test',
    'file:///a',
  ])('refuses what is no exact origin: %s', (origin) => {
    expect(() => resolveConfig({ env: {}, flags: { cors: { origins: [origin] } } })).toThrow(/cors\.origins.*expected a web origin/s);
  });

  it('takes an origin in the form that a browser sends', () => {
    const { cors } = resolveConfig({ env: { NEXUS_CORS_ORIGINS: 'HTTPS://App.Example.com:443/,http://localhost:5173' } });
    expect(cors.origins).toEqual([app, dev]);
  });
});
