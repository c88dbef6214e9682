import type { IncomingHttpHeaders } from 'node:http';
import { NexusError } from '#core';

/** True for hosts that only this machine can reach. */
export function isLoopbackHost(host: string): boolean {
  return host === 'localhost' || host === '::1' || host === '[::1]' || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host);
}

export interface OriginRules {
  readonly boundHost: string;
  readonly allowedHosts: readonly string[];
  readonly allowedOrigins: readonly string[];
  /** Whether the request comes from a page that may call the API with a key. */
  readonly isFromKnownPage: (headers: IncomingHttpHeaders) => boolean;
}

export interface OriginRule {
  /** Throws `origin_not_allowed` for what comes from a page that may not call this API, or send a browser to it. */
  check(headers: IncomingHttpHeaders, fromSites: boolean): void;
  /** Whether it may be the local operator who asks: a program, or a page of this machine or of an origin that may do so. */
  mayBeOperator(headers: IncomingHttpHeaders): boolean;
}

/**
 * Keeps web pages from driving the local API. The `Host` check stops a page whose name was rebound to loopback, the
 * `Origin` and `Sec-Fetch-Site` checks stop requests that a browser makes on behalf of another site (also those without
 * a preflight, such as images and forms). Programs send neither header and pass.
 */
export function createOriginRule(rules: OriginRules): OriginRule {
  const hosts = new Set([
    'localhost',
    '127.0.0.1',
    '[::1]',
    bracketed(rules.boundHost),
    ...rules.allowedHosts.map((host) => host.toLowerCase()),
  ]);
  const origins = new Set(rules.allowedOrigins);
  const hostOf = (headers: IncomingHttpHeaders) => (headers.host ?? '').toLowerCase();
  const mayBeOperator = (headers: IncomingHttpHeaders) => {
    const { origin } = headers;
    return origin === undefined || origins.has(origin) || origin === `http://${hostOf(headers)}` || origin === `https://${hostOf(headers)}`;
  };
  const check = (headers: IncomingHttpHeaders, fromSites: boolean) => {
    const host = hostOf(headers);
    if (!hosts.has(host) && !hosts.has(host.replace(/:\d{1,5}$/, ''))) {
      throw new NexusError(
        'origin_not_allowed',
        `the Host header ${quote(host)} is not a name of this machine; use localhost or 127.0.0.1, or add the name to auth.allowedHosts`,
      );
    }
    const { origin } = headers;
    if (origin !== undefined) {
      if (mayBeOperator(headers) || rules.isFromKnownPage(headers)) return;
      throw new NexusError(
        'origin_not_allowed',
        `web pages of ${quote(origin)} may not use this API; add the origin to cors.origins to permit it with a key`,
      );
    }
    // The person sees where they are sent: in a window, not within another page.
    if (fromSites && headers['sec-fetch-mode'] === 'navigate' && headers['sec-fetch-dest'] === 'document') return;
    const site = headers['sec-fetch-site'];
    if (site !== undefined && site !== 'same-origin' && site !== 'none') {
      throw new NexusError('origin_not_allowed', 'a web page of another origin may not use this API');
    }
  };
  return { check, mayBeOperator };
}

/** The key that a request presents, or null when it presents none. Throws for credentials of another kind: they are never ignored. */
export function presentedKey(headers: IncomingHttpHeaders): string | null {
  const { authorization } = headers;
  if (authorization !== undefined) {
    const match = /^Bearer +(\S+)$/i.exec(authorization);
    if (match?.[1] === undefined) {
      throw new NexusError('unauthenticated', 'the Authorization header must be: Bearer nx_<id>_<secret>');
    }
    return match[1];
  }
  const key = headers['x-api-key'];
  return typeof key === 'string' ? key : null;
}

/** Headers of proxies, balancers, tunnels and networks of caches, in whole and by what their names begin with. */
const ofProxies =
  /^(?:forwarded|via|x-nexus-fetch|x-(?:forwarded|original|envoy|amzn|amz-cf|azure|appengine|cloud-trace|client|cluster-client|remote|proxy|arr|waws|nginx|vercel|nf|fastly|akamai|sucuri|ngrok|tailscale|real)(?:-.*)?|cf-.*|cdn-.*|fly-.*|fastly-.*|akamai-.*|ngrok-.*|tailscale-.*|true-client-ip|client-ip|remote-addr|proxy-.*|max-forwards)$/;

/** True when a proxy says that it passes on the request of somebody else, who is then not the local operator. */
export function isForwarded(headers: IncomingHttpHeaders): boolean {
  return Object.keys(headers).some((name) => ofProxies.test(name));
}

/** What no browser leaves out, taken together: old ones send no `Sec-Fetch-*`, and none over plain HTTP to another host than loopback. */
const ofBrowsers =
  /^(?:sec-.*|origin|referer|cookie|upgrade|upgrade-insecure-requests|purpose|x-purpose|x-moz|dnt|service-worker.*|ping-.*)$/;
const agentsOfBrowsers = /mozilla|webkit|gecko|opera|chrom|safari|trident|msie|edge|lynx|links|w3m/i;

/**
 * True unless what asks is provably no browser, with a page or without one, and speaks to this machine by its own name. Programs such as
 * curl and ab pass. `fetch` of Node calls itself `node` and sends the `Sec-Fetch-Mode` of a browser, without the `Sec-Fetch-Site` that a
 * browser sends beside it.
 */
export function mayBePage(headers: IncomingHttpHeaders): boolean {
  const { host = '', accept = '' } = headers;
  const agent = headers['user-agent'] ?? '';
  if (!isLoopbackHost(host.toLowerCase().replace(/:\d{1,5}$/, ''))) return true;
  if (agentsOfBrowsers.test(agent) || /text\/html|image\//i.test(accept)) return true;
  const byNode = (name: string) => agent === 'node' && name === 'sec-fetch-mode' && headers[name] === 'cors';
  return Object.keys(headers).some((name) => ofBrowsers.test(name) && !byNode(name));
}

function bracketed(host: string): string {
  return host.includes(':') && !host.startsWith('[') ? `[${host}]` : host.toLowerCase();
}

function quote(text: string): string {
  return JSON.stringify(text.slice(0, 100));
}
