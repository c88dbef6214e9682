import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { type ApiConfig, localOperator, type Route, visitor } from '#api/contract';
import { NexusError } from '#core';
import type { Keys, Principal } from '#identity';
import { isForwarded, isLoopbackHost, mayBePage, presentedKey } from './guard.ts';

/** Who sent a request for a route. Throws `unauthenticated` where nobody says who, and the route is not for everybody. */
export type Authenticate = (request: IncomingMessage, route: Pick<Route, 'visitors' | 'startsByGet'>) => Promise<Principal>;

export interface AuthenticatorOptions {
  readonly keys: Pick<Keys, 'authenticate'>;
  /** Of those without a key over loopback; null where the server listens elsewhere. */
  readonly local: LocalRules | null;
}

export interface LocalRules {
  readonly mode: ApiConfig['auth']['local'];
  readonly token: string | undefined;
  /** Whether the `Origin`, if any, is one whose pages the operator uses. */
  readonly mayBeOperator: (headers: IncomingMessage['headers']) => boolean;
}

/** Tokens look unlike keys, so that neither is ever compared with the other. */
const tokenShape = /^nxl_/;

/** The owner of the key that a request presents, the local operator where it shows that it is, or else a visitor where those are let in. */
export function createAuthenticator({ keys, local }: AuthenticatorOptions): Authenticate {
  return async (request, route) => {
    const { headers, socket } = request;
    const key = presentedKey(headers);
    if (key !== null && tokenShape.test(key)) {
      if (local !== null && isLocal(request) && local.mode === 'token' && isThisToken(key, local.token)) return localOperator;
      throw new NexusError(
        'unauthenticated',
        'this is not the token of the local operator of this server: it is made anew at each start, and counts only on the machine itself, not through a proxy, and where auth.local is token',
      );
    }
    if (key !== null) {
      const principal = await keys.authenticate(key);
      if (principal === null) throw new NexusError('unauthenticated', 'the API key is unknown, expired or revoked');
      return principal;
    }
    if (local !== null && isLocal(request)) {
      if (local.mode === 'open' && local.mayBeOperator(headers)) {
        if (route.startsByGet === true && mayBePage(headers)) throw fromPage();
        return localOperator;
      }
      if (local.mode === 'token' && route.visitors !== undefined && !mayBePage(headers)) return visitor;
      if (local.mode === 'token' && !mayBePage(headers)) throw operatorNeeded(socket.localPort);
    }
    throw new NexusError('unauthenticated', `${whyKeyIsNeeded(local, request)}: send Authorization: Bearer nx_<id>_<secret>`);
  };
}

function whyKeyIsNeeded(local: LocalRules | null, { socket }: IncomingMessage): string {
  if (local === null || !isLoopbackHost(addressOf(socket))) return 'an API key is needed from here';
  if (local.mode === 'none') return 'this server takes API keys only, on its own machine too (auth.local: none)';
  return 'what a browser or a proxy sends needs an API key, on this machine too';
}

/** What a program on this machine is told that asks for more than a visitor may. No path: whoever may read the file knows the folder. */
export function operatorNeeded(port: number | undefined): NexusError {
  return new NexusError(
    'unauthenticated',
    `this needs the local operator's token or an API key: nexus and the client library find the token where they run as the user of the server; with curl, from the folder where the server was started: curl -H @.nexus/local/${port ?? '<port>'}.token (or the folder local in another dataDir)`,
  );
}

function fromPage(): NexusError {
  return new NexusError('origin_not_allowed', 'a GET starts nothing for what may be a web page; send POST with a JSON body');
}

/** From this machine, and not passed on for somebody else. */
function isLocal({ socket, headers }: IncomingMessage): boolean {
  return isLoopbackHost(addressOf(socket)) && !isForwarded(headers);
}

function addressOf({ remoteAddress = '' }: IncomingMessage['socket']): string {
  return remoteAddress.replace(/^::ffff:/i, '');
}

/** In a time that does not tell how much of it is right. */
function isThisToken(given: string, token: string | undefined): boolean {
  if (token === undefined) return false;
  const [a, b] = [given, token].map((text) => createHash('sha256').update(text).digest()) as [Buffer, Buffer]; // two in, two out
  return timingSafeEqual(a, b);
}

export function requireScope(principal: Principal, { scope }: Pick<Route, 'scope'>): void {
  if (scope === 'public' || scope === 'any' || principal.scopes.includes(scope) || principal.scopes.includes('admin')) return;
  throw new NexusError('forbidden', `the key lacks the scope "${scope}"; it has ${principal.scopes.join(', ') || 'none'}`, {
    details: { scope },
  });
}
