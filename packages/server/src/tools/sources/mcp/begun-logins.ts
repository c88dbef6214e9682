import type { TenantId } from '@nexus-agent/protocol';
import { NexusError, sha256 } from '#core';
import type { KeptServer } from './content.ts';
import { isSameText, type LoginCookies } from './login-browser.ts';
import type { OAuth } from './oauth.ts';
import type { Seal } from './oauth-seal.ts';
import { isOwn } from './oauth-words.ts';
import type { Register } from './register.ts';

/** What a login is known by: in the address that the person opens, in what the browser brings back, and in the browser itself. */
export const [ticketPurpose, statePurpose, browserPurpose] = [['ticket of a login'], ['state of a login'], ['browser of a login']];

/** Sealed: nobody else can make one, and it says whose login it is. */
export interface LoginState {
  readonly tenantId: TenantId;
  readonly name: string;
  readonly nonce: string;
  readonly by: string;
}

interface BegunLoginsOptions {
  readonly oauth: OAuth;
  readonly register: Register;
  readonly seal: () => Promise<Seal>;
  readonly cookies: LoginCookies;
}

/** Finds the login that a browser comes with. */
export function createBegunLogins({ oauth, register, seal, cookies }: BegunLoginsOptions) {
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

  /** The login that somebody comes with, if it is one that was begun and is not over. Throws for anything else. */
  async function pendingOf(given: string, purpose: readonly string[]) {
    const text = (await sealIfAny())?.open(given, purpose) ?? null;
    if (text === null) throw notOurs();
    const known = JSON.parse(text) as LoginState; // sealed here
    const server = await requireOurs(known.tenantId, known.name);
    const key = oauth.keyOf(server);
    const found = await oauth.grants.pending(key);
    if (found === null) throw notOurs();
    const { login, version } = found;
    if (!isSameText(sha256(known.nonce), login.nonce) || login.by !== known.by || login.place !== key.place) throw notOurs();
    return { known, server, key, login, version, text };
  }

  /** Whether a browser is the one in which the login was begun. */
  async function isBegunIn(cookieHeader: string | undefined, { nonce }: LoginState): Promise<boolean> {
    const held = cookies.loginIn(cookieHeader, nonce);
    const text = held === null ? null : ((await sealIfAny())?.open(held, browserPurpose) ?? null);
    return text !== null && isSameText((JSON.parse(text) as LoginState).nonce, nonce); // sealed here
  }

  return { requireOurs, pendingOf, isBegunIn };
}

export function notOurs(): NexusError {
  return new NexusError(
    'invalid_request',
    'this is no login that was begun here, or it was used, took too long, or another one was begun after it; begin again with nexus mcp login',
  );
}
