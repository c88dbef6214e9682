import type { McpServerAuth, TenantId } from '@nexus-agent/protocol';
import { abortError, NexusError, type Timers } from '#core';
import type { KeptServer } from './content.ts';
import type { Fetch } from './egress-fetch.ts';
import type { ClientIdentity } from './oauth-client.ts';
import { createOAuthFetch, type OAuthFetch } from './oauth-fetch.ts';

export type OAuthServer = Pick<KeptServer, 'tenantId' | 'name' | 'definition'>;

/** A secret of the operator, and where it may go. */
export interface OAuthSecret {
  readonly value: string;
  readonly hosts: readonly string[];
}

export interface OAuthTalkOptions {
  readonly timers: Pick<Timers, 'after'>;
  /** Gives nothing that may go anywhere for one that the tenant does not have. */
  readonly secretFor: (tenantId: TenantId, name: string) => OAuthSecret;
  /** Goes through our egress: bounded, no redirects. What it opens is closed by `end`. */
  readonly openFetch: () => { readonly fetch: Fetch; end(): Promise<void> };
  readonly allowPrivate: ((hostname: string, port: number) => boolean) | undefined;
  /** Of one conversation with an authorization server. */
  readonly timeoutMs: number;
}

/** A conversation with an authorization server, which ends in time. */
export type OAuthTalk = <Result>(
  server: OAuthServer,
  work: (
    talk: { readonly serverUrl: string; readonly http: OAuthFetch; readonly allowPrivate: OAuthTalkOptions['allowPrivate'] },
    identity: ClientIdentity,
  ) => Promise<Result>,
) => Promise<Result>;

export function createTalk({ timers, secretFor, openFetch, allowPrivate, timeoutMs }: OAuthTalkOptions): OAuthTalk {
  return async (server, work) => {
    const { tenantId, name } = server;
    const { auth, url } = partsOf(server);
    const secret = auth.clientSecret ?? auth.privateKey;
    const found = secret === undefined ? undefined : secretFor(tenantId, secret.secret);
    const late = lateAfter(timers, timeoutMs, `the authorization server of the MCP server ${name}`);
    const { fetch, end } = openFetch();
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
      late.cancel();
      await end();
    }
  };
}

/** Fires with an error that says who took too long. */
export function lateAfter(timers: Pick<Timers, 'after'>, timeoutMs: number, who: string): { readonly signal: AbortSignal; cancel(): void } {
  const late = new AbortController();
  const cancel = timers.after(timeoutMs, () =>
    late.abort(
      new NexusError('tool_failed', `${who} did not answer within ${timeoutMs} ms`, { details: { reason: 'connection' }, retryable: true }),
    ),
  );
  return { signal: late.signal, cancel };
}

export function partsOf({ definition: { auth, transport } }: Pick<KeptServer, 'definition'>): {
  readonly auth: McpServerAuth;
  readonly url: string;
} {
  if (auth === undefined || transport.type !== 'http') throw new NexusError('internal', 'a server without auth is asked for a token');
  return { auth, url: transport.url };
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
