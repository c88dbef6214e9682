import type { AuthProvider } from '@modelcontextprotocol/client';
import { type McpLoginState, type McpServerAuth, mcpGrantOf } from '@nexus-agent/protocol';
import { abortError, type Clock, canonicalJson, NexusError, settlesWithin, type Timers, toTimestamp } from '#core';
import type { McpGrantStore } from '#storage';
import type { KeptServer } from './content.ts';
import { type Fetch, Unreached } from './egress-fetch.ts';
import {
  type Challenge,
  type ClientIdentity,
  fetchOwnTokens,
  type Registration,
  refreshTokens,
  revokeToken,
  type Tokens,
} from './oauth-client.ts';
import { createOAuthFetch, type OAuthFetch } from './oauth-fetch.ts';
import { createGrants, type Grant, type GrantKey, type Grants } from './oauth-grants.ts';
import type { Seal } from './oauth-seal.ts';

/** A secret of the operator, and where it may go. */
export interface OAuthSecret {
  readonly value: string;
  readonly hosts: readonly string[];
}

export interface OAuthOptions {
  readonly store: McpGrantStore;
  readonly clock: Clock;
  readonly timers: Timers;
  /** Throws `config_invalid` where there is no key. */
  readonly seal: () => Promise<Seal>;
  /** Throws `invalid_request` for one that the tenant does not have. */
  readonly secretFor: (tenantId: string, name: string) => OAuthSecret;
  /** Goes through our egress: bounded, no redirects. What it opens is closed by `end`. */
  readonly openFetch: () => { readonly fetch: Fetch; end(): Promise<void> };
  readonly allowPrivate: ((hostname: string, port: number) => boolean) | undefined;
  /** Of one conversation with an authorization server. */
  readonly timeoutMs: number;
}

type Server = Pick<KeptServer, 'tenantId' | 'name' | 'definition'>;

/** Tokens for MCP servers: kept, renewed, and shown to nobody but the server that they are for. */
export interface OAuth {
  readonly grants: Grants;
  /** Throws `config_invalid` where there is nothing to seal tokens with. */
  requireKey(): Promise<void>;
  /** Throws `invalid_request` for an `auth` that could never work. */
  check(server: Pick<Server, 'tenantId' | 'definition'>): void;
  /** What the transport asks for a token. Undefined for a server without `auth`. Tells each token that the server is shown. */
  providerFor(server: Server, onShown: (token: string) => void): AuthProvider | undefined;
  /** Hears that a request was refused for what the token does not permit. */
  watch(server: Server, fetch: Fetch): Fetch;
  stateOf(server: Server): Promise<McpLoginState | undefined>;
  /** Forgets what the server has granted, and tells the authorization server if that can be told at once. */
  forget(server: Server): Promise<void>;
  /** A conversation with an authorization server, which ends in time. */
  talk<Result>(
    server: Server,
    work: (
      talk: { serverUrl: string; http: OAuthFetch; allowPrivate: OAuthOptions['allowPrivate'] },
      identity: ClientIdentity,
    ) => Promise<Result>,
  ): Promise<Result>;
  keyOf(server: Server): GrantKey;
  grantOf(server: Server, made: Registration, tokens: Tokens, since: number): Grant;
  close(): Promise<void>;
}

/** So long before its end a token is not used any more. */
const earlyMs = 30_000;
/** One that is refused younger than that is not asked for again: another one would be refused as well. */
const freshMs = 10_000;
const maxScopeChars = 2_000;
const maxCloseMs = 5_000;

export function createOAuth(options: OAuthOptions): OAuth {
  const { clock, timers, secretFor, allowPrivate, timeoutMs } = options;
  const grants = createGrants({ ...options, holdMs: 2 * timeoutMs });
  const renewing = new Map<string, Promise<Grant>>();

  const talk: OAuth['talk'] = async (server, work) => {
    const { tenantId, name } = server;
    const { auth, url } = partsOf(server);
    const secret = auth.clientSecret ?? auth.privateKey;
    const found = secret === undefined ? undefined : secretFor(tenantId, secret.secret);
    const late = new AbortController();
    const cancel = timers.after(timeoutMs, () =>
      late.abort(
        new NexusError('tool_failed', `the authorization server of the MCP server ${name} did not answer within ${timeoutMs} ms`, {
          details: { reason: 'connection' },
          retryable: true,
        }),
      ),
    );
    const { fetch, end } = options.openFetch();
    try {
      const http = createOAuthFetch({ fetch, allowPrivate, signal: late.signal, secretHosts: found?.hosts ?? null });
      const talking = work(
        { serverUrl: url, http, allowPrivate },
        {
          ...{ clientId: auth.clientId, issuer: auth.issuer },
          clientSecret: auth.clientSecret === undefined ? undefined : found?.value,
          privateKey: auth.privateKey === undefined ? undefined : { pem: found?.value ?? '', algorithm: auth.algorithm ?? 'RS256' },
        },
      );
      return await orAborted(talking, late.signal);
    } finally {
      cancel();
      await end();
    }
  };

  const grantOf: OAuth['grantOf'] = (server, { discovery, client, resource }, tokens, since) => {
    const { accessToken, refreshToken, scope, lifetimeMs } = tokens;
    const now = clock.now();
    return {
      ...{ place: keyOf(server).place, since, discovery, client, resource, wantedScope: null },
      tokens: { accessToken, refreshToken, scope, obtainedAt: now, expiresAt: lifetimeMs === null ? null : now + lifetimeMs },
    };
  };

  /** One at a time for each server, whoever wants it; and it goes on when they leave: a token that was renewed must be kept. */
  function renewed(server: Server, unfit: string | null, challenge: Challenge): Promise<Grant> {
    const key = keyOf(server);
    const id = JSON.stringify([key.tenantId, key.name, key.place]);
    const running = renewing.get(id);
    if (running !== undefined) return running;
    const isNew = (grant: Grant | null) => grant?.tokens != null && grant.tokens.accessToken !== unfit && !isOver(grant);
    const work = (grant: Grant | null) =>
      isOwn(server) ? ownGrant(server, challenge) : grant === null ? Promise.reject(loginRequired(server)) : refreshedGrant(server, grant);
    const begun = grants.renew(key, isNew, work, AbortSignal.timeout(3 * timeoutMs)).finally(() => renewing.delete(id));
    renewing.set(id, begun);
    return begun;
  }

  async function ownGrant(server: Server, challenge: Challenge): Promise<Grant> {
    const scope = scopeFor(server, challenge.scope, null);
    const { discovery, ...tokens } = await talk(server, (of, identity) => fetchOwnTokens(of, identity, challenge, scope));
    const { clientId = '' } = partsOf(server).auth;
    return grantOf(server, { discovery, client: { client_id: clientId }, resource: null }, tokens, clock.now());
  }

  async function refreshedGrant(server: Server, grant: Grant): Promise<Grant> {
    const { tokens, discovery, client, resource, since } = grant;
    if (tokens?.refreshToken == null || discovery === null || client === null) return { ...grant, tokens: null };
    const { refreshToken, scope } = tokens;
    try {
      const made = await talk(server, (of, identity) => refreshTokens(of, { discovery, client, resource }, refreshToken, identity));
      const kept = { ...made, refreshToken: made.refreshToken ?? refreshToken, scope: made.scope ?? scope };
      return grantOf(server, { discovery, client, resource }, kept, since ?? clock.now());
    } catch (error) {
      if (error instanceof NexusError && error.details?.reason === 'login') return { ...grant, tokens: null };
      throw error;
    }
  }

  const isOver = ({ tokens }: Grant) =>
    tokens?.expiresAt != null && tokens.expiresAt - Math.min(earlyMs, (tokens.expiresAt - tokens.obtainedAt) / 2) <= clock.now();

  /** Where nothing was sent yet, that is what is said of the call. */
  async function unsent<Result>(work: () => Promise<Result>): Promise<Result> {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof NexusError)) throw error;
      const { code, message, retryable, details = {} } = error;
      throw new Unreached(code, message, { retryable, details, cause: error });
    }
  }

  async function tokenFor(server: Server): Promise<string | undefined> {
    const grant = await grants.find(keyOf(server));
    if (grant?.tokens == null) {
      if (isOwn(server)) return undefined; // what the server says to that tells where to ask
      throw loginRequired(server, grant?.wantedScope);
    }
    if (!isOver(grant)) return grant.tokens.accessToken;
    const next = await renewed(server, grant.tokens.accessToken, noChallenge);
    if (next.tokens === null) throw loginRequired(server, next.wantedScope);
    return next.tokens.accessToken;
  }

  return {
    grants,
    talk,
    keyOf,
    grantOf,
    requireKey: async () => void (await options.seal()),
    check({ tenantId, definition }) {
      const { auth } = definition;
      const secret = auth?.clientSecret ?? auth?.privateKey;
      if (auth === undefined || secret === undefined) return;
      const issuer = URL.parse(auth.issuer ?? '');
      if (issuer === null) throw new NexusError('invalid_request', 'auth.issuer is no address; give one such as https://login.example.com');
      if (!secretFor(tenantId, secret.secret).hosts.includes(issuer.hostname))
        throw new NexusError(
          'invalid_request',
          `mcpClient.secrets has no secret ${JSON.stringify(secret.secret)} for ${issuer.hostname} that this tenant may use`,
        );
    },
    providerFor(server, onShown) {
      if (server.definition.auth === undefined) return undefined;
      let sent: string | undefined;
      return {
        token: () =>
          unsent(async () => {
            sent = await tokenFor(server);
            if (sent !== undefined) onShown(sent);
            return sent;
          }),
        onUnauthorized: ({ response }) =>
          unsent(async () => {
            const refused = sent ?? null;
            const grant = await grants.find(keyOf(server));
            const age = grant?.tokens == null ? Number.POSITIVE_INFINITY : clock.now() - grant.tokens.obtainedAt;
            if (grant?.tokens?.accessToken === refused && age < freshMs) {
              const what = `the MCP server ${server.name} refuses the token that was just issued for it`;
              throw isOwn(server) ? new NexusError('tool_failed', what, { details: { status: 401 } }) : loginRequired(server, null, what);
            }
            const next = await renewed(server, refused, await challengeOf(response));
            if (next.tokens === null) throw loginRequired(server, next.wantedScope);
          }),
      };
    },
    watch: (server, fetch) => async (target, init) => {
      const response = await fetch(target, init);
      if (response.status !== 403) return response;
      const { extractWWWAuthenticateParams } = await import('@modelcontextprotocol/client');
      const { error, scope = '' } = extractWWWAuthenticateParams(response);
      if (error !== 'insufficient_scope') return response;
      await response.body?.cancel();
      if (isOwn(server))
        throw new Unreached(
          'tool_failed',
          `the MCP server ${server.name} wants a token that permits more (${quoted(scope)}); name it in auth.scopes, if it is meant`,
          { details: { status: 403 } },
        );
      throw await withMore(server, scope);
    },
    async stateOf(server) {
      if (server.definition.auth === undefined) return undefined;
      // Where there is no key nobody is logged in: whoever logs in is told.
      const grant = await grants.find(keyOf(server)).catch((error: unknown) => {
        if (error instanceof NexusError && error.code === 'config_invalid') return null;
        throw error;
      });
      if (grant?.tokens == null || (isOver(grant) && grant.tokens.refreshToken === null && !isOwn(server)))
        return { state: isOwn(server) ? 'active' : 'needed', since: null, until: null, scopes: grant?.wantedScope ?? null };
      const { expiresAt, refreshToken, scope } = grant.tokens;
      const isRenewed = refreshToken !== null || isOwn(server);
      return {
        state: 'active',
        since: grant.since === null ? null : toTimestamp(grant.since),
        until: isRenewed || expiresAt === null ? null : toTimestamp(expiresAt),
        scopes: scope,
      };
    },
    async forget(server) {
      if (server.definition.auth === undefined) return;
      const grant = await grants.find(keyOf(server)).catch(() => null); // without the key nothing can be told either
      await grants.remove(server);
      if (grant?.tokens == null || grant.discovery === null || grant.client === null) return;
      const { discovery, client, resource, tokens } = grant;
      const token =
        tokens.refreshToken === null
          ? ({ value: tokens.accessToken, hint: 'access_token' } as const)
          : ({ value: tokens.refreshToken, hint: 'refresh_token' } as const);
      // It is forgotten here in any case.
      await talk(server, (of, identity) => revokeToken(of, { discovery, client, resource }, token, identity)).catch(() => undefined);
    },
    async close() {
      await settlesWithin(timers, Promise.allSettled(renewing.values()), maxCloseMs);
    },
  };

  async function withMore(server: Server, scope: string): Promise<NexusError> {
    const key = keyOf(server);
    const grant = await grants.find(key);
    const wanted = joined(grant?.wantedScope ?? grant?.tokens?.scope ?? '', scope);
    if (grant !== null && wanted !== grant.wantedScope) await grants.put(key, { ...grant, wantedScope: wanted });
    return loginRequired(server, wanted, `the MCP server ${server.name} wants a login that permits more (${quoted(wanted)})`);
  }
}

export const noChallenge: Challenge = { resourceMetadataUrl: null, scope: null };

export async function challengeOf(response: Response): Promise<Challenge> {
  const { extractWWWAuthenticateParams } = await import('@modelcontextprotocol/client');
  const { resourceMetadataUrl, scope = null } = extractWWWAuthenticateParams(response);
  return { resourceMetadataUrl: resourceMetadataUrl?.href ?? null, scope: scope === null ? null : joined('', scope) };
}

/** What is asked for: what the operator says, or else what the server has said that it needs. */
export function scopeFor(server: Pick<KeptServer, 'definition'>, challenged: string | null, wanted: string | null): string | undefined {
  const { scopes } = partsOf(server).auth;
  const said = scopes === undefined ? joined(challenged ?? '', wanted ?? '') : scopes.join(' ');
  return said === '' ? undefined : said;
}

/** Each once, of so many characters and no more. */
function joined(...scopes: readonly string[]): string {
  const all = [...new Set(scopes.flatMap((scope) => scope.split(' ')).filter((scope) => /^[\x21\x23-\x5b\x5d-\x7e]+$/.test(scope)))];
  let text = '';
  for (const scope of all) {
    if (text.length + scope.length >= maxScopeChars) break;
    text = text === '' ? scope : `${text} ${scope}`;
  }
  return text;
}

function quoted(scope: string): string {
  return JSON.stringify(scope.slice(0, 300));
}

/** Whether this server asks by itself. */
export function isOwn({ definition: { auth } }: Pick<KeptServer, 'definition'>): boolean {
  return auth !== undefined && mcpGrantOf(auth) === 'client_credentials';
}

export function loginRequired({ name }: Pick<KeptServer, 'name'>, scopes?: string | null, what?: string): NexusError {
  return new NexusError(
    'login_required',
    `${what ?? `nobody is logged in to the MCP server ${name}, or the login has ended`}: a person has to log in with nexus mcp login ${name}`,
    { details: { server: name, ...(scopes == null || scopes === '' ? {} : { scopes }) } },
  );
}

function partsOf({ definition: { auth, transport } }: Pick<KeptServer, 'definition'>): {
  readonly auth: McpServerAuth;
  readonly url: string;
} {
  if (auth === undefined || transport.type !== 'http') throw new NexusError('internal', 'a server without auth is asked for a token');
  return { auth, url: transport.url };
}

function keyOf({ tenantId, name, definition: { auth, transport } }: Server): GrantKey {
  return { tenantId, name, place: canonicalJson([transport.type === 'http' ? transport.url : null, auth ?? null]) };
}

async function orAborted<Result>(work: Promise<Result>, signal: AbortSignal): Promise<Result> {
  let onAbort: () => void = () => undefined;
  const aborted = new Promise<never>((_resolve, reject) => {
    onAbort = () => reject(abortError(signal));
    signal.addEventListener('abort', onAbort, { once: true });
  });
  work.catch(() => undefined); // one of the two is enough
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
