import { NexusError } from '#core';
import { hostInUrl, hostnameOf, portOf } from '../egress.ts';
import type { EgressGrant, ProxyDefence, SecretGrant } from './types.ts';

/** Where a request of a program leads, spelled one way: numbers of any kind are addresses, names are in small letters. */
export interface ProxyTarget {
  readonly kind: 'tunnel' | 'http';
  readonly method: string;
  /** Of plain HTTP the whole address; of a tunnel only its origin. */
  readonly url: URL;
  readonly hostname: string;
  readonly port: number;
}

const authorityPattern = /^(?:\[[0-9a-fA-F:.]{2,45}\]|[^\s:/?#@[\]\\]{1,253}):\d{1,5}$/;
const methods = new Set(['GET', 'HEAD', 'OPTIONS', 'POST', 'PUT', 'PATCH', 'DELETE']);
const readingMethods = new Set(['GET', 'HEAD']);

/** Where a tunnel leads. Throws `invalid_request`. */
export function tunnelTarget(authority: string, rawHeaders: readonly string[], without: ReadonlySet<ProxyDefence>): ProxyTarget {
  const url = authorityPattern.test(authority) ? URL.parse(`http://${authority}/`) : null;
  if (url === null) throw invalid(`${shown(authority)} is no host and port to connect to, such as example.com:443`);
  return checkedTarget({ kind: 'tunnel', method: 'CONNECT', url }, rawHeaders, without);
}

/** Where a request of plain HTTP leads: it names its host in its first line, as requests to a proxy do. Throws `invalid_request`. */
export function httpTarget(
  method: string,
  address: string,
  rawHeaders: readonly string[],
  without: ReadonlySet<ProxyDefence>,
): ProxyTarget {
  if (!methods.has(method)) throw invalid(`the method ${shown(method)} is not passed on; use one of ${[...methods].join(', ')}`);
  if (/^https:/i.test(address)) throw invalid('an https address is reached through a tunnel; ask for it with CONNECT');
  const url = /^http:\/\/[^/]/i.test(address) ? URL.parse(address) : null;
  if (url === null) throw invalid('this is a proxy: the first line names a whole address, such as GET http://example.com/ HTTP/1.1');
  if (url.username !== '' || url.password !== '') throw invalid('the address contains credentials; send them in a header');
  url.hash = '';
  return checkedTarget({ kind: 'http', method, url }, rawHeaders, without);
}

/** A request that names two hosts is of none: what is checked here and what a server reads must be the same. */
function checkedTarget(
  { kind, method, url }: Pick<ProxyTarget, 'kind' | 'method' | 'url'>,
  rawHeaders: readonly string[],
  without: ReadonlySet<ProxyDefence>,
): ProxyTarget {
  const [hostname, port] = [hostnameOf(url), portOf(url)];
  const hosts = rawHeaders.filter((_, index) => index % 2 === 1 && rawHeaders[index - 1]?.toLowerCase() === 'host');
  if (hosts.length > 1) throw invalid('the request names its host in more than one Host header');
  const [host] = hosts;
  const target = { kind, method, url, hostname, port };
  if (host === undefined || host === '') return target;
  const named = URL.parse(`http://${host}/`);
  // Some clients leave out the port there.
  const isSame = named !== null && hostnameOf(named) === hostname && (!/:\d+$/.test(host) || portOf(named) === port);
  if (isSame || without.has('one-host')) return target;
  throw invalid(`the first line names ${hostname}:${port} and the Host header ${shown(host)}; they must be the same`);
}

/** What the target is sent on with, over TLS; null where it goes as it is. */
export function secretGrantFor({ kind, hostname, port }: ProxyTarget, grants: readonly EgressGrant[]): SecretGrant | null {
  if (kind !== 'http') return null;
  const found = grants.find((grant) => grant.hostname === hostname && grant.port === port && grant.use === 'secret');
  return found?.use === 'secret' ? found : null;
}

/** Null where it is granted, else a sentence that says what would be needed. */
export function whyNotGranted(target: ProxyTarget, grants: readonly EgressGrant[], without: ReadonlySet<ProxyDefence>): string | null {
  const { kind, method, hostname, port } = target;
  const at = grants.filter(
    (grant) => (grant.hostname === hostname || without.has('granted-hosts')) && (grant.port === port || without.has('granted-ports')),
  );
  const reads = kind === 'http' && readingMethods.has(method);
  if (at.some(({ use }) => use === 'any' || (use === 'read' && reads) || (kind === 'http' && without.has('granted-methods')))) return null;
  const anything = JSON.stringify(port === 443 ? hostname : authorityOf(hostname, port));
  const reading = JSON.stringify(`http://${port === 80 ? hostInUrl(hostname) : authorityOf(hostname, port)}`);
  const needed = reads ? `${reading} (to read) or ${anything} (for anything)` : anything;
  const what = kind === 'tunnel' ? `a tunnel to ${authorityOf(hostname, port)}` : `${method} to ${authorityOf(hostname, port)}`;
  return `${what} is not granted to this call: its argument "network" would have to name ${needed}, and policy to allow it`;
}

function authorityOf(hostname: string, port: number): string {
  return `${hostInUrl(hostname)}:${port}`;
}

function invalid(message: string): NexusError {
  return new NexusError('invalid_request', message);
}

function shown(text: string): string {
  return JSON.stringify(text.slice(0, 200));
}
