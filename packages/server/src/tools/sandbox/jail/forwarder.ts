import type { JailLimits, JailRequest } from './types.ts';

/** Where a jail with a proxy has what leads to it. */
export const proxyPlaces = { socket: '/run/nexus/proxy.sock', node: '/run/nexus/node' } as const;
/** Nothing else listens in the network of a jail. */
const port = 3128;

/**
 * Takes connections at a port of the jail's own loopback to the socket. It runs on the Node that the server runs on, the one interpreter that
 * is there on any machine. What it does it does for the program, as the same user and in the same jail: whoever takes it over has gained nothing.
 */
const script = `
const net = require('node:net');
const server = net.createServer({ allowHalfOpen: true }, (from) => {
  const to = net.connect({ path: '${proxyPlaces.socket}', allowHalfOpen: true });
  for (const [one, other] of [[from, to], [to, from]]) {
    one.on('error', () => other.destroy());
    one.on('close', () => other.destroy());
    one.pipe(other);
  }
});
server.on('error', () => process.exit(1));
server.listen(${port}, '127.0.0.1', 1024, () => process.stdout.write('ready\\n'));
`;

/** Starts it, waits until it listens, and becomes the program: that ends the jail, as it always does. */
const launch = `
{ ${proxyPlaces.node} --single-threaded --max-old-space-size=64 -e "$0" </dev/null 2>/dev/null & } | read -r ready || { echo "the way to the network did not start" >&2; exit 126; }
exec "$@"`;

export const forwarding = {
  command: ['/bin/sh', '-c', launch, script],
  /** Threads of it, beside those that the program may have. */
  processes: 12,
} as const;

/** Memory that it takes beside what the program may. */
const memoryBytes = 96 * 1024 * 1024;

export function withForwarder(limits: JailLimits): JailLimits {
  return { ...limits, processes: limits.processes + forwarding.processes, memoryBytes: limits.memoryBytes + memoryBytes };
}

/** As programs look for a proxy, each under another name. */
export function proxyEnvironment({ proxySocket }: Pick<JailRequest, 'proxySocket'>): Record<string, string> {
  if (proxySocket === undefined) return {};
  const url = `http://127.0.0.1:${port}`;
  const names = ['HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY', 'http_proxy', 'https_proxy', 'all_proxy'];
  return { ...Object.fromEntries(names.map((name) => [name, url])), NODE_USE_ENV_PROXY: '1' };
}
