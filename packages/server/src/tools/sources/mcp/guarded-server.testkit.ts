import type { ServerResponse } from 'node:http';
import type { McpLogin } from '@nexus-agent/protocol';
import type { LoginOpened, LoginStep } from '#tools/contract';
import { type FakeMcpServer, send, startFakeMcpServer } from './mcp-server.testkit.ts';
import { type FakeAuthorizationServer, json, startFakeAuthorizationServer } from './oauth-server.testkit.ts';
import { definitionOf, startServers, type TestServers, tenant } from './servers.testkit.ts';

export const never = new AbortController().signal;
export const callbackHost = '127.0.0.1:8080';

/** An MCP server behind an authorization server, and servers of ours that know it as `docs`. */
export interface Guarded {
  readonly as: FakeAuthorizationServer;
  readonly mcp: FakeMcpServer;
  /** Scopes that a call needs. */
  needed: string[];
  /** What the server says of itself as a resource. */
  resource: Record<string, unknown>;
  /** Tokens are right, and refused all the same. */
  refusesAll: boolean;
  /** What each request brought. */
  readonly brought: (string | undefined)[];
  close(): Promise<void>;
}

export async function startGuarded(): Promise<Guarded> {
  const [as, mcp] = await Promise.all([startFakeAuthorizationServer(), startFakeMcpServer()]);
  const guarded = {
    ...{ as, mcp, needed: [] as string[], refusesAll: false, brought: [] as (string | undefined)[] },
    resource: { resource: mcp.url, authorization_servers: [as.url], scopes_supported: ['read'] } as Record<string, unknown>,
    close: async () => {
      await Promise.all([as.close(), mcp.close()]);
    },
  };
  const metadataUrl = `http://127.0.0.1:${mcp.port}/.well-known/oauth-protected-resource/mcp`;
  const challenge = (response: ServerResponse, status: number, words: string) => {
    response.writeHead(status, { 'www-authenticate': `Bearer ${words}resource_metadata="${metadataUrl}"` }).end();
    return true;
  };
  mcp.documents.set('/.well-known/oauth-protected-resource/mcp', (response) => json(response, 200, guarded.resource));
  mcp.answer = ({ method, id, params = {} }, response, request) => {
    const token = request.headers.authorization?.replace(/^Bearer /, '');
    guarded.brought.push(token);
    const scope = token === undefined ? undefined : as.access.get(token);
    if (scope === undefined || guarded.refusesAll) return challenge(response, 401, 'scope="read", ');
    const lacks = guarded.needed.filter((each) => !scope.split(' ').includes(each));
    if (method === 'tools/call' && lacks.length > 0)
      return challenge(response, 403, `error="insufficient_scope", scope="${guarded.needed.join(' ')}", `);
    if (method === 'tools/call' && params.name === 'whoami') {
      send(response, id, { content: [{ type: 'text', text: `you are ${token}` }] });
      return true;
    }
    return undefined;
  };
  return guarded;
}

export const oauth = (auth = {}) => ({ auth: { type: 'oauth' as const, ...auth } });

/** What the browser of a person holds, by where it was sent. */
const held = new Map<string, string>();

/** What a browser brings back from the address, without bringing it. */
export async function browse(address: string) {
  const answer = await fetch(address, { redirect: 'manual' });
  const back = new URL(answer.headers.get('location') ?? '', address);
  const get = (name: string) => back.searchParams.get(name) ?? undefined;
  return { back, state: get('state') ?? '', code: get('code'), issuer: get('iss'), error: get('error'), cookies: held.get(address) };
}

type Opens = (step: LoginStep) => Promise<LoginOpened>;

/** The browser of a person opens the page that a login begins with, types the code, and is sent on. */
export async function openLogin(
  open: Opens,
  { address, code }: Pick<McpLogin, 'address' | 'code'>,
): Promise<{ address: string; cookies: string }> {
  const login = new URL(address).searchParams.get('login') ?? '';
  const shown = await open({ login, page: undefined, code: undefined, cookies: undefined });
  const page = (shown.type === 'page' ? /name="page" value="([^"]*)"/.exec(shown.html)?.[1] : undefined) ?? '';
  const jar = (headers: Readonly<Record<string, string>>) => headers['set-cookie']?.split(';')[0] ?? '';
  const sent = await open({ login, page, code, cookies: jar(shown.headers) });
  if (sent.type !== 'sent') throw new Error(`the browser is not sent on: ${sent.html}`);
  held.set(sent.location, jar(sent.headers));
  return { address: sent.location, cookies: jar(sent.headers) };
}

/** The same over HTTP. */
export function openLoginAt(begun: Pick<McpLogin, 'address' | 'code'>): Promise<{ address: string; cookies: string }> {
  const open: Opens = async ({ cookies = '', ...step }) => {
    const url = new URL(begun.address);
    for (const [name, value] of Object.entries(step)) if (value !== undefined) url.searchParams.set(name, value);
    const answer = await fetch(url, { redirect: 'manual', headers: { cookie: cookies } });
    const headers = Object.fromEntries(answer.headers);
    const location = answer.headers.get('location');
    return location === null ? { type: 'page', html: await answer.text(), headers } : { type: 'sent', location, headers };
  };
  return openLogin(open, begun);
}

/** Begun, and opened by who began it. */
export async function begin(servers: TestServers, who = tenant, name = 'docs') {
  const { logins } = servers.administration;
  const begun = await logins.begin(who, name, { by: 'key_1', host: callbackHost }, never);
  return { ...begun, ...(await openLogin(logins.open, begun)) };
}

export async function login(servers: TestServers): Promise<void> {
  const { address } = await begin(servers);
  await servers.administration.logins.finish(await browse(address));
}

export async function addGuarded(guarded: Guarded, servers: TestServers, auth = {}) {
  return servers.administration.put(tenant, 'docs', definitionOf(guarded.mcp.url, oauth(auth)), never);
}

/** Added, logged in and approved. */
export async function startLoggedIn(guarded: Guarded, options: Parameters<typeof startServers>[0] = {}): Promise<TestServers> {
  const servers = startServers(options);
  await addGuarded(guarded, servers);
  await login(servers);
  await servers.administration.approve(tenant, 'docs', {}, never);
  return servers;
}
