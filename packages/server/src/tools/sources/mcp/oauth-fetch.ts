import { isObject, NexusError } from '#core';
import { hostnameOf, portOf, requireAllowedUrl } from '#tools/net';
import type { Fetch } from './egress-fetch.ts';

export interface OAuthFetchOptions {
  /** Goes through our egress, and is bounded. */
  readonly fetch: Fetch;
  readonly allowPrivate: ((hostname: string, port: number) => boolean) | undefined;
  /** Ends all of it. */
  readonly signal: AbortSignal;
  /** Hosts that something may be posted to, where it holds a secret of the operator. */
  readonly secretHosts: readonly string[] | null;
}

export interface OAuthFetch {
  readonly fetch: Fetch;
  /** Throws the first thing that was refused: the SDK goes on as if a document were not there. */
  throwIfRefused(): void;
}

/** Of one conversation with an authorization server: all that its documents, a registration and a token need, twice. */
const maxRequests = 20;
const maxHeaderChars = 16_384;

/**
 * `fetch` for discovery documents, registration and tokens. Only https, or http at a loopback address that is granted; no redirect is
 * followed; so many requests and no more.
 */
export function createOAuthFetch({ fetch, allowPrivate, signal, secretHosts }: OAuthFetchOptions): OAuthFetch {
  let requests = 0;
  let refusal: unknown;

  function check(url: URL, method: string): void {
    requests += 1;
    if (requests > maxRequests)
      throw refused(`it takes more than ${maxRequests} requests to come to a token`, { reason: 'authorization_server' });
    requireSecure(url, allowPrivate);
    if (method !== 'GET' && secretHosts !== null && !secretHosts.includes(hostnameOf(url)))
      throw refused(
        `the secret of this client may not go to ${hostnameOf(url)}, where the authorization server wants it; name the host beside the secret in mcpClient.secrets, if it is meant`,
      );
  }

  return {
    throwIfRefused() {
      if (refusal !== undefined) throw refusal;
    },
    fetch: async (target, init = {}) => {
      if (refusal !== undefined) throw refusal; // nothing more is asked, or said, after that
      try {
        const url = new URL(target);
        check(url, init.method ?? 'GET');
        const { body } = init;
        const response = await fetch(url, {
          ...init,
          ...(body === undefined || body === null ? {} : { body: String(body) }),
          signal: init.signal ? AbortSignal.any([signal, init.signal]) : signal,
        });
        if (response.status >= 300 && response.status < 400)
          throw refused(`${hostnameOf(url)} answers with a redirect (HTTP ${response.status}), which is not followed`);
        // Read here: what breaks off or is too much ends all of it, whatever the SDK makes of it.
        const text = await response.text();
        const headers = new Headers([...response.headers].filter(([, value]) => value.length <= maxHeaderChars));
        const { status } = response;
        if (status === 204 || status === 205 || status === 304) return new Response(null, { status, headers });
        return meant(text, { status, headers });
      } catch (error) {
        refusal ??= signal.aborted ? signal.reason : error;
        throw error;
      }
    },
  };
}

/**
 * What an answer means. A member that is null or empty is not there, nor is a time that is no number: the tokens beside it may be the only
 * ones that are left.
 */
function meant(text: string, init: { readonly status: number; readonly headers: Headers }): Response {
  if (init.status !== 200 && init.status !== 201) return new Response(text, init);
  let said: unknown;
  try {
    said = JSON.parse(text);
  } catch {
    return new Response(text, init);
  }
  if (!isObject(said)) return new Response(text, init);
  const isSaid = ([name, value]: [string, unknown]) =>
    value !== null && value !== '' && (name !== 'expires_in' || Number.isFinite(Number(value)));
  return new Response(JSON.stringify(Object.fromEntries(Object.entries(said).filter(isSaid))), init);
}

/** Throws for what would be sent in the open, or to where nothing may go. */
export function requireSecure(url: URL, allowPrivate: OAuthFetchOptions['allowPrivate']): void {
  const [hostname, port] = [hostnameOf(url), portOf(url)];
  const isLoopback = hostname === 'localhost' || hostname === '::1' || /^127(\.\d{1,3}){3}$/.test(hostname);
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && isLoopback && allowPrivate?.(hostname, port) === true))
    throw refused(`${url.protocol}//${url.host} is not https, and no loopback address that mcpClient.allowPrivate grants`);
  try {
    requireAllowedUrl(url, allowPrivate === undefined ? {} : { allowPrivate });
  } catch (error) {
    throw error instanceof NexusError && error.code === 'tool_input_invalid' ? refused(error.message) : error;
  }
}

function refused(message: string, details?: Readonly<Record<string, string>>): NexusError {
  return new NexusError(
    'tool_failed',
    `the authorization of the MCP server cannot be taken: ${message}`,
    details === undefined ? {} : { details },
  );
}
