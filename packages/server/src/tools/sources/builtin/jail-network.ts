import { existsSync, readlinkSync } from 'node:fs';
import { lstat, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { type Clock, NexusError, type Timers } from '#core';
import type { ToolContext } from '#tools/contract';
import {
  createNameResolver,
  type EdgeSecrets,
  type EgressGrant,
  type EgressOptions,
  type EgressRecord,
  hostnameOf,
  noEdgeSecrets,
  openEgressProxy,
  type ProxyLimits,
  portOf,
  requireAllowedUrl,
} from '#tools/net';
import { edgeSecretFor } from './edge-secret.ts';

export interface JailNetworkOptions extends ProxyLimits {
  /** Whether programs may ask for hosts at all. */
  readonly enabled: boolean;
  readonly egress: Partial<EgressOptions>;
  /** What programs may name to be sent along. */
  readonly secrets?: EdgeSecrets;
}

/** A host that a program asks for; with a secret, its requests to it are made over TLS by the server, which puts the secret in. */
export type WantedHost = string | { readonly host: string; readonly secret: string };

/** What a program did with its network, for whoever reads its result. */
export interface NetworkUse {
  readonly connections: readonly EgressRecord[];
  /** How many more there were than are listed. */
  readonly more?: number;
}

/** The way of one program to its hosts. */
export interface JailNetwork {
  readonly socketPath: string;
  /** Complete once it is closed. */
  use(): NetworkUse;
  close(): Promise<void>;
}

export interface JailNetworks {
  /**
   * Asks policy about each host, before anything runs. Throws what refuses one. `host` and `host:port` are for anything, 443 when no port is
   * said; `http://host` is for reading by plain HTTP.
   */
  decide(wanted: readonly WantedHost[], context: ToolContext): Promise<readonly EgressGrant[]>;
  open(grants: readonly EgressGrant[], signal: AbortSignal): Promise<JailNetwork>;
}

const folderPattern = /^nexus-egress-(\d+)\.(\d+)-/;
/** What a process of another namespace left, whose number says nothing here, is removed once no call can last as long. */
const strangeMs = 3_600_000;
/** What a system takes as the path of a socket. */
const maxSocketPath = 100;

export function createJailNetworks(
  { enabled, egress, secrets = noEdgeSecrets, ...limits }: JailNetworkOptions,
  { clock, timers }: { readonly clock: Pick<Clock, 'monotonic'>; readonly timers: Timers },
): JailNetworks {
  const names = createNameResolver();
  const { allowPrivate = () => false } = egress;

  async function secretGrant({ host, secret: name }: Exclude<WantedHost, string>, context: ToolContext): Promise<EgressGrant> {
    const { grant, url } = parseWantedHost(host);
    const { hostname, port } = grant;
    const origin = new URL(url);
    if (grant.use === 'any') origin.protocol = 'https:';
    if (grant.use === 'any') origin.port = String(port);
    requireAllowedUrl(origin, { allowPrivate });
    const scheme = origin.protocol.slice(0, -1);
    const verdict = await context.authorize({
      action: 'net.egress',
      resource: hostname,
      context: { port, scheme, private: allowPrivate(hostname, port) },
    });
    if (!verdict.allowed) throw new NexusError(verdict.error.code, verdict.error.message, { details: verdict.error.details ?? {} });
    const secret = await edgeSecretFor(secrets, name, origin, context);
    return { use: 'secret', hostname, port: port === 443 ? 80 : port, origin, secret };
  }

  return {
    async decide(wanted, context) {
      if (wanted.length > 0 && !enabled)
        throw new NexusError('policy_denied', 'programs reach no host here: whoever runs the server has sandbox.jail.network.enabled off');
      const grants: EgressGrant[] = [];
      for (const entry of wanted) {
        if (typeof entry !== 'string') {
          grants.push(await secretGrant(entry, context));
          continue;
        }
        const { grant, url } = parseWantedHost(entry);
        const { use, hostname, port } = grant;
        requireAllowedUrl(url, { allowPrivate });
        const verdict = await context.authorize({
          action: 'net.egress',
          resource: hostname,
          // A tunnel carries what nobody sees, so it is a scheme of its own.
          context: { port, scheme: use === 'any' ? 'tunnel' : 'http', private: allowPrivate(hostname, port) },
        });
        if (!verdict.allowed) throw new NexusError(verdict.error.code, verdict.error.message, { details: verdict.error.details ?? {} });
        grants.push(grant);
      }
      requireOneWay(grants);
      return grants;
    },
    async open(grants, signal) {
      const prefix = `nexus-egress-${process.pid}.${namespaceOfPids()}-`;
      const place = `${tmpdir()}/${prefix}XXXXXX/s`.length > maxSocketPath ? '/tmp' : tmpdir();
      await sweep(place);
      const folder = await mkdtemp(join(place, prefix));
      own.add(basename(folder));
      const socketPath = join(folder, 's');
      const resolve = (hostname: string, granted: boolean) => (granted ? names.ofOperator(hostname) : names.ofOutside(hostname, signal));
      try {
        const proxy = await openEgressProxy({
          ...{ socketPath, grants, limits, clock, timers, egress: { resolve, ...egress } },
        });
        return {
          socketPath,
          use() {
            const more = proxy.total - proxy.records.length;
            return { connections: proxy.records, ...(more > 0 ? { more } : {}) };
          },
          async close() {
            await proxy.close();
            await remove(folder);
          },
        };
      } catch (error) {
        await remove(folder);
        throw error;
      }
    },
  };
}

/** Of this process. A server in a container often has the number of the one before it. */
const own = new Set<string>();

/** What cannot be removed now is what a later call sweeps: the program has run, and its result stands. */
async function remove(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true }).catch(() => undefined);
  own.delete(basename(folder));
}

/** Numbers of processes mean something among those of one namespace; machines without them have one. */
function namespaceOfPids(): string {
  try {
    return /\d+/.exec(readlinkSync('/proc/self/ns/pid'))?.[0] ?? '0';
  } catch {
    return '0';
  }
}

/** Removes what servers of this user left that were killed. Where everybody may write, others could have made what bears such a name. */
async function sweep(place: string): Promise<void> {
  const namespace = namespaceOfPids();
  for (const name of await readdir(place)) {
    const [, pid, of] = folderPattern.exec(name) ?? [];
    if (pid === undefined || own.has(name)) continue;
    const path = join(place, name);
    const stats = await lstat(path).catch(() => undefined);
    if (stats?.isDirectory() !== true || stats.uid !== process.getuid?.()) continue;
    const isLive = of === namespace ? Number(pid) !== process.pid && existsSync(`/proc/${pid}`) : Date.now() - stats.mtimeMs < strangeMs;
    if (!isLive) await rm(path, { recursive: true, force: true }).catch(() => undefined); // the next call tries it again
  }
}

/** A host that is called with a secret is called at that port in no other way. */
function requireOneWay(grants: readonly EgressGrant[]): void {
  for (const { use, hostname, port } of grants) {
    if (use !== 'secret') continue;
    if (grants.filter((grant) => grant.hostname === hostname && grant.port === port).length > 1)
      throw new NexusError(
        'tool_input_invalid',
        `network: ${hostname} is named with a secret, and once more for plain HTTP to port ${port}; give one`,
      );
  }
}

/** Throws `tool_input_invalid`. */
function parseWantedHost(entry: string): { readonly grant: Exclude<EgressGrant, { use: 'secret' }>; readonly url: URL } {
  const [, scheme, authority = ''] = /^(http:\/\/)?([^\s/?#@\\*]+)\/?$/.exec(entry) ?? [];
  const url = authority === '' ? null : URL.parse(`http://${authority}/`);
  if (url === null || hostnameOf(url) === '')
    throw new NexusError(
      'tool_input_invalid',
      `network: ${JSON.stringify(entry.slice(0, 200))} is no host; give one such as "pypi.org", "example.com:8443" or "http://example.com"`,
    );
  const hostname = hostnameOf(url);
  if (scheme !== undefined) return { grant: { use: 'read', hostname, port: portOf(url) }, url };
  const port = /:\d+$/.test(authority) ? portOf(url) : 443;
  url.port = String(port);
  return { grant: { use: 'any', hostname, port }, url };
}
