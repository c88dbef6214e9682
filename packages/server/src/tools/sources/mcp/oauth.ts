import type { AuthProvider } from '@modelcontextprotocol/client';
import type { McpLoginState } from '@nexus-agent/protocol';
import { type Clock, NexusError, type Timers, toTimestamp } from '#core';
import type { McpGrantStore } from '#storage';
import { type Fetch, Unreached } from './egress-fetch.ts';
import { challengeOf, noChallenge } from './oauth-challenge.ts';
import { type Registration, revokeToken, type Tokens } from './oauth-client.ts';
import { createGrants, type Grant, type GrantKey, type Grants } from './oauth-grants.ts';
import { createRenewal, isOver, keyOf } from './oauth-renewal.ts';
import type { Seal } from './oauth-seal.ts';
import { createTalk, type OAuthServer, type OAuthTalk, type OAuthTalkOptions } from './oauth-talk.ts';
import { isOwn, joined, loginRequired, quoted } from './oauth-words.ts';

export interface OAuthOptions extends OAuthTalkOptions {
  readonly store: McpGrantStore;
  readonly clock: Clock;
  readonly timers: Timers;
  /** Throws `config_invalid` where there is no key. */
  readonly seal: () => Promise<Seal>;
}

type Server = OAuthServer;

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
  readonly talk: OAuthTalk;
  keyOf(server: Server): GrantKey;
  grantOf(server: Server, made: Registration, tokens: Tokens, since: number): Grant;
  close(): Promise<void>;
}

/** One that is refused younger than that is not asked for again: another one would be refused as well. */
const freshMs = 10_000;

export function createOAuth(options: OAuthOptions): OAuth {
  const { clock, secretFor, timeoutMs } = options;
  const grants = createGrants({ ...options, holdMs: 2 * timeoutMs, patienceMs: 0.7 * timeoutMs }); // before the conversation is given up for silence
  const talk = createTalk(options);
  const { renewed, grantOf, close } = createRenewal({ ...options, grants, talk });

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
    if (!isOver(grant, clock.now())) return grant.tokens.accessToken;
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
            // Of a process whose clock is ahead it may be from the future.
            if (grant?.tokens?.accessToken === refused && age >= 0 && age < freshMs) {
              const what = `the MCP server ${server.name} refuses the token that was just issued for it`;
              throw isOwn(server) ? new NexusError('tool_failed', what, { details: { status: 401 } }) : loginRequired(server, null, what);
            }
            const next = await renewed(server, refused, challengeOf(response));
            if (next.tokens === null) throw loginRequired(server, next.wantedScope);
          }),
      };
    },
    watch: (server, fetch) => async (target, init) => {
      const response = await fetch(target, init);
      const sent = /^Bearer (.+)$/i.exec(new Headers(init?.headers).get('authorization') ?? '')?.[1];
      if (sent === undefined || (response.status !== 403 && response.status !== 401)) return response;
      const { error, scope: said } = challengeOf(response);
      if (error !== 'insufficient_scope') return response;
      const scope = joined(said ?? '');
      await response.body?.cancel();
      if (isOwn(server))
        throw new Unreached(
          'tool_failed',
          `the MCP server ${server.name} wants a token that permits more (${quoted(scope)}); name it in auth.scopes, if it is meant`,
          { details: { status: 403 } },
        );
      throw await withMore(server, scope, sent);
    },
    async stateOf(server) {
      if (server.definition.auth === undefined) return undefined;
      // Where there is no key nobody is logged in: whoever logs in is told.
      const grant = await grants.find(keyOf(server)).catch((error: unknown) => {
        if (error instanceof NexusError && error.code === 'config_invalid') return null;
        throw error;
      });
      if (grant?.tokens == null || (isOver(grant, clock.now()) && grant.tokens.refreshToken === null && !isOwn(server)))
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
    close,
  };

  async function withMore(server: Server, scope: string, sent: string): Promise<NexusError> {
    const key = keyOf(server);
    const grant = await grants.find(key);
    const permitted = grant?.tokens?.accessToken === sent ? (grant.tokens.scope?.split(' ') ?? []) : [];
    if (scope !== '' && scope.split(' ').every((each) => permitted.includes(each)))
      return new Unreached(
        'tool_failed',
        `the MCP server ${server.name} says that its token does not permit ${quoted(scope)}, which it was given for: another login would not change that; ask whoever runs the server`,
        { details: { status: 403 } },
      );
    const wanted = joined(grant?.wantedScope ?? grant?.tokens?.scope ?? '', scope);
    if (grant !== null && wanted !== grant.wantedScope) await grants.note(key, (now) => ({ ...now, wantedScope: wanted }));
    return loginRequired(server, wanted, `the MCP server ${server.name} wants a login that permits more (${quoted(wanted)})`);
  }
}
