import type { IncomingMessage } from 'node:http';
import { localOperator, type Route } from '#api/contract';
import { NexusError } from '#core';
import type { Keys, Principal } from '#identity';
import { isForwarded, presentedKey } from './guard.ts';

export type Authenticate = (request: IncomingMessage) => Promise<Principal>;

/** Who sent a request: the owner of the key that it presents or, without one, the local operator where it may be. */
export function createAuthenticator(
  keys: Pick<Keys, 'authenticate'>,
  mayBeOperator: (headers: IncomingMessage['headers']) => boolean,
): Authenticate {
  return async (request) => {
    const key = presentedKey(request.headers);
    if (key !== null) {
      const principal = await keys.authenticate(key);
      if (principal === null) throw new NexusError('unauthenticated', 'the API key is unknown, expired or revoked');
      return principal;
    }
    if (mayBeOperator(request.headers) && !isForwarded(request.headers)) return localOperator;
    throw new NexusError('unauthenticated', 'an API key is needed from here: send Authorization: Bearer nx_<id>_<secret>');
  };
}

export function requireScope(principal: Principal, { scope }: Pick<Route, 'scope'>): void {
  if (scope === 'public' || scope === 'any' || principal.scopes.includes(scope) || principal.scopes.includes('admin')) return;
  throw new NexusError('forbidden', `the key lacks the scope "${scope}"; it has ${principal.scopes.join(', ') || 'none'}`, {
    details: { scope },
  });
}
