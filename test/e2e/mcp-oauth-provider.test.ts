import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import Provider from 'oidc-provider';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { systemClock } from '../../packages/server/src/core/index.ts';
import {
  callbackHost,
  createRows,
  definitionOf,
  type FakeMcpServer,
  never,
  oauth,
  openLogin,
  startFakeMcpServer,
  startServers,
  type TestServers,
  tenant,
} from '../../packages/server/src/tools/sources/testing/index.ts';
import { makeToolCall, readCall, said } from '../../packages/server/src/tools/testing/index.ts';

/** A provider that others run: strict on PKCE, resources, redirects and clients, with refresh tokens that rotate. */
let mcp: FakeMcpServer;
let provider: Provider;
let listener: Server;
let issuer: string;
let servers: TestServers;
const store = () => rows;
let rows = createRows();

beforeEach(async () => {
  rows = createRows();
  mcp = await startFakeMcpServer();
  listener = createServer((request, response) => {
    if (request.url === '/.well-known/oauth-authorization-server') request.url = '/.well-known/openid-configuration';
    provider.callback()(request, response);
  });
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  issuer = `http://127.0.0.1:${(listener.address() as AddressInfo).port}`; // it listens on a port
  provider = new Provider(issuer, {
    clients: [
      {
        ...{ client_id: 'app', client_secret: 'the-secret-of-the-app', grant_types: ['client_credentials'] },
        ...{ redirect_uris: [], response_types: [], token_endpoint_auth_method: 'client_secret_basic', scope: 'read' },
      },
    ],
    scopes: ['openid', 'offline_access', 'read'],
    rotateRefreshToken: true,
    issueRefreshToken: async () => true,
    ttl: { AccessToken: 120, ClientCredentials: 120, RefreshToken: 3_600, Grant: 3_600, Session: 3_600, Interaction: 600 },
    findAccount: async (_context, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      registration: { enabled: true },
      revocation: { enabled: true },
      introspection: { enabled: false },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: async (_context, resource) => {
          if (resource !== mcp.url) throw new Error('unknown resource');
          return { scope: 'read', audience: resource, accessTokenFormat: 'opaque' };
        },
        useGrantedResource: async () => true,
      },
    },
    interactions: { url: (_context, { uid }) => `/interaction/${uid}` },
  });
  provider.use(answerInteractions);
  const metadata = JSON.stringify({ resource: mcp.url, authorization_servers: [issuer], scopes_supported: ['read'] });
  mcp.documents.set('/.well-known/oauth-protected-resource/mcp', (response) => {
    response.writeHead(200, { 'content-type': 'application/json' }).end(metadata);
  });
  mcp.answer = (_message, response, request) => {
    const token = request.headers.authorization?.replace(/^Bearer /, '') ?? '';
    if (known.has(token)) return false;
    const url = `http://127.0.0.1:${mcp.port}/.well-known/oauth-protected-resource/mcp`;
    response.writeHead(401, { 'www-authenticate': `Bearer resource_metadata="${url}"` }).end();
    return true;
  };
  known.clear();
  provider.on('grant.success', (context) => known.add((context.body as { access_token: string }).access_token));
});

/** Access tokens that were issued. */
const known = new Set<string>();

afterEach(async () => {
  await servers.close();
  await mcp.close();
  listener.closeAllConnections();
  await new Promise((resolve) => listener.close(resolve));
});

/** The person agrees to all that is asked. */
async function answerInteractions(context: Parameters<Parameters<Provider['use']>[0]>[0], next: () => Promise<unknown>): Promise<void> {
  if (!context.path.startsWith('/interaction/')) return void (await next());
  const { prompt, params, session } = await provider.interactionDetails(context.req, context.res);
  if (prompt.name === 'login')
    return provider.interactionFinished(context.req, context.res, { login: { accountId: 'alice' } }, { mergeWithLastSubmission: false });
  const grant = new provider.Grant({ accountId: session?.accountId ?? 'alice', clientId: String(params.client_id) });
  grant.addOIDCScope('openid offline_access read');
  grant.addResourceScope(mcp.url, 'read');
  return provider.interactionFinished(
    context.req,
    context.res,
    { consent: { grantId: await grant.save() } },
    { mergeWithLastSubmission: true },
  );
}

/** A browser with cookies, up to where it would leave for us. */
async function browseTo(address: string): Promise<URL> {
  const cookies = new Map<string, string>();
  let at = new URL(address);
  for (let hops = 0; hops < 15; hops++) {
    const answer = await fetch(at, {
      redirect: 'manual',
      headers: { cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join('; ') },
    });
    for (const cookie of answer.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(cookie) ?? [];
      cookies.set(name, value);
    }
    const location = answer.headers.get('location');
    if (location === null) throw new Error(`HTTP ${answer.status} at ${at.pathname}: ${(await answer.text()).slice(0, 500)}`);
    at = new URL(location, at);
    if (at.host === callbackHost) return at;
  }
  throw new Error('the browser is sent around without end');
}

const call = (of: TestServers) => readCall(of.service, makeToolCall({ toolName: 'docs_echo', input: { text: 'hi' } }));
const later = (ms: number) => ({ ...systemClock, now: () => systemClock.now() + ms });

it('a provider of others takes our registration, login, renewal and goodbye [verifies tools.mcp.oauth.login] [verifies tools.mcp.oauth.refresh]', async () => {
  servers = startServers({ store: store() });
  const { logins } = servers.administration;
  await servers.administration.put(tenant, 'docs', definitionOf(mcp.url, oauth()), never);
  const { address, cookies } = await openLogin(logins.open, await logins.begin(tenant, 'docs', { by: 'key_1', host: callbackHost }, never));
  const back = (await browseTo(address)).searchParams;
  const get = (name: string) => back.get(name) ?? undefined;
  const answer = { state: get('state') ?? '', code: get('code'), issuer: get('iss'), error: get('error') };
  await expect(logins.finish({ ...answer, cookies: undefined })).rejects.toThrow(/not begun in this browser/);
  expect(await logins.finish({ ...answer, cookies })).toEqual({ server: 'docs' });
  await servers.administration.approve(tenant, 'docs', {}, never);
  expect(said(await call(servers))).toBe('called echo {"text":"hi"}');
  for (const ms of [100_000, 200_000, 300_000]) {
    const issued = known.size;
    const of = startServers({ store: store(), clock: later(ms) });
    expect(said(await call(of))).toBe('called echo {"text":"hi"}');
    expect(known.size).toBe(issued + 1); // the refresh token of the last time was spent
    await of.close();
  }
  await logins.end(tenant, 'docs');
  expect(await logins.state(tenant, 'docs')).toMatchObject({ state: 'needed' });
});

it('a provider of others gives a token for our secret [verifies tools.mcp.oauth.own]', async () => {
  const secrets = [{ name: 'APP', value: 'the-secret-of-the-app', hosts: ['127.0.0.1'], tenants: [tenant] }];
  servers = startServers({ store: store(), secrets });
  const auth = oauth({ clientId: 'app', clientSecret: { secret: 'APP' }, issuer });
  expect(await servers.administration.put(tenant, 'docs', definitionOf(mcp.url, auth), never)).toMatchObject({ state: 'ready' });
  expect(said(await call(servers))).toBe('called echo {"text":"hi"}');
});
