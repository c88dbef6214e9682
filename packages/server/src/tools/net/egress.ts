import { isIP } from 'node:net';
import type { Dispatcher, buildConnector as undici } from 'undici';
import { NexusError, readInSlices } from '#core';
import { buildConnector, UndiciAgent } from '#core/http';
import { isPublicAddress } from './addresses.ts';
import { withoutCrumbs } from './crumbs.ts';

export interface ResolvedAddress {
  readonly address: string;
  readonly family: number;
}

export interface EgressOptions {
  /** All addresses of a name; `granted` says whether the operator named it. See `createNameResolver`. */
  readonly resolve: (hostname: string, granted: boolean) => Promise<readonly ResolvedAddress[]>;
  /** Whether the operator granted exactly this host and port, although its address is private or its port unusual. */
  readonly allowPrivate?: (hostname: string, port: number) => boolean;
  /** Whether this process answers there itself, see {@link createOwnListeners}: that is never reached, whatever is granted. */
  readonly isOwnListener?: (address: string, port: number) => boolean;
  readonly connectTimeoutMs?: number;
  /** Told when a connection stands: nothing was sent before that, and from then on it may have been. */
  readonly onConnected?: (address: string) => void;
  /** Counts connections, and what each sent and received once it is closed. Must not throw. */
  readonly traffic?: EgressObserver | undefined;
}

export interface EgressObserver {
  connected(): void;
  closed(bytes: { readonly sentBytes: number; readonly receivedBytes: number }): void;
}

const wellKnownPorts = new Set([80, 443]);
/** Of a name with more addresses the rest is not looked at, and not used: an answer of a name server may hold thousands. */
const maxAddresses = 64;

/**
 * What a URL from a model may look like: http or https, no credentials, no address that is not public, no port of
 * another well-known service. Throws `address_not_allowed` or `tool_input_invalid`. Numbers, octal and hex as hosts are
 * addresses in the parsed URL already. Names are judged when they are resolved, see {@link createEgressAgent}.
 */
export function requireAllowedUrl(url: URL, options: Pick<EgressOptions, 'allowPrivate'>): void {
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw new NexusError('tool_input_invalid', `${url.protocol} is not supported; use http: or https:`);
  }
  if (url.username !== '' || url.password !== '') {
    throw new NexusError('tool_input_invalid', 'the URL contains credentials; leave them out');
  }
  const hostname = hostnameOf(url);
  const port = portOf(url);
  if (hostname === '') throw new NexusError('tool_input_invalid', 'the URL names no host');
  if (options.allowPrivate?.(hostname, port)) return;
  if (isIP(hostname) !== 0 && !isPublicAddress(hostname)) throw notAllowed(hostname);
  if (port < 1024 && !wellKnownPorts.has(port)) {
    throw new NexusError('address_not_allowed', `port ${port} belongs to another service; use 80, 443 or one from 1024`);
  }
}

/** The host without the brackets of IPv6 and without final dots. */
export function hostnameOf(url: URL): string {
  return url.hostname.replace(/^\[(.*)\]$/, '$1').replace(/\.+$/, '');
}

/** As it stands before a port: an address of IPv6 in brackets. */
export function hostInUrl(hostname: string): string {
  return hostname.includes(':') ? `[${hostname}]` : hostname;
}

export function portOf(url: URL): number {
  return url.port === '' ? (url.protocol === 'https:' ? 443 : 80) : Number(url.port);
}

/** An agent of connections by {@link createEgressConnector}. Ignores proxies of the environment. */
export function createEgressAgent(options: EgressOptions): Dispatcher {
  return new UndiciAgent({ connect: createEgressConnector(options), pipelining: 1 }).compose(withoutCrumbs);
}

/**
 * Makes connections that only reach public addresses, or what the operator granted. The addresses of a name are checked inside the
 * connection's own lookup, so the address that was checked is the one that is connected to; when any answer for a name is not public, none
 * is used.
 */
export function createEgressConnector(options: EgressOptions): undici.connector {
  const { resolve, allowPrivate, isOwnListener = () => false, connectTimeoutMs = 10_000, onConnected, traffic } = options;

  return (target, callback) => {
    const hostname = target.hostname.replace(/^\[(.*)\]$/, '$1').replace(/\.+$/, '');
    const port = Number(target.port) || (target.protocol === 'https:' ? 443 : 80);
    if (isOwnListener(hostname, port)) return callback(ownListener(hostname, port), null);
    const granted = allowPrivate?.(hostname, port) === true;
    // A lookup does not take place for addresses.
    if (!granted && isIP(hostname) !== 0 && !isPublicAddress(hostname)) return callback(notAllowed(hostname), null);
    const connector = buildConnector({
      allowH2: false,
      timeout: connectTimeoutMs,
      lookup: (_name, { all }, done) => {
        resolve(hostname, granted).then(
          (found) => {
            const answers = found.slice(0, maxAddresses);
            const bad = answers.find(({ address }) => isIP(address) === 0 || !(granted || isPublicAddress(address)));
            const [first] = answers;
            if (answers.some(({ address }) => isOwnListener(address, port))) done(ownListener(hostname, port), '');
            else if (bad !== undefined) done(notAllowed(hostname), '');
            else if (first === undefined) done(new NexusError('tool_failed', `${hostname} has no address`), '');
            else if (all) done(null, [...answers]);
            else done(null, first.address, first.family);
          },
          (error: Error) => done(error, ''),
        );
      },
    });
    // Where the connection leads is known for sure once it stands, and nothing has been sent over it yet.
    connector(target, (...[error, socket]) => {
      if (error !== null) return callback(error, null);
      const { remoteAddress = '', localAddress, remotePort = port } = socket;
      if (!isOwnListener(remoteAddress === localAddress ? '127.0.0.1' : remoteAddress, remotePort)) {
        onConnected?.(remoteAddress);
        if (traffic !== undefined) {
          traffic.connected();
          socket.once('close', () => traffic.closed({ sentBytes: socket.bytesWritten, receivedBytes: socket.bytesRead }));
        }
        return callback(null, readInSlices(socket));
      }
      socket.destroy();
      callback(ownListener(hostname, port), null);
    });
  };
}

function notAllowed(hostname: string): NexusError {
  return new NexusError(
    'address_not_allowed',
    `${hostname} is or leads to an address that is not public; only public hosts may be fetched`,
  );
}

function ownListener(hostname: string, port: number): NexusError {
  return new NexusError(
    'address_not_allowed',
    `${hostname}:${port} leads to this server itself, which no tool may call, whatever is granted`,
  );
}
