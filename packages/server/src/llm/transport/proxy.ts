import { request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import type { Socket } from 'node:net';
import type { buildConnector as undici } from 'undici';
import { decoded } from '#core';
import { buildConnector } from '#core/http';

/** A proxy could not be reached, or did not let a connection through. Its message names it without its credentials. */
export class ProxyError extends Error {
  /** `timeout`: it did not answer in time; `refused`: it answered, and will again; `lost`: it may work the next time. */
  readonly kind: 'timeout' | 'refused' | 'lost';

  constructor(kind: ProxyError['kind'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'ProxyError';
    this.kind = kind;
  }
}

export type Connector = undici.connector;

/** How a proxy is named to people: without its credentials. */
export function proxyName(proxy: URL): string {
  return proxy.protocol === 'https:' ? `https://${proxy.host}` : proxy.host;
}

/** `Proxy-Authorization` by the credentials in the proxy's address, where it has any. */
export function proxyAuthorization(proxy: URL): Record<string, string> {
  if (proxy.username === '' && proxy.password === '') return {};
  const credentials = `${decoded(proxy.username)}:${decoded(proxy.password)}`;
  return { 'proxy-authorization': `Basic ${Buffer.from(credentials).toString('base64')}` };
}

/** What a status of a proxy means, as a sentence. */
export function proxyRefusal(proxy: URL, status: number): ProxyError {
  if (status === 407) {
    const given = proxy.username !== '' || proxy.password !== '';
    const what = given ? 'does not take the credentials in its address' : 'wants credentials: put them into its address, as user:password@';
    return new ProxyError('refused', `the proxy ${proxyName(proxy)} ${what} (407)`);
  }
  const kind = status >= 500 ? 'lost' : 'refused';
  return new ProxyError(kind, `the proxy ${proxyName(proxy)} does not let the connection through (${status})`);
}

/**
 * Connections to an `https` server by way of a proxy: `CONNECT`, then TLS with the server itself, so that the proxy sees no more
 * than its name. `timeoutMs` bounds the way to the proxy and its answer together, and then the handshake.
 */
export function createTunnelConnector(proxy: URL, timeoutMs: number): Connector {
  const secure = buildConnector({ timeout: timeoutMs, allowH2: false });
  return (options, callback) => {
    openTunnel(proxy, `${options.hostname}:${options.port === '' ? 443 : options.port}`, timeoutMs).then(
      (httpSocket) => secure({ ...options, httpSocket }, callback),
      (error: ProxyError) => callback(error, null),
    );
  };
}

/** Connections to a proxy that itself asks the server, as it does for `http`. */
export function createProxyConnector(proxy: URL, timeoutMs: number): Connector {
  const connect = buildConnector({ timeout: timeoutMs });
  return (options, callback) => {
    connect(options, (...[error, socket]) => {
      if (error === null) callback(null, socket);
      else callback(unreachable(proxy, error, timeoutMs), null);
    });
  };
}

function openTunnel(proxy: URL, target: string, timeoutMs: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const secure = proxy.protocol === 'https:';
    const request = (secure ? requestHttps : requestHttp)({
      method: 'CONNECT',
      host: proxy.hostname.replace(/^\[|\]$/g, ''),
      port: proxy.port === '' ? (secure ? 443 : 80) : proxy.port,
      path: target,
      headers: { host: target, ...proxyAuthorization(proxy) },
      agent: false,
    });
    const timer = setTimeout(() => {
      request.destroy();
      reject(new ProxyError('timeout', `the proxy ${proxyName(proxy)} did not answer within ${timeoutMs} ms`));
    }, timeoutMs);
    request.once('error', (error) => {
      clearTimeout(timer);
      reject(unreachable(proxy, error, timeoutMs));
    });
    request.once('connect', ({ statusCode = 0 }, socket: Socket, head) => {
      clearTimeout(timer);
      if (statusCode < 200 || statusCode > 299) {
        socket.on('error', () => undefined).destroy();
        return reject(proxyRefusal(proxy, statusCode));
      }
      if (head.length > 0) socket.unshift(head);
      socket.setNoDelay(true);
      resolve(socket);
    });
    request.end();
  });
}

function unreachable(proxy: URL, cause: Error, timeoutMs: number): ProxyError {
  const code = 'code' in cause && typeof cause.code === 'string' ? cause.code : cause.name;
  if (code === 'UND_ERR_CONNECT_TIMEOUT') {
    return new ProxyError('timeout', `the proxy ${proxyName(proxy)} did not answer within ${timeoutMs} ms`, { cause });
  }
  return new ProxyError('lost', `the proxy ${proxyName(proxy)} cannot be reached (${code})`, { cause });
}
