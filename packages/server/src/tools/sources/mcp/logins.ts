import { randomBytes } from 'node:crypto';
import type { OAuthClientInformationFull } from '@modelcontextprotocol/client';
import type { McpLogin, McpLoginState } from '@nexus-agent/protocol';
import { type Clock, NexusError, sha256, toTimestamp } from '#core';
import type { LoginAnswer, LoginOpened, LoginStep, McpLogins, WhoLogsIn } from '#tools/contract';
import { browserPurpose, createBegunLogins, type LoginState, notOurs, statePurpose, ticketPurpose } from './begun-logins.ts';
import { failureOf } from './connection.ts';
import type { KeptServer } from './content.ts';
import { createLoginCookies, isLoginCode, isSameText, makeLoginCode } from './login-browser.ts';
import { loginPageHeaders, renderLoginPage } from './login-page.ts';
import type { OAuth } from './oauth.ts';
import { type Challenge, challengeOf, noChallenge } from './oauth-challenge.ts';
import { beginAuthorization, clientMetadata, finishAuthorization, requireIssuer } from './oauth-client.ts';
import type { Grant, PendingLogin } from './oauth-grants.ts';
import type { Seal } from './oauth-seal.ts';
import { scopeFor } from './oauth-words.ts';
import type { Reach } from './reach.ts';
import type { Register } from './register.ts';

export interface LoginsOptions {
  readonly oauth: OAuth;
  readonly register: Register;
  readonly reach: Reach;
  readonly seal: () => Promise<Seal>;
  readonly clock: Pick<Clock, 'now'>;
  /** How long a person may take. */
  readonly loginMs: number;
  readonly closing: AbortSignal;
  /** Where browsers reach this server; undefined: on this machine only. */
  readonly publicUrl: string | undefined;
}

/** Where a person begins, where browsers come back, and where our client metadata document lies. */
const [startPath, callbackPath, documentPath] = ['/v1/mcp-logins/start', '/v1/mcp-logins/callback', '/v1/mcp-logins/client.json'];

export function createLogins({ oauth, register, reach, seal, clock, loginMs, closing, publicUrl }: LoginsOptions): McpLogins {
  const at = (path: string, base: string) => `${base.replace(/\/+$/, '')}${path}`;
  const cookies = createLoginCookies(publicUrl?.startsWith('https:') === true, loginMs);
  const { requireOurs, pendingOf, isBegunIn } = createBegunLogins({ oauth, register, seal, cookies });
  const documentUrl = publicUrl !== undefined && new URL(publicUrl).protocol === 'https:' ? at(documentPath, publicUrl) : null;

  function baseFor(host: string | undefined): string {
    if (publicUrl !== undefined) return publicUrl;
    if (host !== undefined && /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})$/.test(host)) return `http://${host}`;
    throw new NexusError(
      'config_invalid',
      'mcpClient.oauth.publicUrl is missing: a browser that comes back from a login needs to know where this server is, such as https://nexus.example.com; on this machine, log in while nexus serve runs',
    );
  }

  /** What the server says to whoever brings no token. */
  async function challengeBy(server: KeptServer, signal: AbortSignal): Promise<Challenge> {
    let challenge: Challenge | undefined;
    const nobody = {
      token: async () => undefined,
      onUnauthorized: async ({ response }: { response: Response }) => {
        challenge = challengeOf(response);
        throw new NexusError('login_required', 'it wants a token');
      },
    };
    try {
      const connection = await reach.open(server, () => undefined, signal, nobody);
      try {
        await connection.listTools(signal); // some say it only now
      } finally {
        await connection.close();
      }
    } catch (error) {
      signal.throwIfAborted();
      if (challenge === undefined) throw failureOf(error).error;
    }
    return challenge ?? noChallenge;
  }

  /** As whom we are known from before, where that still counts. Of a login that nobody came back from it may be why. */
  function knownClient(grant: Grant | null, before: PendingLogin | null, callback: string, nowMs: number): Grant['client'] {
    const client = grant?.client ?? null;
    if (client === null || before?.client.client_id === client.client_id) return null;
    const { redirect_uris: backs, client_secret_expires_at: end } = client as Partial<OAuthClientInformationFull>; // as it answered us
    const isFor = backs === undefined ? client.client_id === documentUrl : backs.includes(callback);
    return isFor && (end === undefined || end === 0 || end * 1_000 > nowMs) ? client : null;
  }

  return {
    async state(tenantId, name) {
      return oauth.stateOf(await requireOurs(tenantId, name)) as Promise<McpLoginState>; // it has auth
    },
    clientDocument: () =>
      documentUrl === null || publicUrl === undefined
        ? null
        : { client_id: documentUrl, token_endpoint_auth_method: 'none', ...clientMetadata(at(callbackPath, publicUrl)) },
    async begin(tenantId, name, { by, host }: WhoLogsIn, signal): Promise<McpLogin> {
      const base = baseFor(host);
      const callback = at(callbackPath, base);
      const server = await requireOurs(tenantId, name);
      const sealed = await seal();
      const during = AbortSignal.any([signal, closing]);
      const key = oauth.keyOf(server);
      const grant = await oauth.grants.find(key);
      const before = await oauth.grants.pending(key);
      const challenge = await challengeBy(server, during);
      const nonce = randomBytes(32).toString('base64url');
      const state = JSON.stringify({ tenantId, name, nonce, by } satisfies LoginState);
      const { address, codeVerifier, discovery, client, resource } = await oauth.talk(server, (talk, identity) =>
        beginAuthorization(talk, {
          ...{ identity, challenge, metadataUrl: documentUrl, redirectUrl: callback },
          scope: scopeFor(server, challenge.scope, grant?.wantedScope ?? null),
          known: knownClient(grant, before?.login ?? null, callback, clock.now()),
          state: sealed.seal(state, statePurpose),
        }),
      );
      during.throwIfAborted();
      const [expiresAt, code] = [clock.now() + loginMs, makeLoginCode()];
      await oauth.grants.begin(key, {
        ...{ place: key.place, nonce: sha256(nonce), by, expiresAt, redirectUrl: callback, codeVerifier, discovery, client, resource },
        ...{ address, code },
      });
      const start = new URL(at(startPath, base));
      start.searchParams.set('login', sealed.seal(state, ticketPurpose));
      return { address: start.href, code, expiresAt: toTimestamp(expiresAt) };
    },
    async open({ login: ticket, page, code, cookies: held }: LoginStep): Promise<LoginOpened> {
      const { known, server, login, text } = await pendingOf(ticket, ticketPurpose);
      if (login.expiresAt <= clock.now()) throw notOurs();
      const shownBefore = cookies.pageIn(held);
      // Another site can send a browser here with all that its owner knows, but not with the page that this browser was shown.
      const isFromPage = page !== undefined && page !== '' && shownBefore !== null && isSameText(page, shownBefore);
      if (isFromPage && code !== undefined && isLoginCode(code, login.code)) {
        const browser = (await seal()).seal(text, browserPurpose);
        return {
          type: 'sent',
          location: login.address,
          headers: { ...loginPageHeaders, 'set-cookie': cookies.login(known.nonce, browser) },
        };
      }
      const next = randomBytes(32).toString('base64url');
      const shown = {
        ...{ server: server.name, tenant: known.tenantId, by: known.by, scopes: new URL(login.address).searchParams.get('scope') },
        ...{ usedAt: reach.destinationOf(server.definition).host, loginAt: new URL(login.address).host },
      };
      return {
        type: 'page',
        html: renderLoginPage(shown, { login: ticket, page: next }, isFromPage && code !== undefined),
        headers: { ...loginPageHeaders, 'set-cookie': cookies.page(next) },
      };
    },
    async finish({ state, code, issuer, error, cookies: held }: LoginAnswer) {
      const { known, server, key, login, version } = await pendingOf(state, statePurpose);
      const { tenantId, name } = known;
      if (!(await isBegunIn(held, known)))
        throw new NexusError(
          'invalid_request',
          'this login was not begun in this browser, so nobody is logged in: open the address that nexus mcp login printed in the browser that you log in with; if somebody sent you here, they may want to act in your name',
        );
      // Whatever comes of it: once.
      if (!(await oauth.grants.take(key, version)) || login.expiresAt <= clock.now()) throw notOurs();
      await requireIssuer(login, issuer);
      if (error !== undefined || code === undefined) {
        const said = error !== undefined && /^[a-z_]{1,60}$/.test(error) ? error : 'no code';
        throw new NexusError('invalid_request', `the authorization server answered ${said}: nobody is logged in to the MCP server ${name}`);
      }
      const tokens = await oauth
        .talk(server, (talk, identity) => finishAuthorization(talk, login, { code, issuer }, identity))
        .catch(async (failure: unknown) => {
          // We are not known there any more: the next login makes us known anew.
          if (failure instanceof NexusError && failure.details?.reason === 'client')
            await oauth.grants.note(key, (grant) => ({ ...grant, client: null }));
          throw failure;
        });
      await oauth.grants.put(key, oauth.grantOf(server, login, tokens, clock.now()));
      // It may have been removed meanwhile: then nothing is kept.
      const still = await register.find(tenantId, name);
      if (still === null || oauth.keyOf(still).place !== key.place) {
        await oauth.forget(server);
        throw notOurs();
      }
      return { server: name };
    },
    async end(tenantId, name) {
      await oauth.forget(await requireOurs(tenantId, name));
    },
  };
}
