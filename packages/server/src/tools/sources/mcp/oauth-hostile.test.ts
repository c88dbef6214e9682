import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '#core';
import { makeToolCall, readCall, said } from '../../testing/index.ts';
import { addGuarded, begin, browse, type Guarded, login, startGuarded, startLoggedIn } from './guarded-server.testkit.ts';
import { json } from './oauth-server.testkit.ts';
import { createRows, startServers, type TestServers, tenant } from './servers.testkit.ts';

let guarded: Guarded;
let servers: TestServers;

beforeEach(async () => {
  guarded = await startGuarded();
  servers = startServers({ connectTimeoutMs: 1_000 });
});

afterEach(async () => {
  await servers.close();
  await guarded.close();
});

const call = (of = servers) => readCall(of.service, makeToolCall({ toolName: 'docs_echo', input: { text: 'hi' } }));
const finish = (answer: Parameters<TestServers['administration']['logins']['finish']>[0]) => servers.administration.logins.finish(answer);
const metadata = '/.well-known/oauth-authorization-server';
const hour = 3_600_000;

/** One path of the authorization server, in its own way. */
function at(
  path: string,
  answer: Parameters<Guarded['as']['answer']> extends [string, infer R, infer Q] ? (response: R, request: Q) => void : never,
) {
  guarded.as.answer = (asked, response, request) => {
    if (asked !== path) return false;
    answer(response, request);
    return true;
  };
}

const says = (more: Record<string, unknown>) => () => void Object.assign(guarded.as.metadata, more);

describe('an authorization server', () => {
  it.each<[string, () => void, RegExp]>([
    ['never answers', () => at(metadata, () => undefined), /did not answer within 1000 ms/],
    [
      'floods',
      () => at(metadata, (response) => void response.writeHead(200).end(`{"a":"${'x'.repeat(2_000_000)}"}`)),
      /more than 262144 bytes/,
    ],
    ['nests too deep', () => at(metadata, (response) => void response.writeHead(200).end('['.repeat(100_000))), /nests deeper/],
    [
      'redirects to the address of metadata',
      () => at(metadata, (r) => void r.writeHead(302, { location: 'http://169.254.169.254/' }).end()),
      /redirect/,
    ],
    ['redirects to itself', () => at(metadata, (r) => void r.writeHead(307, { location: metadata }).end()), /redirect/],
    ['breaks off', () => at(metadata, (response) => void response.socket?.destroy()), /broke off|cannot be reached/],
    ['answers with no JSON', () => at(metadata, (response) => void response.writeHead(200).end('<html>')), /cannot be read/],
    [
      'answers with a stream of events',
      () => at(metadata, (r) => void r.writeHead(200, { 'content-type': 'text/event-stream' }).end('data: {}\n\n')),
      /cannot be read/,
    ],
    ['fails', () => at(metadata, (response) => json(response, 500, {})), /cannot be (read|used)/],
    ['is another issuer', says({ issuer: 'https://other.example.com' }), /another issuer/],
    ['knows no PKCE', () => void delete guarded.as.metadata.code_challenge_methods_supported, /PKCE/],
    ['knows plain PKCE only', says({ code_challenge_methods_supported: ['plain'] }), /PKCE|does not know the flow/],
    ['registers nobody', () => void delete guarded.as.metadata.registration_endpoint, /clientId|cannot be/],
    [
      'refuses to register us',
      () => at('/register', (response) => json(response, 400, { error: 'invalid_redirect_uri' })),
      /does not register us \(HTTP 400\)/,
    ],
    ['registers at a private address', says({ registration_endpoint: 'https://10.0.0.1/register' }), /not public/],
    ['registers in the open', says({ registration_endpoint: 'http://example.com/register' }), /not https/],
    ['wants people at a script', says({ authorization_endpoint: 'javascript:alert(1)' }), /cannot be (read|used)|not https/],
    ['wants people in the open', says({ authorization_endpoint: 'http://example.com/authorize' }), /not https/],
    ['has a password in its address', says({ authorization_endpoint: 'https://u:p@example.com/a' }), /credentials/],
    ['talks without end', says({ scopes_supported: Array.from({ length: 4_000 }, () => 'x'.repeat(60)) }), /more of itself|more than/],
  ])('that %s ends the login with an error that says so [verifies tools.mcp.oauth.hostile]', async (_what, lie, message) => {
    lie();
    await addGuarded(guarded, servers);
    const startedAt = performance.now();
    await expect(begin(servers)).rejects.toThrow(message);
    expect(performance.now() - startedAt).toBeLessThan(4_000);
    expect(guarded.as.heard.length).toBeLessThanOrEqual(20);
    expect(await servers.administration.logins.state(tenant, 'docs')).toMatchObject({ state: 'needed' });
  });

  it.each<[string, Record<string, unknown>, RegExp]>([
    ['of a strange type', { token_type: 'mac' }, /another type than Bearer/],
    ['with a line break', { access_token: 'a\r\nX-Evil: 1' }, /visible characters/],
    ['that is empty', { access_token: '' }, /cannot be read/],
    ['that is endless', { access_token: 'x'.repeat(20_000) }, /visible characters/],
    ['that is no text', { access_token: { a: 1 } }, /cannot be read/],
  ])('that gives a token %s gives none [verifies tools.mcp.oauth.hostile]', async (_what, lie, message) => {
    await addGuarded(guarded, servers);
    guarded.as.tokenAnswer = lie;
    await expect(login(servers)).rejects.toThrow(message);
    expect(await servers.administration.logins.state(tenant, 'docs')).toMatchObject({ state: 'needed' });
  });

  it.each([-1, 0, 'soon', 1e300, null])(
    'that says a token lasts %s s is asked for no token with each call [verifies tools.mcp.oauth.hostile]',
    async (lasts) => {
      await addGuarded(guarded, servers);
      guarded.as.tokenAnswer = { expires_in: lasts };
      await login(servers).catch(() => undefined); // what is no number may as well be refused
      await servers.administration.approve(tenant, 'docs', {}, new AbortController().signal).catch(() => undefined);
      for (let calls = 0; calls < 5; calls++) await call();
      expect(guarded.as.tokenRequests.length).toBe(1);
    },
  );

  it.each([
    ['another issuer', 'https://evil.example.com'],
    ['no issuer, although it says that it names one', undefined],
    ['its issuer with a slash', 'SLASH'],
  ])('whose answer names %s is not believed, and its code goes nowhere [verifies tools.mcp.oauth.hostile]', async (_what, issuer) => {
    await addGuarded(guarded, servers);
    const answer = await browse((await begin(servers)).address);
    const wrong = issuer === 'SLASH' ? `${guarded.as.url}/` : issuer;
    await expect(finish({ ...answer, issuer: wrong })).rejects.toThrow(/another issuer/);
    await expect(finish({ ...answer, code: undefined, issuer: wrong, error: 'access_denied' })).rejects.toThrow();
    expect(guarded.as.tokenRequests).toEqual([]);
  });

  it('that takes long for a token holds up nobody for longer than that may take [verifies tools.mcp.oauth.hostile]', async () => {
    const store = createRows();
    await servers.close();
    servers = await startLoggedIn(guarded, { store, connectTimeoutMs: 1_000 });
    const of = startServers({ store, connectTimeoutMs: 1_000, clock: { ...systemClock, now: () => systemClock.now() + hour } });
    at('/token', () => undefined);
    const startedAt = performance.now();
    const ends = await Promise.all([call(of), call(of)]);
    expect(ends.map(({ type }) => type)).toEqual(['failed', 'failed']);
    expect(performance.now() - startedAt).toBeLessThan(5_000);
    await of.close();
  });

  it('that failed a moment ago is asked again by the next call, which waits for nobody [verifies tools.mcp.oauth.refresh]', async () => {
    const store = createRows();
    await servers.close();
    servers = await startLoggedIn(guarded, { store });
    const later = () => ({ ...systemClock, now: () => systemClock.now() + hour });
    const [one, other] = [startServers({ store, clock: later() }), startServers({ store, clock: later() })];
    at('/token', (response) => json(response, 503, {}));
    expect((await call(one)).type).toBe('failed');
    guarded.as.answer = () => undefined;
    const startedAt = performance.now();
    expect(said(await call(other))).toBe('called echo {"text":"hi"}');
    expect(performance.now() - startedAt).toBeLessThan(3_000);
    await one.close();
    await other.close();
  });

  it('that repeats what it was sent is not repeated by us [verifies tools.mcp.oauth.hostile] [verifies tools.mcp.oauth.hidden]', async () => {
    const store = createRows();
    await servers.close();
    servers = await startLoggedIn(guarded, { store });
    const [token = ''] = [...guarded.as.refresh.keys()];
    at('/token', (response) => json(response, 400, { error: 'invalid_request', error_description: `you sent ${token}` }));
    const of = startServers({ store, clock: { ...systemClock, now: () => systemClock.now() + hour } });
    const end = await call(of);
    expect(end.type).toBe('failed');
    expect(JSON.stringify(end)).not.toContain(token.slice(0, 20));
    await of.close();
  });
});

describe('an MCP server', () => {
  it.each([
    ['another host', 'https://mcp.example.com/mcp'],
    ['another port', 'http://127.0.0.1:1/mcp'],
    ['another path', 'PORT/other'],
  ])('that says it is the resource of %s is given no token [verifies tools.mcp.oauth.hostile]', async (_what, resource) => {
    guarded.resource = { ...guarded.resource, resource: resource.replace('PORT', `http://127.0.0.1:${guarded.mcp.port}`) };
    await addGuarded(guarded, servers);
    await expect(begin(servers)).rejects.toThrow(/resource that is not itself/);
    expect(guarded.as.registrations).toEqual([]);
  });

  it.each([
    ['a private address', 'https://10.0.0.1/'],
    ['the address of metadata', 'http://169.254.169.254/'],
    ['a place in the open', 'http://example.com/'],
    ['a file', 'file:///etc/passwd'],
  ])('that names an authorization server at %s reaches nothing [verifies tools.mcp.oauth.hostile]', async (_what, server) => {
    guarded.resource = { ...guarded.resource, authorization_servers: [server] };
    await addGuarded(guarded, servers);
    await expect(begin(servers)).rejects.toThrow(/not https|not public|cannot be (read|used)/);
    expect(guarded.as.heard).toEqual([]);
  });

  it('whose own document cannot be taken is not taken for one that has none [verifies tools.mcp.oauth.hostile]', async () => {
    const own = `http://127.0.0.1:${guarded.mcp.port}`;
    let asked = 0;
    guarded.mcp.documents.set(metadata, (response) => {
      asked += 1;
      json(response, 200, { ...guarded.as.metadata, issuer: own });
    });
    guarded.mcp.documents.set('/.well-known/oauth-protected-resource/mcp', (response) => {
      response.writeHead(302, { location: 'http://169.254.169.254/' }).end();
    });
    await addGuarded(guarded, servers);
    await expect(begin(servers)).rejects.toThrow(/redirect/);
    expect(asked).toBe(0);
    expect(guarded.as.registrations).toEqual([]);
  });

  it('that refuses each token is asked a bounded number of times, and so is the authorization server [verifies tools.mcp.oauth.hostile]', async () => {
    await servers.close();
    servers = await startLoggedIn(guarded);
    guarded.refusesAll = true;
    guarded.brought.length = 0;
    const tokens = guarded.as.tokenRequests.length;
    for (let calls = 0; calls < 5; calls++) expect(await call()).toMatchObject({ error: { code: 'login_required' } });
    expect(guarded.brought.length).toBeLessThanOrEqual(10);
    expect(guarded.as.tokenRequests.length).toBe(tokens); // it was just made
  });

  it('that refuses each token again and again over time has each renewed once [verifies tools.mcp.oauth.hostile]', async () => {
    const store = createRows();
    await servers.close();
    servers = await startLoggedIn(guarded, { store });
    guarded.refusesAll = true;
    const of = startServers({ store, clock: { ...systemClock, now: () => systemClock.now() + 60_000 } });
    const tokens = guarded.as.tokenRequests.length;
    for (let calls = 0; calls < 5; calls++) expect((await call(of)).type).toBe('failed');
    expect(guarded.as.tokenRequests.length).toBe(tokens + 1);
    await of.close();
  });

  it('that wants more with each login is given what a person permits, in a bounded list [verifies tools.mcp.oauth.hostile]', async () => {
    await servers.close();
    servers = await startLoggedIn(guarded);
    let length = 0;
    for (let logins = 0; logins < 4; logins++) {
      guarded.needed = Array.from({ length: 100 }, (_, index) => `scope-${logins}-${index}`);
      expect(await call()).toMatchObject({ error: { code: 'login_required' } });
      const { address } = await begin(servers);
      length = (new URL(address).searchParams.get('scope') ?? '').length;
      expect(length).toBeLessThanOrEqual(4_100);
    }
    expect(length).toBeGreaterThan(1_000);
    expect(guarded.as.tokenRequests).toHaveLength(1);
  });
});

describe('what went wrong elsewhere', () => {
  const owner = () => [{ name: 'APP', value: 's3cr3t-of-the-app', hosts: ['127.0.0.1'], tenants: [tenant] }];

  it('a second login does not register a second client, and a registration that was withdrawn is made anew [verifies tools.mcp.oauth.login]', async () => {
    await addGuarded(guarded, servers);
    await login(servers);
    await login(servers);
    expect(guarded.as.registrations).toHaveLength(1);
    await servers.administration.logins.end(tenant, 'docs');
    await login(servers);
    expect(guarded.as.registrations).toHaveLength(2);
  });

  it('the resource is sent as it is published, without a slash that nobody wrote [verifies tools.mcp.oauth.login]', async () => {
    const origin = `http://127.0.0.1:${guarded.mcp.port}`;
    guarded.resource = { ...guarded.resource, resource: origin };
    await addGuarded(guarded, servers);
    const { address } = await begin(servers);
    expect(new URL(address).searchParams.get('resource')).toBe(origin);
    await finish(await browse(address));
    expect(guarded.as.tokenRequests[0]?.body.resource).toBe(origin);
  });

  it('an answer without a new refresh token keeps the one there is [verifies tools.mcp.oauth.refresh]', async () => {
    const store = createRows();
    await servers.close();
    servers = await startLoggedIn(guarded, { store });
    let now = systemClock.now() + hour;
    const of = startServers({ store, clock: { ...systemClock, now: () => now } });
    const [token = ''] = [...guarded.as.refresh.keys()];
    for (let renewals = 0; renewals < 2; renewals++) {
      guarded.as.refresh.set(token, 'read');
      guarded.as.tokenAnswer = { refresh_token: undefined };
      expect(said(await call(of))).toBe('called echo {"text":"hi"}');
      now += hour;
    }
    expect(guarded.as.tokenRequests.slice(-2).map(({ body }) => body.refresh_token)).toEqual([token, token]);
    await of.close();
  });

  it('a token without an end is used as long as it is taken [verifies tools.mcp.oauth.refresh]', async () => {
    const store = createRows();
    guarded.as.tokenAnswer = { expires_in: undefined, refresh_token: undefined };
    await servers.close();
    servers = await startLoggedIn(guarded, { store });
    const of = startServers({ store, clock: { ...systemClock, now: () => systemClock.now() + 100 * hour } });
    expect(said(await call(of))).toBe('called echo {"text":"hi"}');
    guarded.as.access.clear();
    expect(await call(of)).toMatchObject({ error: { code: 'login_required' } });
    await of.close();
  });

  it('a short token is not renewed at once [verifies tools.mcp.oauth.refresh]', async () => {
    guarded.as.tokenAnswer = { expires_in: 20 };
    await servers.close();
    servers = await startLoggedIn(guarded);
    expect(said(await call())).toBe('called echo {"text":"hi"}');
    expect(guarded.as.tokenRequests).toHaveLength(1);
  });

  it('a bearer is one in small letters, too [verifies tools.mcp.oauth.login]', async () => {
    guarded.as.tokenAnswer = { token_type: 'bearer' };
    await addGuarded(guarded, servers);
    await login(servers);
    expect(await servers.administration.logins.state(tenant, 'docs')).toMatchObject({ state: 'active' });
  });

  it('a client that asks by itself is not asked to log in when its token ends [verifies tools.mcp.oauth.own]', async () => {
    const store = createRows();
    await servers.close();
    servers = startServers({ store, secrets: owner() });
    guarded.as.tokenAnswer = { expires_in: 60 };
    await addGuarded(guarded, servers, { clientId: 'app', clientSecret: { secret: 'APP' }, issuer: guarded.as.url });
    const of = startServers({ store, secrets: owner(), clock: { ...systemClock, now: () => systemClock.now() + 61_000 } });
    expect(said(await call(of))).toBe('called echo {"text":"hi"}');
    await of.close();
  });

  it('an authorization server that has a page for people where its document should be is shown no secret [verifies tools.mcp.oauth.own]', async () => {
    await servers.close();
    servers = startServers({ secrets: owner() });
    at(metadata, (response) => void response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html>'));
    const { fault } = await addGuarded(guarded, servers, { clientId: 'app', clientSecret: { secret: 'APP' }, issuer: guarded.as.url });
    expect(fault).toMatch(/cannot be read/);
    expect(guarded.as.tokenRequests).toEqual([]);
  });

  it('a server without documents is logged in to at its own address, as servers of earlier revisions have it [verifies tools.mcp.oauth.login]', async () => {
    guarded.mcp.documents.clear();
    const { as, mcp } = guarded;
    const own = `http://127.0.0.1:${mcp.port}`;
    mcp.documents.set(metadata, (response) => json(response, 200, { ...as.metadata, issuer: own }));
    await addGuarded(guarded, servers);
    const answer = await browse((await begin(servers)).address);
    expect(await finish({ ...answer, issuer: own })).toEqual({ server: 'docs' });
  });

  it('a page that looks whether the address is there spends no login [verifies tools.mcp.oauth.login]', async () => {
    await addGuarded(guarded, servers);
    const answer = await browse((await begin(servers)).address);
    await expect(finish({ ...answer, state: answer.state.slice(0, 50) })).rejects.toMatchObject({ code: 'invalid_request' });
    expect(await finish(answer)).toEqual({ server: 'docs' });
  });
});
