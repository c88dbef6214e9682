import type { IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';

/** How pages of configured origins are let in: as the `Fetch` standard has it. */
export interface Cors {
  /** Whether the request comes from a page of a configured origin. */
  isFromPage(headers: IncomingHttpHeaders): boolean;
  /** Sets on the answer what lets such a page read it; called before anything else can answer. */
  mark(request: IncomingMessage, response: ServerResponse): void;
  /** The headers of the answer when such a page asks whether it may send a request; null for any other request. */
  preflight(request: IncomingMessage): OutgoingHttpHeaders | null;
}

const methods = 'GET, HEAD, POST, PUT, DELETE';
const requestHeaders =
  'authorization, content-type, idempotency-key, if-none-match, last-event-id, mcp-method, mcp-name, mcp-protocol-version, mcp-session-id, traceparent, x-api-key, x-request-id';
const exposedHeaders =
  'allow, content-disposition, etag, idempotent-replayed, mcp-session-id, nexus-run-id, nexus-session-id, retry-after, www-authenticate, x-request-id';
/** Browsers ask again after so long; a changed configuration then shows. */
const maxAgeSeconds = '600';

/**
 * Origins are compared as a whole and as they are: a browser sends them in one form. No page is ever allowed to send cookies or other
 * credentials that its user did not give it: it brings an API key in a header.
 */
export function createCors(origins: readonly string[]): Cors {
  const allowed = new Set(origins);
  const isFromPage = ({ origin }: IncomingHttpHeaders) => origin !== undefined && allowed.has(origin);
  return {
    isFromPage,
    mark({ headers }, response) {
      if (allowed.size === 0) return;
      // Also without an origin: whoever keeps the answer must not give it to a page.
      response.setHeader('vary', 'Origin');
      if (!isFromPage(headers)) return;
      response.setHeader('access-control-allow-origin', headers.origin ?? '');
      response.setHeader('access-control-expose-headers', exposedHeaders);
    },
    preflight({ method, headers }) {
      if (method !== 'OPTIONS' || headers['access-control-request-method'] === undefined || !isFromPage(headers)) return null;
      return {
        vary: 'Origin, Access-Control-Request-Method, Access-Control-Request-Headers',
        'access-control-allow-methods': methods,
        'access-control-allow-headers': requestHeaders,
        'access-control-max-age': maxAgeSeconds,
        // From a page of a public address to this machine.
        ...(headers['access-control-request-private-network'] === 'true' ? { 'access-control-allow-private-network': 'true' } : {}),
      };
    },
  };
}
