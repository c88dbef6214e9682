import { mkdtemp, rm } from 'node:fs/promises';
import { type IncomingMessage, request } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestPlatform, type TestPlatform } from '#apps/testing';

let platform: TestPlatform;
beforeAll(async () => {
  platform = await startTestPlatform({ config: { auth: { allowedHosts: ['nexus.test'], allowedOrigins: ['https://console.test'] } } });
});
afterAll(() => platform.close());

interface Raw {
  method?: string;
  path?: string;
  headers?: Record<string, string>;
  body?: string;
  host?: string;
}

/** A request with headers that `fetch` would not let through. */
function send(options: Raw): Promise<{ status: number; headers: IncomingMessage['headers']; body: string }> {
  return new Promise((resolve, reject) => {
    const { method = 'GET', path = '/v1/sessions', headers = {}, body, host = '127.0.0.1' } = options;
    const outgoing = request({ host, port: platform.port, method, path, headers, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text }));
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

const codeOf = (response: { body: string }) => JSON.parse(response.body).code;

describe('on loopback', () => {
  it('serves the local operator without a key, under any name of this machine', async () => {
    for (const host of [
      `localhost:${platform.port}`,
      `127.0.0.1:${platform.port}`,
      `[::1]:${platform.port}`,
      'LOCALHOST',
      'nexus.test',
      'nexus.test:99',
    ]) {
      expect((await send({ headers: { host } })).status, host).toBe(200);
    }
  });

  it('refuses a request with two Host headers, of which a proxy may believe the other', async () => {
    const text = await new Promise<string>((resolve, reject) => {
      const socket = connect(platform.port, '127.0.0.1');
      let received = '';
      socket.on('data', (chunk) => {
        received += String(chunk);
      });
      socket.on('close', () => resolve(received));
      socket.on('error', reject);
      socket.write('GET /v1/sessions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nhost: evil.test\r\n\r\n');
    });
    expect(text).toMatch(/^HTTP\/1\.1 400 /);
  });

  it.each(['forwarded', 'x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto', 'x-real-ip', 'via'])(
    'takes nobody behind a proxy for the local operator: %s',
    async (header) => {
      expect((await send({ headers: { [header]: 'x' } })).status).toBe(401);
    },
  );

  it('refuses other Host names: a name rebound to loopback is another site [verifies api.loopback.host]', async () => {
    for (const host of ['evil.test', `evil.test:${platform.port}`, 'localhost.evil.test', '127.0.0.1.evil.test', 'localhost@evil.test']) {
      const response = await send({ headers: { host } });
      expect(response.status, host).toBe(403);
      expect(codeOf(response)).toBe('origin_not_allowed');
    }
  });

  it('refuses what a web page of another origin asks for, on every path and method [verifies api.loopback.host]', async () => {
    const pages = [
      { origin: 'https://evil.test' },
      { origin: 'null' },
      { origin: `http://localhost:${platform.port + 1}` },
      { 'sec-fetch-site': 'cross-site' },
      { 'sec-fetch-site': 'same-site' },
      { origin: 'https://evil.test', authorization: 'Bearer x' },
    ];
    const paths = ['/v1/sessions', '/v1/agents/chat/stream', '/metrics', '/healthz', '/docs', '/openapi.json', '/nothing/here'];
    for (const headers of pages) {
      for (const path of paths) {
        const response = await send({ path, headers: { host: `localhost:${platform.port}`, ...headers } });
        expect(response.status, `${path} ${JSON.stringify(headers)}`).toBe(403);
        expect(response.headers['access-control-allow-origin']).toBeUndefined();
      }
      const post = await send({ method: 'POST', headers: { ...headers, 'content-type': 'application/json' }, body: '{}' });
      expect(post.status).toBe(403);
    }
  });

  it('serves pages of its own and of configured origins', async () => {
    const host = `localhost:${platform.port}`;
    expect((await send({ headers: { host, origin: `http://${host}`, 'sec-fetch-site': 'same-origin' } })).status).toBe(200);
    expect((await send({ headers: { host, origin: 'https://console.test', 'sec-fetch-site': 'cross-site' } })).status).toBe(200);
    expect((await send({ headers: { host, 'sec-fetch-site': 'none' } })).status).toBe(200);
  });

  it('takes bodies only as JSON: a form cannot post', async () => {
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x']) {
      const response = await send({ method: 'POST', headers: { 'content-type': type }, body: '{}' });
      expect(response.status, type).toBe(415);
      expect(codeOf(response)).toBe('unsupported_media_type');
    }
  });

  it('refuses a wrong key rather than falling back to the local operator', async () => {
    for (const headers of [{ authorization: 'Bearer nx_a_wrong' }, { authorization: 'Basic dTpw' }, { 'x-api-key': 'nx_a_wrong' }]) {
      const response = await send({ headers });
      expect(response.status).toBe(401);
      expect(response.headers['www-authenticate']).toBe('Bearer');
    }
  });

  it('does not take somebody behind a proxy for the local operator', async () => {
    for (const header of ['x-forwarded-for', 'forwarded', 'x-real-ip']) {
      expect((await send({ headers: { [header]: '203.0.113.9' } })).status).toBe(401);
    }
  });

  it('asks for the scope of each route and names the missing one', async () => {
    const [runs, approvals, admin] = await Promise.all((['runs', 'approvals', 'admin'] as const).map((scope) => platform.key([scope])));
    const status = async (key: string | undefined, path: string) =>
      (await send({ path, headers: { authorization: `Bearer ${key}` } })).status;
    expect(await status(runs, '/v1/runs')).toBe(200);
    expect(await status(runs, '/v1/approvals')).toBe(403);
    expect(await status(runs, '/v1/keys')).toBe(403);
    expect(await status(approvals, '/v1/approvals')).toBe(200);
    expect(await status(approvals, '/v1/runs')).toBe(403);
    expect(await status(admin, '/v1/keys')).toBe(200);
    const refused = await send({ path: '/v1/keys', headers: { 'x-api-key': runs ?? '' } });
    expect(JSON.parse(refused.body)).toMatchObject({ code: 'forbidden', details: { scope: 'admin' } });
  });

  it('keeps the runs of another tenant out of sight', async () => {
    const authorization = `Bearer ${await platform.key(['runs'], 'other')}`;
    const id = await platform.start({ input: 'hi' });
    const list = await send({ path: '/v1/runs', headers: { authorization } });
    expect(JSON.parse(list.body)).toEqual({ data: [], nextCursor: null });
    for (const accept of ['application/json', 'text/event-stream']) {
      const theirs = await send({ path: `/v1/runs/${id}/events`, headers: { authorization, accept } });
      expect(theirs.status, accept).toBe(404);
      expect(theirs.headers['content-type']).toBe('application/problem+json');
    }
  });

  it('answers on both loopback families', async () => {
    const answers = await Promise.allSettled(['127.0.0.1', '::1'].map((host) => send({ host, path: '/healthz' })));
    expect(answers[0]).toMatchObject({ status: 'fulfilled', value: { status: 200 } });
    if (answers[1]?.status === 'fulfilled') expect(answers[1].value.status).toBe(200);
  });
});

describe('on any other address', () => {
  let dataDir: string;
  beforeAll(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'nexus-test-'));
  });
  afterAll(() => rm(dataDir, { recursive: true, force: true }));

  it('refuses to start while there is no key, and says how to make one [verifies api.remote.auth]', async () => {
    await expect(startTestPlatform({ config: { host: '0.0.0.0' } })).rejects.toMatchObject({
      code: 'config_invalid',
      message: expect.stringContaining('nexus keys create'),
    });
  });

  it('never trusts the local operator [verifies api.remote.auth]', async () => {
    const local = await startTestPlatform({ dataDir });
    const headers = { authorization: `Bearer ${await local.key(['runs'])}` };
    await local.close();
    const open = await startTestPlatform({ dataDir, config: { host: '0.0.0.0' } });
    try {
      const base = `http://127.0.0.1:${open.port}`;
      expect((await fetch(`${base}/v1/sessions`)).status).toBe(401);
      expect((await fetch(`${base}/metrics`)).status).toBe(401);
      expect((await fetch(`${base}/v1/agents/chat/stream`)).status).toBe(401);
      expect((await fetch(`${base}/healthz`)).status).toBe(200);
      expect((await fetch(`${base}/v1/sessions`, { headers })).status).toBe(200);
      expect((await fetch(`${base}/v1/agents/chat/stream`, { headers })).status).toBe(400);
    } finally {
      await open.close();
    }
  });
});
