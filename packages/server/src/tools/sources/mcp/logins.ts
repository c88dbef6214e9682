import { randomBytes, timingSafeEqual } from 'node:crypto';
import type { McpLogin, McpLoginState, TenantId } from '@nexus-agent/protocol';
import { type Clock, NexusError, sha256, toTimestamp } from '#core';
import type { LoginAnswer, McpLogins, WhoLogsIn } from '#tools/contract';
import { failureOf } from './connection.ts';
import type { KeptServer } from './content.ts';
import type { OAuth } from './oauth.ts';
import { beginAuthorization, type Challenge, clientMetadata, finishAuthorization, requireIssuer } from './oauth-client.ts';
import type { Seal } from './oauth-seal.ts';
import { challengeOf, isOwn, noChallenge, scopeFor } from './oauth-words.ts';
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

/** Where browsers come back, and where our client metadata document lies. */
const [callbackPath, documentPath] = ['/v1/mcp-logins/callback', '/v1/mcp-logins/client.json'];

const purpose = ['state of a login'];

/** What the browser brings back, sealed: nobody else can make one, and it says whose login it is. */
interface State {
  readonly tenantId: TenantId;
  readonly name: string;
  readonly nonce: string;
  readonly by: string;
}

export function createLogins({ oauth, register, reach, seal, clock, loginMs, closing, publicUrl }: LoginsOptions): McpLogins {
  const at = (path: string, base: string) => `${base.replace(/\/+$/, '')}${path}`;
  const documentUrl = publicUrl !== undefined && new URL(publicUrl).protocol === 'https:' ? at(documentPath, publicUrl) : null;

  function callbackFor(host: string | undefined): string {
    if (publicUrl !== undefined) return at(callbackPath, publicUrl);
    if (host !== undefined && /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})$/.test(host)) return at(callbackPath, `http://${host}`);
    throw new NexusError(
      'config_invalid',
      'mcpClient.oauth.publicUrl is missing: a browser that comes back from a login needs to know where this server is, such as https://nexus.example.com; on this machine, log in while nexus serve runs',
    );
  }

  /** Without a key nothing was sealed here: who brings a state from elsewhere is told no more than that. */
  async function sealIfAny(): Promise<Seal | null> {
    return seal().catch((error: unknown) => {
      if (error instanceof NexusError && error.code === 'config_invalid') return null;
      throw error;
    });
  }

  async function requireOurs(tenantId: TenantId, name: string): Promise<KeptServer> {
    const server = await register.require(tenantId, name);
    if (server.definition.auth === undefined)
      throw new NexusError('invalid_request', `the MCP server ${name} has no auth; put it with auth: { type: "oauth" } first`);
    if (isOwn(server))
      throw new NexusError('invalid_request', `nobody logs in to the MCP server ${name}: this server asks for its tokens by itself`);
    return server;
  }

  /** What the server says to whoever brings no token. */
  async function challengeBy(server: KeptServer, signal: AbortSignal): Promise<Challenge> {
    let challenge: Challenge | undefined;
    const nobody = {
      token: async () => undefined,
      onUnauthorized: async ({ response }: { response: Response }) => {
        challenge = await challengeOf(response);
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

  return {
    async state(tenantId, name) {
      return oauth.stateOf(await requireOurs(tenantId, name)) as Promise<McpLoginState>; // it has auth
    },
    clientDocument: () =>
      documentUrl === null || publicUrl === undefined
        ? null
        : { client_id: documentUrl, token_endpoint_auth_method: 'none', ...clientMetadata(at(callbackPath, publicUrl)) },
    async begin(tenantId, name, { by, host }: WhoLogsIn, signal): Promise<McpLogin> {
      const callback = callbackFor(host);
      const server = await requireOurs(tenantId, name);
      const sealed = await seal();
      const during = AbortSignal.any([signal, closing]);
      const key = oauth.keyOf(server);
      const grant = await oauth.grants.find(key);
      const challenge = await challengeBy(server, during);
      const nonce = randomBytes(32).toString('base64url');
      const state: State = { tenantId, name, nonce, by };
      const { address, codeVerifier, discovery, client, resource } = await oauth.talk(server, (talk, identity) =>
        beginAuthorization(talk, {
          ...{ identity, challenge, metadataUrl: documentUrl, redirectUrl: callback },
          scope: scopeFor(server, challenge.scope, grant?.wantedScope ?? null),
          known: grant?.client ?? null,
          state: sealed.seal(JSON.stringify(state), purpose),
        }),
      );
      during.throwIfAborted();
      const expiresAt = clock.now() + loginMs;
      await oauth.grants.begin(key, {
        ...{ place: key.place, nonce: sha256(nonce), by, expiresAt, redirectUrl: callback, codeVerifier, discovery, client, resource },
      });
      return { address, expiresAt: toTimestamp(expiresAt) };
    },
    async finish({ state, code, issuer, error }: LoginAnswer) {
      const text = (await sealIfAny())?.open(state, purpose) ?? null;
      if (text === null) throw notOurs();
      const { tenantId, name, nonce, by } = JSON.parse(text) as State; // sealed here
      const server = await requireOurs(tenantId, name);
      const key = oauth.keyOf(server);
      const found = await oauth.grants.pending(key);
      if (found === null) throw notOurs();
      const { login, version } = found;
      const [given, kept] = [Buffer.from(sha256(nonce)), Buffer.from(login.nonce)];
      if (given.length !== kept.length || !timingSafeEqual(given, kept) || login.by !== by || login.place !== key.place) throw notOurs();
      // Whatever comes of it: once.
      if (!(await oauth.grants.take(key, version)) || login.expiresAt <= clock.now()) throw notOurs();
      await requireIssuer(login, issuer);
      if (error !== undefined || code === undefined) {
        const said = error !== undefined && /^[a-z_]{1,60}$/.test(error) ? error : 'no code';
        throw new NexusError('invalid_request', `the authorization server answered ${said}: nobody is logged in to the MCP server ${name}`);
      }
      const tokens = await oauth.talk(server, (talk, identity) => finishAuthorization(talk, login, { code, issuer }, identity));
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

function notOurs(): NexusError {
  return new NexusError(
    'invalid_request',
    'this is no login that was begun here, or it was used, took too long, or another one was begun after it; begin again with nexus mcp login',
  );
}
