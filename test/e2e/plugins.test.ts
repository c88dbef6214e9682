import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import createWabt from 'wabt';
import {
  checkPackage,
  createSigningKey,
  maxTenantPluginBytes,
  packTarball,
  sha256OfBytes,
  signManifest,
  versionOfRow,
} from '../../packages/server/src/tools/index.ts';
import { startTestServer, type TestServer, tenant } from './support/server.ts';

const wabt = createWabt();
const signer = createSigningKey();
let server: TestServer;
let session: string;
beforeAll(async () => {
  server = await startTestServer({ config: { plugins: { trustedKeys: [signer.publicKey] }, httpFetch: { allowPrivate: ['127.0.0.1'] } } });
  await server.agent('user');
  session = await server.session({ agent: 'user' });
});
afterAll(() => server.close());

interface Made {
  readonly name?: string;
  readonly tool?: string;
  readonly text: string;
  readonly permissions?: string;
  readonly more?: string;
  readonly key?: string;
}

/** A plugin whose one tool is the program of this text, as it would be sent. */
async function pack({ name = 'probe', tool = 'probe', text, permissions = '[]', more = '', key }: Made): Promise<string> {
  const parsed = (await wabt).parseWat('probe.wat', text);
  const bytes = Uint8Array.from(parsed.toBinary({}).buffer);
  parsed.destroy();
  const manifest = `name: ${name}
version: 1.0.0
tier: T1
tools:
  - name: ${tool}
    description: for tests
    module: probe.wasm
    effects: none
    permissions: ${permissions}
    inputSchema: { type: object }
    ${more}
files: { probe.wasm: ${sha256OfBytes(bytes)} }
`;
  const files = new Map<string, Uint8Array>([
    ['plugin.yaml', Buffer.from(manifest)],
    ['probe.wasm', bytes],
  ]);
  if (key !== undefined) files.set('plugin.sig', Buffer.from(signManifest((await checkPackage(files)).manifest, key).text));
  return Buffer.from(packTarball(files)).toString('base64');
}

const says = (value: string, imports = '') => `(module
  (import "nexus" "output_write" (func $print (param i32 i32) (result i32))) ${imports}
  (memory (export "memory") 1) (data (i32.const 0) "${value.replaceAll('"', '\\"')}")
  (func (export "_start") (drop (call $print (i32.const 0) (i32.const ${value.length})))))`;

/** Fetches what its arguments say, and gives what it was answered. */
const fetching = `(module
  (import "nexus" "http_fetch" (func $fetch (param i32 i32) (result i32)))
  (import "nexus" "response_read" (func $response (param i32 i32) (result i32)))
  (import "nexus" "input_read" (func $input (param i32 i32) (result i32)))
  (import "nexus" "output_write" (func $print (param i32 i32) (result i32)))
  (memory (export "memory") 1) (data (i32.const 0) "1")
  (func (export "_start")
    (drop (call $fetch (i32.const 1000) (call $input (i32.const 1000) (i32.const 1000))))
    (drop (call $print (i32.const 1000) (call $response (i32.const 1000) (i32.const 5000))))))`;

const put = (body: Record<string, unknown>, headers?: Record<string, string>) => server.call('PUT', '/v1/plugins', body, headers);
async function install(made: Made) {
  const packed = await pack(made);
  const shown = await put({ package: packed, allowUnsigned: true });
  return shown.status === 200 ? put({ package: packed, accept: shown.body.digest, allowUnsigned: true }) : shown;
}
const run = async (tool: string, input: Record<string, unknown> = {}) =>
  (await server.call('POST', `/v1/tools/${tool}/execute`, { sessionId: session, input })).body;
const names = async (headers?: Record<string, string>) =>
  (await server.call('GET', '/v1/tools', undefined, headers)).body.data.map(({ name }: { name: string }) => name);

describe('a plugin', () => {
  it('is shown, installed once it is accepted, used and removed [verifies plugins.install]', async () => {
    const packed = await pack({ text: says('{"said":1}'), key: signer.privateKey });
    const shown = await put({ package: packed });
    expect(shown).toMatchObject({
      status: 200,
      body: { name: 'probe', installed: false, installedAt: null, trusted: true, signedBy: signer.publicKey },
    });
    expect(await names()).not.toContain('probe');
    expect(await put({ package: packed, accept: 'another' })).toMatchObject({ status: 409, body: { code: 'conflict' } });
    expect(await put({ package: packed, accept: shown.body.digest })).toMatchObject({ status: 200, body: { installed: true } });
    expect((await server.call('GET', '/v1/plugins')).body.data).toMatchObject([
      { name: 'probe', tools: [{ name: 'probe', permissions: [] }] },
    ]);
    const tool = (await server.call('GET', '/v1/tools')).body.data.find(({ name }: { name: string }) => name === 'probe');
    expect(tool).toMatchObject({ source: 'plugin:probe', tier: 'T1', effects: 'none' });
    expect(await run('probe')).toMatchObject({ status: 'ok', output: '{"said":1}' });
    const { events } = await server.finish({ agent: 'user', input: '[[sim tools=probe()]][[sim say="{{result}}"]]' });
    expect(events.find(({ type }) => type === 'tool.completed')).toMatchObject({ data: { output: '{"said":1}' } });
    expect((await server.call('DELETE', '/v1/plugins/probe')).status).toBe(204);
    expect((await server.call('DELETE', '/v1/plugins/probe')).status).toBe(404);
    expect(await names()).not.toContain('probe');
  });

  it('that nobody trusted has signed needs leave [verifies plugins.trust]', async () => {
    for (const key of [undefined, createSigningKey().privateKey]) {
      const packed = await pack({ text: says('1'), ...(key === undefined ? {} : { key }) });
      const { body } = await put({ package: packed });
      expect(body).toMatchObject({ trusted: false });
      expect(await put({ package: packed, accept: body.digest })).toMatchObject({ status: 403, body: { code: 'policy_denied' } });
      expect(await put({ package: packed, accept: body.digest, allowUnsigned: true })).toMatchObject({ status: 200 });
    }
    await server.call('DELETE', '/v1/plugins/probe');
  });

  it('is of its tenant, and put by who may administer', async () => {
    await install({ text: says('1') });
    const key = (await server.call('POST', '/v1/keys', { name: 'k', tenant: 'other', scopes: ['runs', 'admin'] })).body.secret;
    const other = { authorization: `Bearer ${key}` };
    expect(await names(other)).not.toContain('probe');
    expect((await server.call('GET', '/v1/plugins', undefined, other)).body.data).toEqual([]);
    const plain = (await server.call('POST', '/v1/keys', { name: 'k', scopes: ['runs'] })).body.secret;
    expect((await put({ package: 'AAAA' }, { authorization: `Bearer ${plain}` })).status).toBe(403);
    await server.call('DELETE', '/v1/plugins/probe');
  });

  it('has room beside the others of its tenant, or is not taken [verifies plugins.install]', async () => {
    const { store } = server.app;
    const bytes = maxTenantPluginBytes - 50;
    const row = { tenantId: tenant, kind: 'plugin', name: 'large', content: {}, createdAt: 1 } as const;
    await store.putToolSource({ ...row, version: versionOfRow('0', { isTrusted: false, signedBy: null, bytes }) });
    expect(await install({ text: says('1') })).toMatchObject({
      status: 409,
      body: { code: 'quota_exceeded', detail: expect.stringMatching(/the others have 134217678, and this one \d+: remove some/) },
    });
    await store.deleteToolSource(row.tenantId, 'plugin', 'large');
    expect(await install({ text: says('1') })).toMatchObject({ status: 200 });
    await server.call('DELETE', '/v1/plugins/probe');
  });

  it('that lies about itself is refused before anything of it runs [verifies plugins.honest]', async () => {
    const refused = async (made: Made) => {
      const { status, body } = await install(made);
      return `${status} ${body.detail ?? JSON.stringify(body)}`;
    };
    const fetches = '(import "nexus" "http_fetch" (func (param i32 i32) (result i32)))';
    expect(await refused({ text: says('1', fetches) })).toMatch(/^400 .*needs the permission net.egress/);
    expect(await refused({ text: says('1', '(import "env" "system" (func))') })).toMatch(/^400 .*which there is not/);
    expect(await refused({ text: says('1'), more: 'entry: nope' })).toMatch(/^400 .*no function "nope"/);
    expect(await refused({ text: '(module (memory 5000) (func (export "_start")))' })).toMatch(/^400 .*memory/);
    expect(await refused({ text: says('1'), more: 'outputSchema: { type: nonsense }' })).toMatch(/^400 .*outputSchema/);
    expect(await refused({ text: says('1'), tool: 'shell' })).toMatch(/^409 .*of built-in/);
    expect(await refused({ text: says('1'), tool: 'fs_grep' })).toMatch(/^400 .*kept for tools of the server itself/);
    expect(await refused({ text: says('1'), tool: 'agent_x' })).toMatch(/^400 .*call agents/);
    expect(await refused({ text: says('1'), permissions: '[root]' })).toMatch(/^(400|422|500) .*permissions/);
    expect((await put({ package: 'no base64!' })).status).toBe(400);
    expect((await put({ package: Buffer.from('no gzip').toString('base64') })).body).toMatchObject({ code: 'invalid_request' });
    expect((await server.call('GET', '/v1/plugins')).body.data).toEqual([]);
  });

  it('that gives what does not fit its schema, or stops, fails alone', async () => {
    await install({ text: says('[1]'), more: 'outputSchema: { type: object }' });
    expect(await run('probe')).toMatchObject({
      status: 'error',
      error: { code: 'tool_failed', message: expect.stringMatching(/does not fit its own schema/) },
    });
    await install({
      text: '(module (memory (export "memory") 1) (func (export "_start") (loop $l (br $l))))',
      more: 'limits: { fuel: 1000000 }',
    });
    expect(await run('probe')).toMatchObject({ status: 'error', error: { code: 'limit_exceeded', details: { limit: 'fuel' } } });
    await install({ text: says('"well"') });
    expect(await run('probe')).toMatchObject({ status: 'ok', output: 'well' });
  });

  it('that is replaced or removed meanwhile ends its calls as they began [verifies plugins.swap]', async () => {
    let arrived = (_answer: () => void) => {};
    const waits = new Promise<() => void>((resolve) => {
      arrived = resolve;
    });
    const gate = createServer((_request, response) => arrived(() => response.end('open'))).listen(0, '127.0.0.1');
    try {
      await once(gate, 'listening');
      // The first version waits for an answer that the test holds back.
      await install({
        text: fetching.replace(
          '(call $print (i32.const 1000) (call $response (i32.const 1000) (i32.const 5000)))',
          '(call $print (i32.const 0) (i32.const 1))',
        ),
        permissions: '[net.egress]',
      });
      const { port } = gate.address() as AddressInfo; // it listens on TCP
      const old = run('probe', { url: `http://127.0.0.1:${port}/` });
      const open = await waits;
      await install({ text: says('2') });
      expect(await run('probe')).toMatchObject({ output: '2' });
      await server.call('DELETE', '/v1/plugins/probe');
      expect(await run('probe')).toMatchObject({ code: 'tool_not_found' });
      open();
      expect(await old).toMatchObject({ status: 'ok', output: '1' });
    } finally {
      gate.close();
    }
  });

  it('works with the files of its session, where it asks for that', async () => {
    const folder = new URL('../../examples/plugins/text-stats/', import.meta.url);
    const files = new Map<string, Uint8Array>(
      ['plugin.yaml', 'text-stats.wasm'].map((name) => [name, readFileSync(new URL(name, folder))]),
    );
    const packed = Buffer.from(packTarball(files)).toString('base64');
    const { body } = await put({ package: packed, allowUnsigned: true });
    await put({ package: packed, accept: body.digest, allowUnsigned: true });
    await run('fs_write', { path: 'a/b.txt', content: 'one two\nthree' });
    expect(await run('stats_of_file', { path: 'a/b.txt' })).toMatchObject({ output: '{"bytes":13,"words":3,"lines":2}' });
    expect(await run('text_stats', { text: 'x' })).toMatchObject({ output: '{"bytes":1,"words":1,"lines":1}' });
    for (const path of ['../../etc/passwd', '/etc/passwd', 'nope'])
      expect(await run('stats_of_file', { path })).toMatchObject({ status: 'error', error: { code: 'sandbox_code_error' } });
    expect(await run('text_stats', { text: 7 })).toMatchObject({ code: 'tool_input_invalid' });
  });

  it('fetches where it asks for that, as http_fetch would', async () => {
    expect((await install({ name: 'fetcher', tool: 'fetcher', text: fetching, permissions: '[net.egress]' })).status).toBe(200);
    const told = async (input: Record<string, unknown>) => JSON.parse((await run('fetcher', input)).output).error.code;
    expect(await told({ url: `${server.app.url}/healthz` })).toBe('address_not_allowed');
    expect(await told({ url: 'http://169.254.169.254/' })).toBe('address_not_allowed');
    expect(await told({ url: 'http://10.0.0.1/' })).toBe('address_not_allowed');
    expect(await told({ url: 'http://x', method: 'POST' })).toBe('tool_input_invalid');
    await server.agent('offline', { policy: { allow: ['fetcher'] } });
    const offline = await server.session({ agent: 'offline' });
    const denied = await server.call('POST', '/v1/tools/fetcher/execute', { sessionId: offline, input: { url: 'http://example.com/' } });
    expect(JSON.parse(denied.body.output)).toMatchObject({ ok: false, error: { code: 'policy_denied' } });
  });
});
