import { mcpGrantOf } from '@nexus-agent/protocol';
import { NexusError } from '#core';
import type { KeptServer } from './content.ts';
import { partsOf } from './oauth-talk.ts';

/** What is asked for: what the operator says, or else what the server has said that it needs. */
export function scopeFor(server: Pick<KeptServer, 'definition'>, challenged: string | null, wanted: string | null): string | undefined {
  const { scopes } = partsOf(server).auth;
  const said = scopes === undefined ? joined(challenged ?? '', wanted ?? '') : scopes.join(' ');
  return said === '' ? undefined : said;
}

const maxScopeChars = 2_000;

/** Each once, of so many characters and no more. */
export function joined(...scopes: readonly string[]): string {
  const all = [...new Set(scopes.flatMap((scope) => scope.split(' ')).filter((scope) => /^[\x21\x23-\x5b\x5d-\x7e]+$/.test(scope)))];
  let text = '';
  for (const scope of all) {
    if (text.length + scope.length >= maxScopeChars) break;
    text = text === '' ? scope : `${text} ${scope}`;
  }
  return text;
}

export function quoted(scope: string): string {
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
