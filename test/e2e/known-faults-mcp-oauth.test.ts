import type { ServerResponse } from 'node:http';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { systemClock } from '../../packages/server/src/core/index.ts';
import {
  browse,
  createRows,
  definitionOf,
  type Guarded,
  never,
  oauth,
  openLogin,
  startGuarded,
  startServers,
  type TestServers,
  tenant,
} from '../../packages/server/src/tools/sources/testing/index.ts';
import { makeToolCall, readCall, said } from '../../packages/server/src/tools/testing/index.ts';

/** Faults that other clients were found to have, each tried on ours: servers that are met in the world, as they are. */
let guarded: Guarded;
let store: ReturnType<typeof createRows>;
let servers: TestServers;
const opened: TestServers[] = [];

beforeEach(async () => {
  guarded = await startGuarded();
  store = createRows();
  servers = open();
});

afterEach(async () => {
  for (const each of opened.splice(0)) await each.close();
  await guarded.close();
});

const hour = 3_600_000;
function open(options: Parameters<typeof startServers>[0] = {}, aheadMs = 0): TestServers {
  const clock = { ...systemClock, now: () => systemClock.now() + aheadMs };
  const of = startServers({ store, clock, ...options });
  opened.push(of);
  return of;
}

const json = (response: ServerResponse, status: number, body: unknown) =>
  void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
const html = (response: ServerResponse, status = 200) =>
  void response.writeHead(status, { 'content-type': 'text/html' }).end('<!doctype html><p>Welcome</p>');
const call = (of = servers) => readCall(of.service, makeToolCall({ toolName: 'docs_echo', input: { text: 'hi' } }));
const works = 'called echo {"text":"hi"}';
const add = (auth = {}, of = servers) => of.administration.put(tenant, 'docs', definitionOf(guarded.mcp.url, oauth(auth)), never);

/** Begins it, and gives where the browser is sent. */
async function begin(of = servers, host = '127.0.0.1:8080') {
  const { logins } = of.administration;
  return (await openLogin(logins.open, await logins.begin(tenant, 'docs', { by: 'key_1', host }, never))).address;
}

async function login(of = servers, host?: string): Promise<URLSearchParams> {
  const address = await begin(of, host);
  await of.administration.logins.finish(await browse(address));
  return new URL(address).searchParams;
}

async function loggedIn(auth = {}): Promise<void> {
  await add(auth);
  await login();
  await servers.administration.approve(tenant, 'docs', {}, never);
}

/** What is answered at these addresses of the authorization server. */
function at(answers: Readonly<Record<string, (response: ServerResponse) => void>>): void {
  guarded.as.answer = (path, response) => {
    answers[path]?.(response);
    return path in answers;
  };
}

const renewals = () => guarded.as.tokenRequests.filter(({ body }) => body.grant_type === 'refresh_token').length;

describe('a challenge', () => {
  it.each([
    ['of several in one header, not the first', 'Basic realm="a, b", Bearer resource_metadata="URL", scope="special"'],
    ['beside one that is one long word', 'Negotiate oRQwEgYDVR0=, Bearer resource_metadata="URL", scope="special"'],
    ['with blanks around its signs', 'Bearer  resource_metadata = "URL" ,  scope = "special"'],
    ['in other letters', 'BEARER Resource_Metadata="URL", SCOPE="special"'],
    [
      'with words that look like its own in a text',
      'Bearer error_description="say scope=wrong, or \\"scope=bad\\"", resource_metadata="URL", scope="special"',
    ],
    [
      'with words that end like its own',
      'Bearer x_scope="wrong", old_resource_metadata="http://127.0.0.1:1/", resource_metadata="URL", scope="special"',
    ],
    ['in single quotes', "Bearer resource_metadata='URL', scope='special'"],
    ['in none', 'Bearer resource_metadata=URL, scope=special'],
  ])('%s is understood [verifies tools.mcp.oauth.login]', async (_what, header) => {
    const elsewhere = '/about/this';
    guarded.mcp.documents.set(elsewhere, (response) => json(response, 200, guarded.resource));
    guarded.mcp.documents.delete('/.well-known/oauth-protected-resource/mcp');
    guarded.mcp.answer = (_message, response) => {
      response.writeHead(401, { 'www-authenticate': header.replace('URL', `http://127.0.0.1:${guarded.mcp.port}${elsewhere}`) }).end();
      return true;
    };
    await add();
    expect(new URL(await begin()).searchParams.get('scope')).toBe('special');
  });

  it.each([
    ['/mcp', ''],
    ['', '/mcp'],
  ])(
    'that names two documents names none: the one that every client looks for is taken (%j, %j) [verifies tools.mcp.oauth.login]',
    async (one, other) => {
      const own = `http://127.0.0.1:${guarded.mcp.port}/.well-known/oauth-protected-resource`;
      const challenge = `Bearer resource_metadata="${own}${one}", error="invalid_token", resource_metadata="${own}${other}"`;
      guarded.mcp.answer = (_message, response) => {
        response.writeHead(401, { 'www-authenticate': challenge }).end();
        return true;
      };
      await add();
      expect(new URL(await begin()).origin).toBe(guarded.as.url);
    },
  );
});

describe('documents', () => {
  const places = [
    '/.well-known/oauth-authorization-server/tenant',
    '/.well-known/openid-configuration/tenant',
    '/tenant/.well-known/openid-configuration',
  ];
  const withPath = (suffix = '') => {
    guarded.as.metadata = { ...guarded.as.metadata, issuer: `${guarded.as.url}/tenant` };
    guarded.resource = { ...guarded.resource, authorization_servers: [`${guarded.as.url}/tenant${suffix}`] };
  };
  const openid = () => ({
    ...guarded.as.metadata,
    jwks_uri: `${guarded.as.url}/jwks`,
    subject_types_supported: ['public'],
    id_token_signing_alg_values_supported: ['RS256'],
  });
  const root = '/.well-known/oauth-authorization-server';

  it.each<[string, () => void]>([
    ...places.map((place, index): [string, () => void] => [
      `of an issuer with a path, at the place ${index + 1} of 3`,
      () => {
        withPath();
        at({
          ...Object.fromEntries(places.slice(0, index).map((each) => [each, (response: ServerResponse) => json(response, 403, {})])),
          [place]: (response) => json(response, 200, openid()),
        });
      },
    ]),
    [
      'behind a page that is answered at every address',
      () => {
        withPath();
        at({ [places[0] ?? '']: html, [places[1] ?? '']: html, [places[2] ?? '']: (response) => json(response, 200, openid()) });
      },
    ],
    [
      'of an issuer that ends with a slash in its own document only',
      () => void Object.assign(guarded.as.metadata, { issuer: `${guarded.as.url}/` }),
    ],
    [
      'of an issuer that ends with a slash elsewhere only',
      () => void Object.assign(guarded.resource, { authorization_servers: [`${guarded.as.url}/`] }),
    ],
    [
      'of an issuer with a path, that ends with a slash elsewhere only',
      () => {
        withPath('/');
        at({ [places[0] ?? '']: (response) => json(response, 200, guarded.as.metadata) });
      },
    ],
    [
      'with members that are null or empty',
      () =>
        at({
          [root]: (response) =>
            json(response, 200, { ...guarded.as.metadata, scopes_supported: null, service_documentation: '', op_policy_uri: null }),
        }),
    ],
    [
      'of a server that keeps its own at the root, and refuses the other place',
      () => {
        guarded.mcp.documents.set('/.well-known/oauth-protected-resource/mcp', (response) => json(response, 401, {}));
        guarded.mcp.documents.set('/.well-known/oauth-protected-resource', (response) => json(response, 200, guarded.resource));
        guarded.mcp.answer = (_message, response, request) => {
          if (guarded.as.access.has(request.headers.authorization?.slice(7) ?? '')) return false;
          response.writeHead(401).end();
          return true;
        };
      },
    ],
  ])('%s are found [verifies tools.mcp.oauth.login]', async (_what, arrange) => {
    arrange();
    await loggedIn();
    expect(said(await call())).toBe(works);
  });

  it('of an issuer that differs in more than a slash are of another one [verifies tools.mcp.oauth.hostile]', async () => {
    guarded.as.metadata = { ...guarded.as.metadata, issuer: `${guarded.as.url}//` };
    await add();
    await expect(begin()).rejects.toThrow(/another issuer/);
  });
});

describe('a registration', () => {
  it.each([
    [['none'], 'none'],
    [['client_secret_post', 'private_key_jwt'], 'client_secret_post'],
    [['client_secret_post', 'client_secret_basic'], undefined],
    [undefined, undefined],
  ])('at a server that takes %j asks for %s [verifies tools.mcp.oauth.login]', async (methods, asked) => {
    guarded.as.metadata = { ...guarded.as.metadata, token_endpoint_auth_methods_supported: methods };
    await loggedIn();
    expect(guarded.as.registrations[0]?.token_endpoint_auth_method).toBe(asked);
  });

  it.each<[string, () => Promise<unknown>]>([
    ['at an address that this server had before', () => login(servers, '127.0.0.1:8081')],
    ['with which nobody came back the last time', () => begin().then(() => login())],
    [
      'that the token endpoint does not know any more, when a token is renewed',
      async () => {
        at({ '/token': (response) => json(response, 401, { error: 'invalid_client' }) });
        expect(await call(open({}, hour))).toMatchObject({ error: { code: 'login_required' } });
        at({});
        await login();
      },
    ],
    [
      'that the token endpoint does not know any more, when a person comes back',
      async () => {
        at({ '/token': (response) => json(response, 400, { error: 'unauthorized_client' }) });
        await expect(login()).rejects.toThrow(/unauthorized_client/);
        at({});
        await login();
      },
    ],
    [
      'of another authorization server',
      async () => {
        guarded.as.metadata = { ...guarded.as.metadata, issuer: `${guarded.as.url}/moved` };
        guarded.resource = { ...guarded.resource, authorization_servers: [`${guarded.as.url}/moved`] };
        at({ '/.well-known/oauth-authorization-server/moved': (response) => json(response, 200, guarded.as.metadata) });
        await login();
      },
    ],
  ])('%s is made anew [verifies tools.mcp.oauth.login]', async (_what, again) => {
    await loggedIn();
    await again();
    expect(guarded.as.registrations).toHaveLength(2);
    expect(said(await call())).toBe(works);
  });

  it('whose secret has an end is made anew after it [verifies tools.mcp.oauth.login]', async () => {
    const end = Math.floor(Date.now() / 1_000) + 1_800;
    at({
      '/register': (response) =>
        json(response, 201, {
          client_id: 'x',
          client_secret: 's',
          client_secret_expires_at: end,
          redirect_uris: ['http://127.0.0.1:8080/v1/mcp-logins/callback'],
        }),
    });
    await loggedIn();
    await login();
    at({});
    expect(guarded.as.heard.filter((path) => path === '/register')).toHaveLength(1);
    await login(open({}, hour));
    expect(guarded.as.registrations).toHaveLength(1);
  });
});

describe('a renewal', () => {
  it.each<[string, Record<string, unknown>]>([
    ['a time that is a text', { expires_in: '3600' }],
    ['a time that is no number', { expires_in: 'soon' }],
    ['a time that is null', { expires_in: null }],
    ['a refresh token that is null', { refresh_token: null }],
    ['a refresh token that is empty', { refresh_token: '' }],
    ['scopes that are null', { scope: null }],
    ['a type in capitals', { token_type: 'BEARER' }],
  ])('that is answered with %s is one [verifies tools.mcp.oauth.refresh]', async (_what, answer) => {
    await loggedIn();
    guarded.as.tokenAnswer = answer;
    expect(said(await call(open({}, hour)))).toBe(works);
    expect(renewals()).toBe(1);
  });

  it.each<[string, (response: ServerResponse) => void, boolean]>([
    [
      '400 with another word',
      (response) => json(response, 400, { error: 'invalid_request', error_description: 'refresh_token is invalid' }),
      true,
    ],
    ['401 with a page', (response) => html(response, 401), true],
    ['400 with nothing', (response) => void response.writeHead(400).end(), true],
    ['200 with an error', (response) => json(response, 200, { error: 'bad_refresh_token' }), true],
    ['400 that passes', (response) => json(response, 400, { error: 'temporarily_unavailable' }), false],
    ['404, as if it had moved', (response) => void response.writeHead(404).end(), false],
    ['429', (response) => json(response, 429, {}), false],
    ['502 with a page', (response) => html(response, 502), false],
    ['a redirect', (response) => void response.writeHead(307, { location: `${guarded.as.url}/elsewhere` }).end(), false],
  ])('that is answered with %s says how to log in, and costs no login [verifies tools.mcp.oauth.refresh]', async (_what, answer, isNo) => {
    await loggedIn();
    at({ '/token': answer });
    const of = open({}, hour);
    const message = expect.stringMatching(/nexus mcp login docs/);
    expect(await call(of)).toMatchObject({ error: { code: isNo ? 'login_required' : 'tool_failed', message } });
    expect(guarded.as.heard).not.toContain('/elsewhere');
    at({});
    expect(said(await call(open({}, hour)))).toBe(works);
  });

  it('keeps what a call was refused for until somebody logs in [verifies tools.mcp.oauth.login]', async () => {
    await loggedIn();
    guarded.needed = ['write'];
    expect(await call()).toMatchObject({ error: { code: 'login_required', details: { scopes: 'read write' } } });
    guarded.needed = [];
    await call(open({}, hour));
    expect(renewals()).toBe(1);
    expect(new URL(await begin()).searchParams.get('scope')?.split(' ').sort()).toEqual(['read', 'write']);
  });

  it('is kept although a call is refused for what it does not permit meanwhile [verifies tools.mcp.oauth.refresh]', async () => {
    await loggedIn();
    guarded.as.tokenDelayMs = 700;
    const renewing = call(open({}, hour));
    await vi.waitFor(() => expect(renewals()).toBe(1));
    guarded.needed = ['write'];
    expect(await call()).toMatchObject({ error: { code: 'login_required' } }); // the token of before still counts
    guarded.needed = [];
    await renewing;
    expect(said(await call(open({}, 2 * hour)))).toBe(works); // by the refresh token that came meanwhile
  });

  it('is made of a token that a process with a clock ahead has got [verifies tools.mcp.oauth.refresh]', async () => {
    servers = open({}, hour);
    await loggedIn();
    guarded.as.access.clear();
    expect(said(await call(open()))).toBe(works);
  });
});

describe('a call that is refused', () => {
  function refuseCalls(status: number, challenge: string): void {
    const { answer } = guarded.mcp;
    guarded.mcp.answer = (message, response, request) => {
      if (message.method !== 'tools/call') return answer(message, response, request);
      response.writeHead(status, { 'www-authenticate': challenge }).end();
      return true;
    };
  }

  it('with 401 for what its token does not permit asks for a login that does [verifies tools.mcp.oauth.login]', async () => {
    await loggedIn();
    refuseCalls(401, 'Bearer error="insufficient_scope", scope="write"');
    expect(await call()).toMatchObject({ error: { code: 'login_required', details: { scopes: 'read write' } } });
    expect(renewals()).toBe(0);
  });

  it('for what its token does permit asks nobody to log in again and again [verifies tools.mcp.oauth.hostile]', async () => {
    await loggedIn();
    refuseCalls(403, 'Bearer error="insufficient_scope", scope="read"');
    expect(await call()).toMatchObject({
      error: { code: 'tool_failed', message: expect.stringMatching(/another login would not change that/) },
    });
  });
});

describe('a secret', () => {
  const value = 'a+b/c:d%25 e=f&ä';
  const form = (text: string) => decodeURIComponent(text.replaceAll('+', ' '));

  it.each<[string, object]>([
    ['without a person', {}],
    ['with one', { grant: 'authorization_code' }],
  ])('of any characters is shown as it is, %s [verifies tools.mcp.oauth.own]', async (_what, grant) => {
    guarded.as.metadata = { ...guarded.as.metadata, token_endpoint_auth_methods_supported: ['client_secret_basic'] };
    servers = open({ secrets: [{ name: 'APP', value, hosts: ['127.0.0.1'], tenants: [tenant] }] });
    await add({ clientId: 'https://app/id', clientSecret: { secret: 'APP' }, issuer: guarded.as.url, ...grant });
    if ('grant' in grant) await login();
    const [scheme, pair = ''] = guarded.as.tokenRequests[0]?.headers.authorization?.split(' ') ?? [];
    expect([scheme, ...Buffer.from(pair, 'base64').toString().split(':').map(form)]).toEqual(['Basic', 'https://app/id', value]);
  });
});
