import { type Clock, canonicalJson, NexusError, settlesWithin, type Timers } from '#core';
import type { Challenge } from './oauth-challenge.ts';
import { fetchOwnTokens, type Registration, refreshTokens, type Tokens } from './oauth-client.ts';
import type { Grant, GrantKey, Grants } from './oauth-grants.ts';
import { lateAfter, type OAuthServer, type OAuthTalk, partsOf } from './oauth-talk.ts';
import { isOwn, loginRequired, scopeFor } from './oauth-words.ts';

export interface RenewalOptions {
  readonly grants: Grants;
  readonly talk: OAuthTalk;
  readonly clock: Pick<Clock, 'now'>;
  readonly timers: Timers;
  readonly timeoutMs: number;
}

/** Newer tokens, each asked for once. */
export interface Renewal {
  /** Another token than the one that is unfit; with the grant of nobody where a person has to log in. */
  renewed(server: OAuthServer, unfit: string | null, challenge: Challenge): Promise<Grant>;
  grantOf(server: OAuthServer, made: Registration, tokens: Tokens, since: number): Grant;
  /** Waits a while for what is asked for: it would be lost. */
  close(): Promise<void>;
}

/** So long before its end a token is not used any more. */
const earlyMs = 30_000;
const maxCloseMs = 5_000;

export function createRenewal({ grants, talk, clock, timers, timeoutMs }: RenewalOptions): Renewal {
  const renewing = new Map<string, Promise<Grant>>();

  function grantOf(server: OAuthServer, { discovery, client, resource }: Registration, tokens: Tokens, since: number): Grant {
    const { accessToken, refreshToken, scope, lifetimeMs } = tokens;
    const now = clock.now();
    return {
      ...{ place: keyOf(server).place, since, discovery, client, resource, wantedScope: null },
      tokens: { accessToken, refreshToken, scope, obtainedAt: now, expiresAt: lifetimeMs === null ? null : now + lifetimeMs },
    };
  }

  /** One at a time for each server, whoever wants it; and it goes on when they leave: a token that was renewed must be kept. */
  function renewed(server: OAuthServer, unfit: string | null, challenge: Challenge): Promise<Grant> {
    const key = keyOf(server);
    const id = JSON.stringify([key.tenantId, key.name, key.place]);
    const running = renewing.get(id);
    if (running !== undefined) return running;
    const isNew = (grant: Grant | null) => grant?.tokens != null && grant.tokens.accessToken !== unfit && !isOver(grant, clock.now());
    const work = (grant: Grant | null) =>
      isOwn(server) ? ownGrant(server, challenge) : grant === null ? Promise.reject(loginRequired(server)) : refreshedGrant(server, grant);
    const late = lateAfter(timers, 3 * timeoutMs, `whoever renews the token of the MCP server ${server.name}`);
    const begun = grants.renew(key, isNew, work, late.signal).finally(() => {
      late.cancel();
      renewing.delete(id);
    });
    renewing.set(id, begun);
    return begun;
  }

  async function ownGrant(server: OAuthServer, challenge: Challenge): Promise<Grant> {
    const scope = scopeFor(server, challenge.scope, null);
    const { discovery, ...tokens } = await talk(server, (of, identity) => fetchOwnTokens(of, identity, challenge, scope));
    const { clientId = '' } = partsOf(server).auth;
    return grantOf(server, { discovery, client: { client_id: clientId }, resource: null }, tokens, clock.now());
  }

  async function refreshedGrant(server: OAuthServer, grant: Grant): Promise<Grant> {
    const { tokens, discovery, client, resource, since } = grant;
    if (tokens?.refreshToken == null || discovery === null || client === null) return { ...grant, tokens: null };
    const { refreshToken, scope } = tokens;
    try {
      const made = await talk(server, (of, identity) => refreshTokens(of, { discovery, client, resource }, refreshToken, identity));
      const kept = { ...made, scope: made.scope ?? scope }; // a refresh token that is not made anew stays, which the SDK sees to
      return { ...grantOf(server, { discovery, client, resource }, kept, since ?? clock.now()), wantedScope: grant.wantedScope };
    } catch (error) {
      if (!(error instanceof NexusError)) throw error;
      const { code, message, details, retryable } = error;
      if (details?.reason === 'login') return { ...grant, tokens: null };
      if (details?.reason === 'client') return { ...grant, tokens: null, client: null };
      // It may have meant something else: the token stays, and is tried again.
      if (details?.reason === 'refused')
        throw loginRequired(server, grant.wantedScope, `the login to the MCP server ${server.name} cannot be renewed (${message})`);
      const hint = `${message}; if that goes on, log in anew with nexus mcp login ${server.name}`;
      throw new NexusError(code, hint, { ...(details === undefined ? {} : { details }), retryable, cause: error });
    }
  }

  return {
    renewed,
    grantOf,
    async close() {
      await settlesWithin(timers, Promise.allSettled(renewing.values()), maxCloseMs);
    },
  };
}

/** Whether the token of a grant is not used any more. */
export function isOver({ tokens }: Grant, nowMs: number): boolean {
  if (tokens?.expiresAt == null) return false;
  return tokens.expiresAt - Math.min(earlyMs, (tokens.expiresAt - tokens.obtainedAt) / 2) <= nowMs;
}

export function keyOf({ tenantId, name, definition: { auth, transport } }: OAuthServer): GrantKey {
  return { tenantId, name, place: canonicalJson([transport.type === 'http' ? transport.url : null, auth ?? null]) };
}
