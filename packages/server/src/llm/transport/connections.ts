import { readInSlices } from '#core';
import { buildConnector, Pool } from '#core/http';
import { type Connector, createProxyConnector, createTunnelConnector, proxyAuthorization } from './proxy.ts';

export interface ConnectionOptions {
  readonly baseUrl: string;
  /** `http://[user:password@]host[:port]`, or https: the proxy through which the server is reached. */
  readonly proxy?: string;
  readonly connectTimeoutMs?: number;
}

/** Connections to one server. */
export interface ProviderConnections {
  readonly pool: InstanceType<typeof Pool>;
  /** Before the path of each request. */
  readonly pathPrefix: string;
  /** Sent with every request besides its own: for a proxy that reads them. */
  readonly headers: Readonly<Record<string, string>>;
  /** A proxy that answers in the server's stead. */
  readonly forwarder: URL | null;
}

/** Servers in Python close a connection after 5 s without a request: one that they may be closing is not used again. */
const keepAliveMs = 4_000;
/** Gateways add policies and cookies of some tens of kilobytes. */
const maxHeaderSize = 64 * 1024;

/** Connections to the server, to a proxy that passes them on (`https`), or to one that asks the server itself (`http`). */
export function openConnections({ baseUrl, proxy: address, connectTimeoutMs: timeout = 10_000 }: ConnectionOptions): ProviderConnections {
  const base = new URL(baseUrl);
  const path = base.pathname.replace(/\/+$/, '');
  // Our own timers: undici's are a second coarse and cannot tell which limit was hit. A stream has a connection of its own:
  // under HTTP/2 a lost one would take all calls with it.
  const common = { headersTimeout: 0, bodyTimeout: 0, keepAliveTimeout: keepAliveMs, maxHeaderSize, allowH2: false };
  if (address === undefined || base.protocol === 'https:') {
    const connect = address === undefined ? buildConnector({ timeout, allowH2: false }) : createTunnelConnector(new URL(address), timeout);
    const pool = new Pool(base.origin, { ...common, connect: inSlices(connect) });
    return { pool, pathPrefix: path, headers: {}, forwarder: null };
  }
  const proxy = new URL(address);
  return {
    // A connection for each request: many a proxy forgets whom it speaks with after the first.
    pool: new Pool(proxy.origin, { ...common, pipelining: 0, connect: inSlices(createProxyConnector(proxy, timeout)) }),
    pathPrefix: base.origin + path,
    headers: { host: base.host, ...proxyAuthorization(proxy) },
    forwarder: proxy,
  };
}

function inSlices(connect: Connector): Connector {
  return (target, callback) =>
    connect(target, (...[error, socket]) => {
      if (error === null) callback(null, readInSlices(socket));
      else callback(error, null);
    });
}
