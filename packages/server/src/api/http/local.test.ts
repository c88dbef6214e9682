import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createNexusClient } from '@nexus-agent/sdk';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startTestPlatform, type TestPlatform } from '#apps/testing';

const chat = '/v1/agents/chat/stream';
const json = { 'content-type': 'application/json' };
let dataDir: string;
let platform: TestPlatform;
let strict: TestPlatform;
let bearer: { authorization: string };
beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'nexus-test-'));
  const stateHome = join(dataDir, 'state');
  platform = await startTestPlatform({ dataDir, config: { stateHome, auth: { local: 'token', allowedHosts: ['nexus.test'] } } });
  strict = await startTestPlatform({ config: { stateHome, auth: { local: 'none' } } });
  bearer = { authorization: `Bearer ${platform.app.localToken}` };
});
afterAll(async () => {
  await Promise.all([platform.close(), strict.close()]);
  await rm(dataDir, { recursive: true, force: true });
});

/** The status, with exactly these headers. */
function send(method: string, path: string, headers: Record<string, string> = {}, body?: string, on = platform): Promise<number> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ host: '127.0.0.1', port: on.port, method, path, headers, agent: false }, (response) => {
      response.resume().on('end', () => resolve(response.statusCode ?? 0));
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

it('takes who brings the token for the operator, and another program for a visitor [verifies hostile.steer.token]', async () => {
  expect(await send('GET', '/v1/keys', bearer)).toBe(200);
  expect(await send('GET', '/v1/keys')).toBe(401);
  expect(await send('GET', '/v1/keys', { authorization: `Bearer nxl_${'x'.repeat(43)}` })).toBe(401);
  expect(await send('GET', chat)).toBe(200);
  expect(await send('GET', '/metrics')).toBe(200);
  expect(await send('POST', '/v1/sessions', json, '{"budget":{"costMicroUsd":1}}')).toBe(201);
  expect(await send('POST', '/v1/sessions', json, '{"agent":"chat"}')).toBe(401);
  expect(await send('POST', chat, json, '{"input":"hello"}')).toBe(200);
  expect(await send('POST', chat, json, '{"input":"hello","model":"sim/sim-large"}')).toBe(401);
});

it('takes no page and nobody behind a proxy for either', async () => {
  for (const headers of [
    { 'cf-ray': 'x' },
    { via: 'x' },
    { 'user-agent': 'Mozilla/4.0' },
    { host: 'nexus.test' },
    { referer: 'x' },
  ] as Record<string, string>[]) {
    expect(await send('GET', chat, headers), JSON.stringify(headers)).toBe(401);
  }
  expect(await send('GET', '/v1/keys', { ...bearer, 'cf-ray': 'x' })).toBe(401);
});

it('demands keys where that is set', async () => {
  expect(await send('GET', chat, {}, undefined, strict)).toBe(401);
  expect(await send('GET', '/healthz', {}, undefined, strict)).toBe(200);
});

it('is found by the client, which trusts no file that others can read and no other host [verifies hostile.steer.client]', async () => {
  const list = (folder: string, host = '127.0.0.1') =>
    createNexusClient({ baseUrl: `http://${host}:${platform.port}`, tokenFolders: [folder], retry: { maxAttempts: 1 } }).keys.list();
  const path = join(dataDir, 'state/nexus-agent', `${platform.port}.token`);
  await expect(list(join(dataDir, 'state/nexus-agent'))).resolves.toBeDefined();
  const text = await readFile(path, 'utf8');
  const planted = join(dataDir, 'planted');
  await mkdir(planted);
  const file = join(planted, `${platform.port}.token`);
  await writeFile(file, text, { mode: 0o600 });
  await expect(list(planted)).resolves.toBeDefined();
  await chmod(file, 0o644);
  await expect(list(planted)).rejects.toMatchObject({ code: 'unauthenticated' });
  await chmod(file, 0o600);
  await writeFile(file, text.replace(/Hosts: .*/, 'Hosts: other'));
  await expect(list(planted)).rejects.toMatchObject({ code: 'unauthenticated' });
});
