import { BlockList, isIP } from 'node:net';
import type { NexusConfig } from '#apps/config';
import { NexusError } from '#core';

/** How one provider is reached. */
export interface ProxyQuestion {
  readonly baseUrl: string;
  /** True: through the proxy also where it is excepted, or on this machine. False: never. */
  readonly proxy?: boolean | undefined;
}

/**
 * The proxy through which an address is reached, if any: by its scheme, and unless it is excepted or lies on this machine.
 * Throws `config_invalid` for a proxy that is none that can be used.
 */
export function proxyFor({ baseUrl, proxy }: ProxyQuestion, settings: NexusConfig['proxy']): string | undefined {
  if (proxy === false) return undefined;
  const url = new URL(baseUrl);
  const secure = url.protocol === 'https:';
  const address = secure ? settings.https : settings.http;
  const name = secure ? 'proxy.https (HTTPS_PROXY)' : 'proxy.http (HTTP_PROXY)';
  if (address === undefined) {
    if (proxy === undefined) return undefined;
    throw new NexusError('config_invalid', `the provider at ${url.host} is to be reached through a proxy, but ${name} names none`);
  }
  if (proxy !== true && (isLoopback(baseUrl) || isExcepted(url, settings.except))) return undefined;
  const parsed = URL.canParse(address) ? new URL(address) : null;
  if (parsed === null || parsed.hostname === '' || !/^https?:$/.test(parsed.protocol)) {
    const kind = parsed === null ? 'is no address' : `names a proxy of the kind ${parsed.protocol}`;
    throw new NexusError('config_invalid', `${name} ${kind}; expected http://host:port or https://host:port`);
  }
  return parsed.href;
}

/** A server on this machine. */
export function isLoopback(baseUrl: string): boolean {
  return /^((.+\.)?localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(new URL(baseUrl).hostname);
}

/** `NO_PROXY`: hosts and all below them, `*.` for those below alone, addresses, ranges, each with or without a port, or `*`. */
function isExcepted(url: URL, entries: readonly string[]): boolean {
  const host = url.hostname.replace(/^\[|\]$/g, '').replace(/\.$/, '');
  const port = url.port === '' ? (url.protocol === 'https:' ? '443' : '80') : url.port;
  return entries
    .flatMap((entry) => entry.toLowerCase().split(/\s+/))
    .filter((entry) => entry !== '')
    .some((entry) => {
      const [, inBrackets, plain, wantedPort] = /^(?:\[([^\]]*)\]|([^:]*|.*:.*:.*?))(?::(\d+))?$/.exec(entry) ?? [];
      const pattern = (inBrackets ?? plain ?? '').replace(/\.$/, '');
      return (wantedPort === undefined || wantedPort === port) && covers(pattern, host);
    });
}

function covers(pattern: string, host: string): boolean {
  if (pattern === '*') return true;
  if (pattern === '') return false;
  const family = isIP(host);
  if (family !== 0) return coversAddress(pattern, host, family === 4 ? 'ipv4' : 'ipv6');
  if (pattern.startsWith('*.')) return host.endsWith(pattern.slice(1));
  const name = pattern.replace(/^\./, '');
  return host === name || host.endsWith(`.${name}`);
}

function coversAddress(pattern: string, host: string, family: 'ipv4' | 'ipv6'): boolean {
  const [, address = '', bits] = /^([^/]*)(?:\/(\d{1,3}))?$/.exec(pattern) ?? [];
  const kind = isIP(address) === 4 ? 'ipv4' : isIP(address) === 6 ? 'ipv6' : null;
  if (kind === null || Number(bits ?? 0) > (kind === 'ipv4' ? 32 : 128)) return false;
  const list = new BlockList();
  if (bits === undefined) list.addAddress(address, kind);
  else list.addSubnet(address, Number(bits), kind);
  return list.check(host, family);
}
