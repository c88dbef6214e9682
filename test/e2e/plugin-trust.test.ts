import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  checkPackage,
  createSigningKey,
  fingerprintOfKey,
  packTarball,
  sha256OfBytes,
  signManifest,
} from '../../packages/server/src/tools/index.ts';
import { startTestServer, type TestServer } from './support/server.ts';

const module = readFileSync(new URL('../../examples/plugins/text-stats/text-stats.wasm', import.meta.url));
const operator = createSigningKey();
const [first, second] = [createSigningKey(), createSigningKey()] as const;
let server: TestServer;
let session: string;
beforeAll(async () => {
  server = await startTestServer({ config: { plugins: { trustedKeys: [operator.publicKey] } } });
  await server.agent('user');
  session = await server.session({ agent: 'user' });
});
afterAll(() => server.close());

interface Made {
  readonly name?: string;
  readonly version?: string;
  readonly permissions?: string;
  readonly effects?: string;
  readonly tools?: readonly string[];
  readonly more?: string;
  readonly key?: ReturnType<typeof createSigningKey>;
}

async function pack(made: Made = {}): Promise<string> {
  const { name = 'stats', version = '1.0.0', permissions = 'fs.read', effects = 'none', tools = ['text_stats'], more = '', key } = made;
  const manifest = `name: ${name}
version: ${version}
tier: T1
tools:
${tools
  .map(
    (tool) =>
      `  - { name: ${tool}, description: counts, module: m.wasm, effects: ${effects}, permissions: [${permissions}], inputSchema: { type: object }${more} }`,
  )
  .join('\n')}
files: { m.wasm: ${sha256OfBytes(module)} }
`;
  const files = new Map<string, Uint8Array>([
    ['plugin.yaml', Buffer.from(manifest)],
    ['m.wasm', module],
  ]);
  if (key !== undefined) files.set('plugin.sig', Buffer.from(signManifest((await checkPackage(files)).manifest, key.privateKey).text));
  return Buffer.from(packTarball(files)).toString('base64');
}

const put = (body: Record<string, unknown>, headers?: Record<string, string>) => server.call('PUT', '/v1/plugins', body, headers);
const shown = async (made: Made, more: Record<string, unknown> = {}) => {
  const packed = await pack(made);
  const { body } = await put({ package: packed, ...more });
  return { packed, body };
};
async function install(made: Made = {}, more: Record<string, unknown> = {}) {
  const { packed, body } = await shown(made, more);
  return put({ package: packed, accept: body.digest, ...more });
}
const run = async (text = 'a b') =>
  (await server.call('POST', '/v1/tools/text_stats/execute', { sessionId: session, input: { text } })).body;
const keys = (method: string, body?: Record<string, unknown>, path = '', headers?: Record<string, string>) =>
  server.call(method, `/v1/plugin-keys${path}`, body, headers);
const trust = (key: { publicKey: string }, name: string, state = 'trusted') => keys('PUT', { publicKey: key.publicKey, name, state });
const listed = async () => (await server.call('GET', '/v1/plugins')).body.data[0];

describe('a key that a tenant trusts', () => {
  it('lets its plugins in, beside another of that name, until it is removed [verifies plugins.keys]', async () => {
    expect((await install({ key: first })).body).toMatchObject({ code: 'policy_denied', detail: expect.stringContaining('trust its key') });
    const { body: key } = await trust(first, 'me');
    expect(key).toMatchObject({ name: 'me', state: 'trusted', origin: 'tenant', addedBy: expect.any(String), addedAt: expect.any(String) });
    expect(key.fingerprint).toMatch(/^[0-9a-f]{32}$/);
    await trust(second, 'me'); // the next key of the same person
    expect((await keys('GET')).body.data).toMatchObject([
      { name: 'operator', origin: 'operator', publicKey: operator.publicKey },
      ...[first, second]
        .map(({ publicKey }) => ({ name: 'me', origin: 'tenant', state: 'trusted', publicKey }))
        .sort((one, other) =>
          sha256OfBytes(Buffer.from(one.publicKey, 'base64')) < sha256OfBytes(Buffer.from(other.publicKey, 'base64')) ? -1 : 1,
        ),
    ]);
    expect((await install({ key: first })).body).toMatchObject({ installed: true, trust: 'trusted', signer: 'me', refused: null });
    expect(await run()).toMatchObject({ status: 'ok' });
    expect((await keys('DELETE', undefined, `/${key.fingerprint}`)).status).toBe(204);
    expect((await keys('DELETE', undefined, `/${key.fingerprint}`)).status).toBe(404);
    expect(await listed()).toMatchObject({ trust: 'untrusted', trusted: true, refused: expect.stringMatching(/not trusted any more/) });
    expect(await run()).toMatchObject({
      status: 'error',
      error: { code: 'policy_denied', message: expect.stringMatching(/stats is refused: .*--allow-unsigned/) },
    });
    // Whoever takes it without a signature has it without one.
    expect((await install({ key: first }, { allowUnsigned: true })).body).toMatchObject({
      trusted: false,
      trust: 'untrusted',
      refused: null,
    });
    expect(await run()).toMatchObject({ status: 'ok' });
    await trust(first, 'me');
    expect(await run()).toMatchObject({ status: 'ok' });
    expect((await install({ key: second })).body).toMatchObject({ trust: 'trusted', signer: 'me' });
  });

  it('that was revoked lets nothing in, whatever else is said [verifies plugins.keys]', async () => {
    await keys('DELETE', undefined, `/${fingerprintOfKey(first.publicKey)}`);
    expect((await install({ key: first }, { allowUnsigned: true })).body).toMatchObject({ trusted: false, refused: null });
    expect((await trust(first, 'stolen', 'revoked')).body).toMatchObject({ state: 'revoked', name: 'stolen' });
    expect(await run()).toMatchObject({ status: 'error', error: { code: 'policy_denied', message: expect.stringMatching(/was revoked/) } });
    expect(await listed()).toMatchObject({ trust: 'revoked', signer: 'stolen', refused: expect.stringMatching(/was revoked/) });
    expect((await install({ key: first }, { allowUnsigned: true })).body).toMatchObject({
      code: 'policy_denied',
      detail: expect.stringMatching(/was revoked/),
    });
    expect((await trust(first, 'me')).body).toMatchObject({ code: 'conflict', detail: expect.stringMatching(/remove it first/) });
    // Also one of the operator's, for this tenant.
    expect((await install({ key: operator })).body).toMatchObject({ trust: 'trusted' });
    await trust(operator, 'former operator', 'revoked');
    expect(await run()).toMatchObject({ error: { code: 'policy_denied' } });
    const { data } = (await keys('GET')).body;
    expect(data.filter(({ publicKey }: { publicKey: string }) => publicKey === operator.publicKey)).toMatchObject([
      { origin: 'operator', state: 'trusted' },
      { origin: 'tenant', state: 'revoked' },
    ]);
    for (const { fingerprint } of data.slice(1)) await keys('DELETE', undefined, `/${fingerprint}`);
    expect(await run()).toMatchObject({ status: 'ok' });
  });

  it('that signs in the place of another is the one that counts, also where the plugin is loaded [verifies plugins.keys]', async () => {
    await trust(first, 'me');
    await trust(second, 'you');
    expect((await install({ key: first })).body).toMatchObject({ trust: 'trusted', signer: 'me' });
    expect(await run()).toMatchObject({ status: 'ok' });
    expect((await install({ key: second })).body).toMatchObject({ trust: 'trusted', signer: 'you' });
    expect(await run()).toMatchObject({ status: 'ok' });
    await keys('DELETE', undefined, `/${fingerprintOfKey(first.publicKey)}`);
    expect(await run()).toMatchObject({ status: 'ok' });
    await keys('DELETE', undefined, `/${fingerprintOfKey(second.publicKey)}`);
    expect(await run()).toMatchObject({ status: 'error', error: { code: 'policy_denied' } });
    await install({ key: first }, { allowUnsigned: true });
  });

  it('is of its tenant, and added by who may administer [verifies plugins.keys]', async () => {
    await trust(first, 'me');
    const made = async (body: Record<string, unknown>) => ({
      authorization: `Bearer ${(await server.call('POST', '/v1/keys', { name: 'k', ...body })).body.secret}`,
    });
    const other = await made({ tenant: 'other', scopes: ['runs', 'admin'] });
    expect((await keys('GET', undefined, '', other)).body.data).toMatchObject([{ origin: 'operator' }]);
    const packed = await pack({ key: first });
    expect((await put({ package: packed }, other)).body).toMatchObject({ trust: 'untrusted', signer: null });
    const { fingerprint } = (await keys('GET')).body.data[1];
    expect((await keys('DELETE', undefined, `/${fingerprint}`, other)).status).toBe(404);
    const plain = await made({ scopes: ['runs'] });
    for (const method of ['GET', 'PUT'])
      expect((await keys(method, method === 'PUT' ? { publicKey: first.publicKey, name: 'x' } : undefined, '', plain)).status).toBe(403);
    expect((await keys('PUT', { publicKey: 'no key', name: 'x' })).status).toBe(400);
    expect((await keys('PUT', { publicKey: first.publicKey, name: 'a\u0000b' })).status).toBe(400);
    await keys('DELETE', undefined, `/${fingerprint}`);
  });
});

describe('a plugin in the place of another', () => {
  it('shows what it asks for beyond that [verifies plugins.replace]', async () => {
    await install({ key: operator, tools: ['text_stats', 'more_stats'] });
    const { body } = await shown({
      version: '1.1.0',
      permissions: 'fs.write, net.egress',
      tools: ['text_stats', 'new_stats'],
      more: ', limits: { wallMs: 10 }',
    });
    expect(body.replaces).toMatchObject({ version: '1.0.0', isNewer: false });
    const changes = body.replaces.changes.map(
      ({ tool, what, before, after, asksMore }: Record<string, string>) => `${asksMore ? '!' : '~'} ${tool} ${what} ${before} ${after}`,
    );
    expect(changes).toEqual([
      `! null signature ${operator.publicKey} null`,
      '! text_stats permissions fs.read fs.write net.egress',
      '! new_stats added null fs.write net.egress',
      '~ text_stats limits {} {"wallMs":10}',
      '~ more_stats removed fs.read null',
    ]);
    const same = await shown({ key: operator, tools: ['text_stats', 'more_stats'] });
    expect(same.body.replaces).toBeUndefined();
    // To ask for less than before is less; to be repeated by itself is more.
    await install({ key: operator, permissions: 'fs.write', effects: 'once' });
    const less = (await shown({ key: operator, version: '1.0.1', permissions: 'fs.read', effects: 'none' })).body.replaces.changes;
    expect(less).toMatchObject([
      { what: 'effects', before: 'once', after: 'none', asksMore: true },
      { what: 'permissions', before: 'fs.write', after: 'fs.read', asksMore: false },
    ]);
  });

  it('is taken in that place only, and not in that of a newer one [verifies plugins.replace]', async () => {
    await install({ key: operator, version: '1.10.0' }, { allowDowngrade: true });
    const { packed, body } = await shown({ key: operator, version: '1.9.0' });
    expect(body.replaces).toMatchObject({ version: '1.10.0', isNewer: true });
    const request = { package: packed, accept: body.digest, replaces: body.replaces.digest };
    expect(await put(request)).toMatchObject({
      status: 409,
      body: { detail: expect.stringMatching(/1\.10\.0 is installed, and 1\.9\.0 is older/) },
    });
    expect(await listed()).toMatchObject({ version: '1.10.0' });
    // Somebody installs another one between what was shown and what is accepted.
    await install({ key: operator, version: '1.11.0' });
    expect(await put({ ...request, allowDowngrade: true })).toMatchObject({
      status: 409,
      body: { detail: expect.stringMatching(/not what it was when the plugin was shown/) },
    });
    const again = await shown({ key: operator, version: '1.9.0' });
    expect(await put({ ...request, replaces: again.body.replaces.digest, allowDowngrade: true })).toMatchObject({
      status: 200,
      body: { version: '1.9.0' },
    });
    expect((await install({ key: operator, version: 'nightly' })).status).toBe(200); // what cannot be compared is not older
    expect((await install({ key: operator, version: '2.0.0-beta' })).status).toBe(200);
    expect((await install({ key: operator, version: '2.0.0' })).status).toBe(200);
    expect((await install({ key: operator, version: '2.0.0-rc.1' })).status).toBe(409);
  });

  it('is not the one that was shown: another package under the same name and version is refused [verifies plugins.install]', async () => {
    const { body } = await shown({ key: operator, version: '3.0.0' });
    const swapped = await pack({ key: operator, version: '3.0.0', permissions: 'fs.write' });
    expect(await put({ package: swapped, accept: body.digest })).toMatchObject({ status: 409, body: { code: 'conflict' } });
  });
});

describe('a program as a plugin', () => {
  it('is not even shown where the operator has granted none [verifies plugins.programs.granted]', async () => {
    const folder = new URL('../../examples/plugins/dates-mcp/', import.meta.url);
    const files = new Map<string, Uint8Array>(['plugin.yaml', 'server.js'].map((name) => [name, readFileSync(new URL(name, folder))]));
    const packed = Buffer.from(packTarball(files)).toString('base64');
    expect(await put({ package: packed, allowUnsigned: true })).toMatchObject({
      status: 403,
      body: { code: 'policy_denied', detail: expect.stringMatching(/plugins\.programs\.tenants/) },
    });
  });
});
