import type { TenantId } from '@nexus-agent/protocol';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { NexusError, systemClock } from '#core';
import { makeToolCall, type Reader, readCall, said } from '../../testing/index.ts';
import {
  addGuarded,
  begin,
  browse,
  callbackHost,
  type Guarded,
  login,
  never,
  oauth,
  startGuarded,
  startLoggedIn,
} from './guarded-server.testkit.ts';
import { toolOf } from './mcp-server.testkit.ts';
import { createSeal } from './oauth-seal.ts';
import { createRows, definitionOf, startServers, type TestServers, tenant } from './servers.testkit.ts';

let guarded: Guarded;
let servers: TestServers;

beforeEach(async () => {
  guarded = await startGuarded();
});

afterEach(async () => {
  await servers?.close();
  await guarded.close();
});

const call = (toolName = 'docs_echo', of = servers, reader: Reader = {}) =>
  readCall(of.service, makeToolCall({ toolName, input: { text: 'hi' } }), reader);
const finish = (answer: Parameters<TestServers['administration']['logins']['finish']>[0]) => servers.administration.logins.finish(answer);
const stateNow = () => servers.administration.logins.state(tenant, 'docs');
const hour = 3_600_000;
const later = (ms: number) => ({ ...systemClock, now: () => systemClock.now() + ms });

describe('a person who logs in', () => {
  it('is sent to the authorization server, and comes back to a server whose tools can be called [verifies tools.mcp.oauth.login]', async () => {
    servers = startServers();
    const added = await addGuarded(guarded, servers);
    expect(added).toMatchObject({
      state: 'unapproved',
      live: null,
      login: { state: 'needed' },
      fault: expect.stringMatching(/nexus mcp login docs/),
    });
    const { address, expiresAt } = await begin(servers);
    expect(Date.parse(expiresAt)).toBeGreaterThan(Date.now());
    const asked = new URL(address).searchParams;
    expect(Object.fromEntries(asked)).toMatchObject({
      ...{ response_type: 'code', code_challenge_method: 'S256', scope: 'read', resource: guarded.mcp.url },
      redirect_uri: `http://${callbackHost}/v1/mcp-logins/callback`,
    });
    expect(await finish(await browse(address))).toEqual({ server: 'docs' });
    expect(guarded.as.tokenRequests[0]?.body).toMatchObject({ resource: guarded.mcp.url, grant_type: 'authorization_code' });
    expect(await stateNow()).toMatchObject({ state: 'active', until: null, scopes: 'read' });
    await servers.administration.approve(tenant, 'docs', {}, never);
    expect(said(await call())).toBe('called echo {"text":"hi"}');
    expect(guarded.as.registrations).toHaveLength(1);
  });

  it('has to, before a tool is called, and again once they have logged out [verifies tools.mcp.oauth.login]', async () => {
    servers = await startLoggedIn(guarded);
    const [token] = [...guarded.as.refresh.keys()];
    await servers.administration.logins.end(tenant, 'docs');
    expect(guarded.as.revoked).toEqual([token]);
    guarded.brought.length = 0;
    expect(await call()).toMatchObject({ type: 'failed', error: { code: 'login_required', details: { server: 'docs' } } });
    expect(guarded.brought).toEqual([]);
    expect(await stateNow()).toMatchObject({ state: 'needed', since: null });
    await login(servers);
    expect(said(await call())).toBe('called echo {"text":"hi"}'); // at once: nobody has to wait for a pause to end
  });

  it('logs in anew for what needs more, which is asked for then [verifies tools.mcp.oauth.login]', async () => {
    servers = await startLoggedIn(guarded);
    guarded.needed = ['write'];
    expect(await call()).toMatchObject({ type: 'failed', error: { code: 'login_required', details: { scopes: 'read write' } } });
    const { address } = await begin(servers);
    expect(new URL(address).searchParams.get('scope')?.split(' ').sort()).toEqual(['read', 'write']);
    await finish(await browse(address));
    expect(said(await call())).toBe('called echo {"text":"hi"}');
    expect(guarded.as.registrations).toHaveLength(1); // as whom it was known before
  });

  it('is asked for what the operator says, whatever the server wants [verifies tools.mcp.oauth.login]', async () => {
    servers = startServers();
    await addGuarded(guarded, servers, { scopes: ['little'] });
    expect(new URL((await begin(servers)).address).searchParams.get('scope')).toBe('little');
  });

  it('is known by the client id of the operator, and by no registration then [verifies tools.mcp.oauth.login]', async () => {
    servers = startServers();
    await addGuarded(guarded, servers, { clientId: 'ours' });
    expect(new URL((await begin(servers)).address).searchParams.get('client_id')).toBe('ours');
    expect(guarded.as.registrations).toEqual([]);
  });

  it('is known by a client metadata document where this server can be reached [verifies tools.mcp.oauth.login]', async () => {
    guarded.as.metadata = { ...guarded.as.metadata, client_id_metadata_document_supported: true };
    servers = startServers({ publicUrl: 'https://nexus.example.com/' });
    await addGuarded(guarded, servers);
    const asked = new URL((await begin(servers)).address).searchParams;
    const document = servers.administration.logins.clientDocument();
    expect(asked.get('client_id')).toBe('https://nexus.example.com/v1/mcp-logins/client.json');
    expect(document).toMatchObject({ client_id: asked.get('client_id'), redirect_uris: [asked.get('redirect_uri')] });
    expect(guarded.as.registrations).toEqual([]);
  });

  it.each(['nexus.example.com:443', 'evil.test:8080', '127.0.0.1.evil.test:80', 'localhost@evil.test:80', undefined])(
    'comes back to where the operator says, never to the host %s of a request [verifies tools.mcp.oauth.login]',
    async (host) => {
      servers = startServers();
      await addGuarded(guarded, servers);
      await expect(servers.administration.logins.begin(tenant, 'docs', { by: 'k', host }, never)).rejects.toThrow(/publicUrl/);
    },
  );
});

describe('what a browser brings back', () => {
  const tampered = (state: string) => `${state.slice(0, -2)}${state.endsWith('AA') ? 'BB' : 'AA'}`;

  it('counts once [verifies tools.mcp.oauth.login]', async () => {
    servers = startServers();
    await addGuarded(guarded, servers);
    const answer = await browse((await begin(servers)).address);
    const both = await Promise.allSettled([finish(answer), finish(answer), finish(answer)]);
    expect(both.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    await expect(finish(answer)).rejects.toMatchObject({ code: 'invalid_request' });
    expect(guarded.as.tokenRequests).toHaveLength(1);
  });

  it('is nothing where it was changed, made up, or of a login that another one came after [verifies tools.mcp.oauth.login]', async () => {
    servers = startServers();
    await addGuarded(guarded, servers);
    const first = await browse((await begin(servers)).address);
    const second = await browse((await begin(servers)).address);
    for (const state of [first.state, tampered(second.state), 'x', createSeal(Buffer.alloc(32, 8)).seal('{}', ['state of a login'])])
      await expect(finish({ ...second, state, cookies: `${first.cookies}; ${second.cookies}` })).rejects.toThrow(
        /no login that was begun here/,
      );
    expect(guarded.as.tokenRequests).toEqual([]);
    expect(await finish(second)).toEqual({ server: 'docs' }); // none of those has spent it
  });

  it('is nothing when it comes too late [verifies tools.mcp.oauth.login]', async () => {
    let now = systemClock.now();
    servers = startServers({ clock: { ...systemClock, now: () => now } });
    await addGuarded(guarded, servers);
    const answer = await browse((await begin(servers)).address);
    now += 60_001;
    await expect(finish(answer)).rejects.toMatchObject({ code: 'invalid_request' });
    expect(guarded.as.tokenRequests).toEqual([]);
  });

  it('is nothing for a server of the same name that another tenant has, or that was put elsewhere meanwhile [verifies tools.mcp.oauth.login]', async () => {
    servers = startServers();
    const other = 'ten_2' as TenantId;
    await addGuarded(guarded, servers);
    await servers.administration.put(other, 'docs', definitionOf(guarded.mcp.url, oauth()), never);
    const answer = await browse((await begin(servers)).address);
    const theirs = await browse((await begin(servers, other)).address);
    await finish(answer);
    expect(await servers.administration.logins.state(other, 'docs')).toMatchObject({ state: 'needed' });
    await servers.administration.put(other, 'docs', definitionOf(`${guarded.mcp.url}?elsewhere`, oauth()), never);
    await expect(finish(theirs)).rejects.toMatchObject({ code: 'invalid_request' });
  });

  it('is nothing once the server was removed, and what was granted is withdrawn then [verifies tools.mcp.oauth.login]', async () => {
    servers = await startLoggedIn(guarded);
    const answer = await browse((await begin(servers)).address);
    await servers.administration.remove(tenant, 'docs');
    expect(guarded.as.revoked).toHaveLength(1);
    await expect(finish(answer)).rejects.toMatchObject({ code: 'not_found' });
    await addGuarded(guarded, servers);
    expect(await stateNow()).toMatchObject({ state: 'needed' });
  });

  it('says why it is no login, in words of ours [verifies tools.mcp.oauth.login]', async () => {
    servers = startServers();
    await addGuarded(guarded, servers);
    const answer = await browse((await begin(servers)).address);
    const refused = finish({ ...answer, code: undefined, error: 'access_denied' });
    await expect(refused).rejects.toThrow(/answered access_denied/);
  });
});

describe('a token', () => {
  it('is renewed once before it ends, however many calls need it [verifies tools.mcp.oauth.refresh]', async () => {
    const store = createRows();
    servers = await startLoggedIn(guarded, { store });
    const kept = await servers.administration.list(tenant, { limit: 10 });
    expect(kept.data).toHaveLength(1);
    guarded.as.tokenDelayMs = 200;
    const two = [startServers({ store, clock: later(hour) }), startServers({ store, clock: later(hour) })];
    const before = guarded.as.tokenRequests.length;
    const ends = await Promise.all(two.flatMap((of) => Array.from({ length: 6 }, () => call('docs_echo', of))));
    expect(ends.map((end) => said(end))).toEqual(Array.from({ length: 12 }, () => 'called echo {"text":"hi"}'));
    expect(guarded.as.tokenRequests.slice(before).map(({ body }) => body.grant_type)).toEqual(['refresh_token']);
    for (const of of two) await of.close();
  });

  it('is renewed when the server refuses it, and the call is made then [verifies tools.mcp.oauth.refresh]', async () => {
    const store = createRows();
    servers = await startLoggedIn(guarded, { store });
    guarded.as.access.clear();
    const soon = startServers({ store, clock: later(60_000) });
    expect(said(await call('docs_echo', soon))).toBe('called echo {"text":"hi"}');
    await soon.close();
  });

  it('that was renewed is kept although the call that needed it was cancelled meanwhile [verifies tools.mcp.oauth.refresh]', async () => {
    const store = createRows();
    servers = await startLoggedIn(guarded, { store });
    const of = startServers({ store, clock: later(hour) });
    guarded.as.tokenDelayMs = 400;
    const controller = new AbortController();
    const ended = call('docs_echo', of, { signal: controller.signal });
    await vi.waitFor(() => expect(guarded.as.tokenRequests.at(-1)?.body.grant_type).toBe('refresh_token'));
    controller.abort();
    await ended;
    await new Promise((resolve) => setTimeout(resolve, 600));
    expect(said(await call('docs_echo', of))).toBe('called echo {"text":"hi"}');
    expect(guarded.as.tokenRequests.filter(({ body }) => body.grant_type === 'refresh_token')).toHaveLength(1);
    await of.close();
  });

  it('is not given up where the authorization server is away, and is where that says no [verifies tools.mcp.oauth.refresh]', async () => {
    const store = createRows();
    servers = await startLoggedIn(guarded, { store });
    const of = startServers({ store, clock: later(hour) });
    guarded.as.answer = (path, response) => {
      if (path === '/token') response.writeHead(503).end('busy');
      return path === '/token';
    };
    expect(await call('docs_echo', of)).toMatchObject({ error: { code: 'tool_failed' } });
    expect(await of.administration.logins.state(tenant, 'docs')).toMatchObject({ state: 'active' });
    guarded.as.answer = () => undefined;
    guarded.as.refresh.clear();
    await vi.waitFor(async () => expect(await call('docs_echo', of)).toMatchObject({ error: { code: 'login_required' } }), {
      timeout: 5_000,
      interval: 300,
    });
    expect(await of.administration.logins.state(tenant, 'docs')).toMatchObject({ state: 'needed' });
    await of.close();
  });

  it('is not renewed for a login that was ended meanwhile [verifies tools.mcp.oauth.refresh]', async () => {
    const store = createRows();
    servers = await startLoggedIn(guarded, { store });
    const of = startServers({ store, clock: later(hour) });
    guarded.as.tokenDelayMs = 500;
    const ended = call('docs_echo', of);
    await vi.waitFor(() => expect(guarded.as.tokenRequests.at(-1)?.body.grant_type).toBe('refresh_token'));
    await servers.administration.logins.end(tenant, 'docs');
    expect((await ended).type).toBe('failed');
    expect(store.grants.size).toBe(0);
    await of.close();
  });

  it('that another process was renewing when it died is renewed by the next one, after a time [verifies tools.mcp.oauth.refresh]', async () => {
    const store = createRows();
    servers = await startLoggedIn(guarded, { store });
    const [key = '', row] = [...store.grants][0] ?? [];
    if (row === undefined) throw new Error('nothing is kept');
    store.grants.set(key, { ...row, version: 'held', heldUntil: systemClock.now() + hour + 800 });
    const of = startServers({ store, clock: later(hour) });
    const startedAt = performance.now();
    expect(said(await call('docs_echo', of))).toBe('called echo {"text":"hi"}');
    expect(performance.now() - startedAt).toBeGreaterThan(500);
    await of.close();
  });
});

describe('a token that another process is at for long', () => {
  it('is not waited for until nobody knows any more what is waited for [verifies tools.mcp.oauth.refresh]', async () => {
    const store = createRows();
    servers = await startLoggedIn(guarded, { store });
    const [key = '', row] = [...store.grants][0] ?? [];
    if (row === undefined) throw new Error('nothing is kept');
    store.grants.set(key, { ...row, version: 'held', heldUntil: systemClock.now() + hour + 60_000 });
    const of = startServers({ store, clock: later(hour), connectTimeoutMs: 1_000 });
    expect(said(await call('docs_echo', of))).toMatch(/being renewed by another process, or one that ended meanwhile; in \d+ s at most/);
    await of.close();
  });
});

describe('what is kept', () => {
  it('can be read by nobody else, for nobody else [verifies tools.mcp.oauth.sealed]', async () => {
    const store = createRows();
    servers = await startLoggedIn(guarded, { store });
    const [access, refresh] = [[...guarded.as.access.keys()][0] ?? '', [...guarded.as.refresh.keys()][0] ?? ''];
    const text = JSON.stringify([...store.grants.values()]);
    for (const token of [access, refresh, Buffer.from(access).toString('base64url').slice(4, -4)]) expect(text).not.toContain(token);
    const [row] = [...store.grants.values()];
    if (row === undefined) throw new Error('nothing is kept');
    const other = 'ten_2' as TenantId;
    await servers.administration.put(other, 'docs', definitionOf(guarded.mcp.url, oauth()), never);
    await servers.administration.put(tenant, 'docs2', definitionOf(guarded.mcp.url, oauth()), never);
    await store.swapMcpGrant({ ...row, tenantId: other }, null);
    await store.swapMcpGrant({ ...row, server: 'docs2' }, null);
    expect(await servers.administration.logins.state(other, 'docs')).toMatchObject({ state: 'needed' });
    expect(await servers.administration.logins.state(tenant, 'docs2')).toMatchObject({ state: 'needed' });
    expect(await stateNow()).toMatchObject({ state: 'active' });
  });

  it('is nothing under another key, and a person can log in again [verifies tools.mcp.oauth.sealed]', async () => {
    const store = createRows();
    servers = await startLoggedIn(guarded, { store });
    const of = startServers({ store, seal: async () => createSeal(Buffer.alloc(32, 9)) });
    expect(await call('docs_echo', of)).toMatchObject({ error: { code: 'login_required' } });
    await login(of);
    expect(said(await call('docs_echo', of))).toBe('called echo {"text":"hi"}');
    await of.close();
  });

  it('goes to no other address than the one that it was given for [verifies tools.mcp.oauth.sealed]', async () => {
    servers = await startLoggedIn(guarded);
    guarded.brought.length = 0;
    const moved = definitionOf(guarded.mcp.url.replace('/mcp', '/other'), oauth());
    expect(await servers.administration.put(tenant, 'docs', moved, never)).toMatchObject({ login: { state: 'needed' } });
    expect(guarded.brought).toEqual([]);
    expect(guarded.as.revoked).toHaveLength(1);
  });

  it('is refused where there is no key [verifies tools.mcp.oauth.sealed]', async () => {
    servers = startServers({ seal: async () => Promise.reject(new NexusError('config_invalid', 'mcpClient.oauth.key is missing')) });
    await expect(addGuarded(guarded, servers)).rejects.toMatchObject({ code: 'config_invalid' });
    expect(servers.rows.size).toBe(0);
    // Anybody may come to where browsers come back, and is told nothing of the configuration.
    const made = { state: 'made up', code: 'x', issuer: undefined, error: undefined, cookies: undefined };
    await expect(servers.administration.logins.finish(made)).rejects.toMatchObject({ code: 'invalid_request' });
  });

  it('is opened only as it was sealed [verifies tools.mcp.oauth.sealed]', () => {
    const seal = createSeal(Buffer.alloc(32, 1));
    const sealed = seal.seal('text', ['a', 'b']);
    expect(seal.open(sealed, ['a', 'b'])).toBe('text');
    expect(seal.seal('text', ['a', 'b'])).not.toBe(sealed);
    for (const purpose of [['a'], ['ab'], ['b', 'a'], ['a', 'b', '']]) expect(seal.open(sealed, purpose)).toBeNull();
    const bytes = Buffer.from(sealed, 'base64url');
    for (let at = 0; at < bytes.length; at++) {
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] ?? 0) ^ 1;
      expect(seal.open(changed.toString('base64url'), ['a', 'b'])).toBeNull();
      expect(seal.open(bytes.subarray(0, at).toString('base64url'), ['a', 'b'])).toBeNull();
    }
  });
});

describe('this server, which asks by itself', () => {
  const secrets = () => [{ name: 'APP', value: 's3cr3t-of-the-app', hosts: ['127.0.0.1'], tenants: [tenant] }];
  const own = (more = {}) => ({ clientId: 'app', clientSecret: { secret: 'APP' }, issuer: guarded.as.url, ...more });

  it('is given a token for its secret, once for all calls, and another one when it ends [verifies tools.mcp.oauth.own]', async () => {
    const store = createRows();
    servers = startServers({ store, secrets: secrets() });
    expect(await addGuarded(guarded, servers, own())).toMatchObject({ state: 'ready', login: { state: 'active' } });
    expect(said(await call())).toBe('called echo {"text":"hi"}');
    await call();
    expect(guarded.as.tokenRequests).toHaveLength(1);
    const [{ body, headers } = { body: {}, headers: {} }] = guarded.as.tokenRequests;
    expect(body).toEqual({ grant_type: 'client_credentials', scope: 'read', resource: guarded.mcp.url });
    expect(headers).toMatchObject({ authorization: `Basic ${Buffer.from('app:s3cr3t-of-the-app').toString('base64')}` });
    const of = startServers({ store, secrets: secrets(), clock: later(hour) });
    expect(said(await call('docs_echo', of))).toBe('called echo {"text":"hi"}');
    expect(guarded.as.tokenRequests).toHaveLength(2);
    await of.close();
  });

  it('asks policy for the secret, and for where it goes, before a call [verifies tools.mcp.oauth.own]', async () => {
    servers = startServers({ secrets: secrets() });
    await addGuarded(guarded, servers, own());
    const asked: unknown[] = [];
    const refuse: Reader['authorize'] = async ({ action, resource, context }) => {
      asked.push([action, resource, context?.host]);
      return action === 'secret.use' ? { allowed: false, error: { code: 'policy_denied', message: 'not this secret' } } : { allowed: true };
    };
    guarded.brought.length = 0;
    expect(said(await call('docs_echo', servers, { authorize: refuse }))).toBe('policy_denied: not this secret');
    expect(asked).toContainEqual(['secret.use', 'APP', '127.0.0.1']);
    expect(guarded.brought).toEqual([]);
  });

  it.each([
    ['of another tenant', { tenants: ['another'] }],
    ['for another host', { hosts: ['example.com'] }],
  ])('is refused a secret %s [verifies tools.mcp.oauth.own]', async (_what, other) => {
    servers = startServers({ secrets: secrets().map((secret) => ({ ...secret, ...other })) });
    await expect(addGuarded(guarded, servers, own())).rejects.toThrow(/no secret "APP" for 127\.0\.0\.1/);
    expect(servers.rows.size).toBe(0);
  });

  it('shows its secret to no other issuer than its own, whatever the server names [verifies tools.mcp.oauth.own]', async () => {
    servers = startServers({ secrets: secrets() });
    const added = await addGuarded(guarded, servers, own({ issuer: 'http://127.0.0.1:1' }));
    expect(added.fault).toMatch(/another authorization server than the one/);
    expect(guarded.as.tokenRequests).toEqual([]);
  });

  it('shows its secret to no endpoint on another host [verifies tools.mcp.oauth.own]', async () => {
    guarded.as.metadata = { ...guarded.as.metadata, token_endpoint: `http://localhost:${guarded.as.port}/token` };
    servers = startServers({ secrets: secrets(), allowPrivate: () => true });
    expect((await addGuarded(guarded, servers, own())).fault).toMatch(/may not go to localhost/);
    expect(guarded.as.tokenRequests).toEqual([]);
  });

  it('says what to do where a call needs more [verifies tools.mcp.oauth.own]', async () => {
    servers = startServers({ secrets: secrets() });
    await addGuarded(guarded, servers, own());
    guarded.needed = ['write'];
    expect(said(await call())).toMatch(/^tool_failed: .*"write".*auth\.scopes/);
    expect(guarded.as.tokenRequests).toHaveLength(1);
  });

  it('is no person: nobody logs in [verifies tools.mcp.oauth.own]', async () => {
    servers = startServers({ secrets: secrets() });
    await addGuarded(guarded, servers, own());
    await expect(begin(servers)).rejects.toThrow(/nobody logs in/);
  });
});

describe('what a server says of its token', () => {
  it('is in no result, list or error [verifies tools.mcp.oauth.hidden]', async () => {
    guarded.mcp.tools = [toolOf('echo'), toolOf('whoami')];
    servers = await startLoggedIn(guarded);
    const [token = ''] = [...guarded.as.access.keys()];
    expect(said(await call('docs_whoami'))).toBe('you are [redacted]');
    guarded.mcp.tools = [toolOf('echo', { description: `for ${token}` })];
    const seen = await servers.administration.inspect(tenant, 'docs', never);
    const before = guarded.mcp.answer;
    guarded.mcp.answer = (message, response, request) => {
      if (message.method !== 'tools/call') return before(message, response, request);
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ jsonrpc: '2.0', id: message.id, error: { code: -32_000, message: `no ${token.slice(0, 30)}` } }));
      return true;
    };
    await servers.administration.approve(tenant, 'docs', {}, never);
    const failed = await call('docs_echo');
    expect(failed.type).toBe('failed');
    const shown = JSON.stringify([
      seen,
      failed,
      await servers.service.list(tenant),
      servers.notices,
      servers.leftOut,
      await servers.administration.list(tenant, { limit: 9 }),
    ]);
    expect(shown).not.toContain(token);
    expect(shown).not.toContain(token.slice(10, 28));
  });
});
