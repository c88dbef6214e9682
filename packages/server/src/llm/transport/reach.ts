import { NexusError } from '#core';
import { ProxyError, proxyName } from './proxy.ts';

/** How a provider is reached, for errors. */
export interface Way {
  /** Name of the provider. */
  readonly provider: string;
  readonly baseUrl: string;
  readonly proxy?: string;
}

/** What the codes of connections mean, and which of it does not pass by itself. */
const meanings: readonly (readonly [codes: RegExp, meaning: string, lasts?: 'lasts'])[] = [
  [/^ECONNREFUSED$/, 'nothing listens there'],
  [/^(ENOTFOUND|EAI_AGAIN)$/, 'no address is known of that host'],
  [/^(ECONNRESET|EPIPE|UND_ERR_SOCKET)$/, 'the connection was closed without an answer'],
  [/^(EHOSTUNREACH|ENETUNREACH|EADDRNOTAVAIL|EINVAL)$/, 'there is no way to that address'],
  [/^(HPE_|HTTPParserError|bad )/, 'what answers there does not speak HTTP that can be read', 'lasts'],
  [/^UND_ERR_HEADERS_OVERFLOW$/, 'the head of its answer is larger than 64 KB', 'lasts'],
  [/^CERT_HAS_EXPIRED$/, 'its certificate has expired', 'lasts'],
  [/^ERR_TLS_CERT_ALTNAME_INVALID$/, 'its certificate is that of another host', 'lasts'],
  [/CERT|^UNABLE_TO_|ISSUER/, 'its certificate comes from no authority that is trusted here: name its file under tls.ca', 'lasts'],
  [/^(EPROTO|ERR_SSL_)/, 'it does not speak TLS that can be read: is it http instead of https?', 'lasts'],
];

/** An error of the way to a provider, with the place that was tried and what is wrong. `model` is undefined where none was asked. */
export function reachError(way: Way, cause: Error, model?: string): NexusError {
  const { provider } = way;
  const details = { provider, ...(model === undefined ? {} : { model }) };
  if (cause instanceof ProxyError) return proxyFailure(way, cause, model);
  const code = causeCode(cause);
  if (code === 'UND_ERR_CONNECT_TIMEOUT') {
    const message = `no connection to ${provider} in time at ${place(way)}`;
    return new NexusError('provider_timeout', message, { details: { ...details, limit: 'connect' }, cause });
  }
  const [, meaning, lasts] = meanings.find(([pattern]) => pattern.test(code)) ?? [];
  const what = `${provider} cannot be reached at ${place(way)} (${code})${meaning === undefined ? '' : `: ${meaning}`}`;
  return new NexusError('provider_unavailable', `${what}; check the base URL and the network`, {
    details,
    cause,
    ...(lasts === undefined ? {} : { retryable: false }),
  });
}

export function proxyFailure({ provider }: Way, cause: ProxyError, model?: string): NexusError {
  const message = `${provider} cannot be reached: ${cause.message}`;
  const details = { provider, ...(model === undefined ? {} : { model }) };
  if (cause.kind === 'timeout') return new NexusError('provider_timeout', message, { details: { ...details, limit: 'connect' }, cause });
  return new NexusError('provider_unavailable', message, { details, cause, ...(cause.kind === 'refused' ? { retryable: false } : {}) });
}

/** Without the query, which may hold a key. */
function place({ baseUrl, proxy }: Way): string {
  const { origin } = new URL(baseUrl);
  return proxy === undefined ? origin : `${origin} through the proxy ${proxyName(new URL(proxy))}`;
}

function causeCode(cause: Error): string {
  if (/^bad (response|upgrade)$/.test(cause.message)) return cause.message;
  return 'code' in cause && typeof cause.code === 'string' ? cause.code : cause.name;
}
