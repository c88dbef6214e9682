import type { HttpAuth } from '@nexus-agent/protocol';
import { isObject } from '#core';
import type { ApiDescription } from './document.ts';

export interface Security {
  readonly auth: HttpAuth;
  /** What it takes that is not done. */
  readonly note: string | null;
}

/** How an operation, or the whole document, says that callers show who they are: the first way that there is here. */
export function securityOf(document: ApiDescription, given: unknown, name: string): Security {
  const ways = Array.isArray(given) ? given.filter(isObject) : [];
  const schemes = isObject(document.tree.components) ? document.tree.components.securitySchemes : undefined;
  const secret = (what: string) => `secret:${`${name}_${what}`.toUpperCase().replace(/[^A-Z0-9]+/g, '_')}`;
  for (const way of ways) {
    const [first, ...others] = Object.keys(way);
    if (first === undefined) continue;
    const scheme = isObject(schemes) && Object.hasOwn(schemes, first) ? document.resolve(schemes[first]) : undefined;
    const auth = isObject(scheme) ? authOf(scheme, secret) : null;
    if (auth !== null) return { auth, note: others.length === 0 ? null : `it also wants ${others.join(', ')}, which is not sent` };
  }
  const wanted = ways.flatMap((way) => Object.keys(way));
  const isOptional = ways.length === 0 || ways.some((way) => Object.keys(way).length === 0);
  return {
    auth: { type: 'none' },
    note: isOptional ? null : `it wants ${wanted.join(' or ')}, which tools cannot show; add headers to the definition`,
  };
}

function authOf(scheme: Readonly<Record<string, unknown>>, secret: (what: string) => string): HttpAuth | null {
  const { type, name } = scheme;
  const kind = typeof scheme.scheme === 'string' ? scheme.scheme.toLowerCase() : '';
  if (type === 'http' && kind === 'basic') return { type: 'basic', username: secret('USERNAME'), password: secret('PASSWORD') };
  if ((type === 'http' && kind === 'bearer') || type === 'oauth2' || type === 'openIdConnect')
    return { type: 'bearer', token: secret('TOKEN') };
  if (type !== 'apiKey' || typeof name !== 'string') return null;
  if (scheme.in === 'header') return { type: 'header', name, value: secret('API_KEY') };
  return scheme.in === 'query' ? { type: 'query', name, value: secret('API_KEY') } : null;
}
