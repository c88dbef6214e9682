/**
 * Attacks on the way out of a jail, as data like those on jails. Programs speak to the proxy by hand, for those that they would use are too
 * polite. What they are after listens here, under names that only this test resolves.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer as createHttpServer, type Server as HttpServer } from 'node:http';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock, systemTimers } from '../../../packages/server/src/core/index.ts';
import { createJail, type Defence, type JailDriver, type JailEnd, type ProxyDefence } from '../../../packages/server/src/tools/index.ts';
import { type EgressGrant, type EgressRecord, openEgressProxy, type ProxyLimits } from '../../../packages/server/src/tools/net/index.ts';
import { ordinaryLimits } from './attacks.ts';

/** Those of every connection of a tool are switched off by what the proxy is given. */
export type EgressDefence = ProxyDefence | 'public-addresses' | 'own-listeners' | Extract<Defence, 'network-apart'>;

export interface EgressAttack {
  readonly name: string;
  /** Without all of these it succeeds. None: the parser keeps it out by itself. */
  readonly defences: readonly EgressDefence[];
  readonly python: string;
  readonly limits?: Partial<ProxyLimits>;
  readonly succeeded?: (end: JailEnd, seen: Seen) => boolean | Promise<boolean>;
}

interface Seen {
  readonly target: EgressTarget;
  readonly socketPath: string;
  readonly total: number;
  readonly records: readonly EgressRecord[];
}

export interface EgressTarget {
  readonly ports: { readonly web: number; readonly other: number; readonly own: number };
  readonly abstractName: string;
  /** `Host` and path of each request that arrived. */
  readonly hits: string[];
  close(): Promise<void>;
}

const prelude = `
import os, socket, sys, time
WEB, OTHER, OWN = os.environ['WEB'], os.environ['OTHER'], os.environ['OWN']
def dial():
  s = socket.create_connection(('127.0.0.1', 3128), 5); s.settimeout(4); return s
def rest(s):
  out = b''
  try:
    while True:
      d = s.recv(65536)
      if not d: break
      out += d
  except OSError: pass
  return out
def talk(text):
  s = dial(); s.sendall(text.encode('latin1')); return rest(s)
def tunnel(to):
  s = dial(); s.sendall(('CONNECT %s HTTP/1.1\\r\\nHost: %s\\r\\n\\r\\n' % (to, to)).encode())
  head = b''
  while not head.endswith(b'\\r\\n\\r\\n'):
    d = s.recv(1)
    if not d: break
    head += d
  return s if b' 200 ' in head[:20] else None
def through(to):
  s = tunnel(to)
  if s is None: return b''
  s.sendall(b'GET /through HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n'); return rest(s)
def get(url, more='', host=None):
  return talk('GET %s HTTP/1.1\\r\\nHost: %s\\r\\n%s\\r\\n' % (url, host or url.split('/')[2], more))
def check(ok): print('ESCAPED' if ok else 'kept')
`;
const reached = (to: string) => `check(b'of-the-host' in through(${to}))`;
const inside = (form: string) => ({
  name: `tunnels to this machine as ${form}`,
  defences: ['public-addresses'] as const,
  python: reached(`'${form}:' + WEB`),
});

const attacks: readonly EgressAttack[] = [
  // Where it may not go
  { name: 'tunnels to a host that was not granted', defences: ['granted-hosts'], python: reached(`'bad.test:' + WEB`) },
  { name: 'tunnels to another port of a granted host', defences: ['granted-ports'], python: reached(`'good.test:' + OTHER`) },
  {
    name: 'writes where it may read',
    defences: ['granted-methods'],
    python: `check(b'of-the-host' in talk('POST http://read.test:%s/ HTTP/1.1\\r\\nHost: read.test:%s\\r\\nContent-Length: 0\\r\\n\\r\\n' % (WEB, WEB)))`,
  },
  { name: 'tunnels where it may read', defences: [], python: reached(`'read.test:' + WEB`) },
  ...['127.0.0.1', '127.1', '0x7f000001', '2130706433', '0177.0.0.1', '0', '[::ffff:127.0.0.1]', '[::ffff:7f00:1]'].map(inside),
  {
    name: 'tunnels to loopback as IPv6',
    defences: [],
    python: `check(any(tunnel(h + ':' + WEB) for h in ('[::1]', '[::]', '[::127.0.0.1]')))`,
  },
  {
    name: 'tunnels to the metadata of a cloud',
    defences: [],
    python: `check(any(tunnel(h + ':80') for h in ('169.254.169.254', '[::ffff:a9fe:a9fe]', '[fe80::a9fe:a9fe]', '[fd00:ec2::254]', '[64:ff9b::a9fe:a9fe]', '[2002:a9fe:a9fe::]', 'meta.test')))`,
  },
  { name: 'tunnels to a name that leads to this machine', defences: ['public-addresses'], python: reached(`'inside.test:' + WEB`) },
  { name: 'tunnels to a name with one address that is not public', defences: ['public-addresses'], python: reached(`'mixed.test:' + WEB`) },
  { name: 'tunnels to a port of the server itself', defences: ['own-listeners'], python: reached(`'good.test:' + OWN`) },
  {
    name: 'asks for a port of the server itself',
    defences: ['own-listeners'],
    python: `check(b'of-the-host' in get('http://good.test:%s/' % OWN))`,
  },
  {
    name: 'is redirected to this machine',
    defences: ['public-addresses'],
    python: `import urllib.request\ntry: check(b'of-the-host' in urllib.request.urlopen('http://good.test:%s/redirect' % WEB, timeout=4).read())\nexcept Exception as e: print(e)`,
  },
  {
    name: 'connects past the proxy',
    defences: ['network-apart'],
    python: `check(socket.create_connection(('127.0.0.1', int(WEB)), 2))`,
  },
  {
    name: 'connects to an abstract socket of the host',
    defences: ['network-apart'],
    python: `s = socket.socket(socket.AF_UNIX); s.connect('\\0' + os.environ['ABSTRACT']); check(True)`,
  },
  // Requests that two readers read in two ways
  {
    name: 'names another host in its Host header',
    defences: ['one-host'],
    python: `get('http://good.test:%s/virtual' % WEB, host='bad.test')`,
    succeeded: (_end, { target }) => target.hits.includes('bad.test /virtual'),
  },
  {
    name: 'names another host in the Host header of a tunnel',
    defences: ['one-host'],
    python: `check(b' 200 ' in talk('CONNECT good.test:%s HTTP/1.1\\r\\nHost: bad.test:443\\r\\n\\r\\n' % WEB)[:20])`,
  },
  {
    name: 'names two hosts',
    defences: [],
    python: `check(b' 200 ' in get('http://good.test:%s/' % WEB, 'Host: bad.test\\r\\n')[:20])`,
  },
  smuggle('by two lengths', `'Content-Length: 4\\r\\nTransfer-Encoding: chunked\\r\\n'`),
  smuggle('by a transfer coding that is none', `'Transfer-Encoding: xchunked\\r\\nContent-Length: 5\\r\\n'`),
  smuggle('by a blank before the colon', `'Transfer-Encoding : chunked\\r\\nContent-Length: 5\\r\\n'`),
  smuggle('by two equal headers of length', `'Content-Length: 5\\r\\nContent-Length: 0\\r\\n'`),
  smuggle('by a folded header', `'X: y\\r\\n Transfer-Encoding: chunked\\r\\nContent-Length: 5\\r\\n'`),
  {
    name: 'adds a request in its first line',
    defences: [],
    python: `get('http://good.test:%s/a%%0d%%0aGET /smuggled' % WEB); get('http://good.test:%s/\\tHTTP/1.1\\nGET /smuggled' % WEB)`,
    succeeded: (_end, { target }) => target.hits.some((hit) => hit.endsWith(' /smuggled')),
  },
  {
    name: 'sends a second request along, to another host',
    defences: ['granted-hosts'],
    python: `one = 'GET http://%s:%s/second HTTP/1.1\\r\\nHost: %s:%s\\r\\n\\r\\n'\ntalk(one % ('good.test', WEB, 'good.test', WEB) + one % ('bad.test', WEB, 'bad.test', WEB)); get('http://bad.test:%s/second' % WEB)`,
    succeeded: (_end, { target }) => target.hits.some((hit) => /^bad\.test:\d+ \/second$/.test(hit)),
  },
  {
    name: 'asks without a host',
    defences: [],
    python: `check(b' 200 ' in talk('GET / HTTP/1.1\\r\\nHost: good.test:%s\\r\\n\\r\\n' % WEB)[:20])`,
  },
  // What it uses up
  {
    name: 'sends a head without end',
    defences: ['limit-header'],
    python: `check(b' 200 ' in get('http://good.test:%s/' % WEB, 'Proxy-X: ' + 'y' * 60000 + '\\r\\n')[:20])`,
  },
  {
    name: 'floods with headers',
    defences: [],
    python: `check(b' 200 ' in get('http://good.test:%s/' % WEB, 'Proxy-X: y\\r\\n' * 400)[:20])`,
  },
  {
    name: 'sends a head by the drop',
    defences: ['limit-idle'],
    limits: { idleMs: 800 },
    python: `s = dial(); s.sendall(b'GET http://good.test:%s/ HTTP/1.1\\r\\nHost: good.test:%s\\r\\n' % (WEB.encode(), WEB.encode()))\nfor i in range(12):\n  s.sendall(b'X-%d: y\\r\\n' % i); time.sleep(0.3)\ns.sendall(b'\\r\\n'); check(b' 200 ' in rest(s)[:20])`,
  },
  {
    name: 'keeps a silent tunnel',
    defences: ['limit-idle'],
    limits: { idleMs: 800 },
    python: `s = tunnel('good.test:' + WEB); time.sleep(3); s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n'); check(b'of-the-host' in rest(s))`,
  },
  {
    name: 'keeps a tunnel on and on',
    defences: ['limit-connection-time'],
    limits: { connectionMs: 1_000 },
    python: `s = tunnel('good.test:' + WEB)\ns.sendall(b'GET / HTTP/1.0\\r\\n')\nfor i in range(10):\n  s.sendall(b'X-%d: y\\r\\n' % i); time.sleep(0.3)\ns.sendall(b'\\r\\n'); check(b'of-the-host' in rest(s))`,
  },
  {
    name: 'opens many connections at once',
    defences: ['limit-connections'],
    limits: { connections: 4 },
    python: `held = []\nfor i in range(12):\n  try: held.append(tunnel('good.test:' + WEB))\n  except OSError: pass\ncheck(len([s for s in held if s]) > 4)`,
  },
  {
    name: 'opens connections on and on',
    defences: ['limit-total-connections'],
    limits: { totalConnections: 20 },
    python: `for i in range(200):\n  try: s = dial(); s.sendall(b'x'); s.close()\n  except OSError: pass\ntime.sleep(0.5)`,
    succeeded: (_end, { total }) => total > 30,
  },
  {
    name: 'sends on and on',
    defences: ['limit-bytes-out'],
    limits: { bytesOut: 100_000 },
    python: `s = tunnel('good.test:' + WEB); s.sendall(b'POST /count HTTP/1.0\\r\\nContent-Length: 1000000\\r\\n\\r\\n')\ns.sendall(b'x' * 1000000); check(b'counted 1000000' in rest(s))`,
  },
  {
    name: 'receives on and on',
    defences: ['limit-bytes-in'],
    limits: { bytesIn: 100_000 },
    python: `check(len(get('http://good.test:%s/much' % WEB)) > 900000)`,
  },
  {
    name: 'receives as fast as it can',
    defences: ['limit-rate'],
    limits: { bytesPerSecond: 100_000 },
    python: `s = dial(); s.sendall(b'GET http://good.test:%s/much HTTP/1.0\\r\\n\\r\\n' % WEB.encode()); s.settimeout(3); at = time.time(); n = 0\nwhile time.time() - at < 3:\n  try: d = s.recv(65536)\n  except OSError: break\n  if not d: break\n  n += len(d)\ncheck(n > 900000)`,
  },
  // What outlives it
  {
    name: 'leaves its way open',
    defences: ['ends-with-call'],
    python: `import subprocess\nsubprocess.Popen(['sleep', '5'], start_new_session=True); check(False)`,
    succeeded: (_end, { socketPath }) => answers(socketPath),
  },
];

function smuggle(how: string, headers: string): EgressAttack {
  return {
    name: `hides a request in another ${how}`,
    defences: [],
    python: `talk('POST http://good.test:%s/ HTTP/1.1\\r\\nHost: good.test:%s\\r\\n' % (WEB, WEB) + ${headers} + '\\r\\n0\\r\\n\\r\\nGET /smuggled HTTP/1.1\\r\\nHost: bad.test\\r\\n\\r\\n')`,
    succeeded: (_end, { target }) => target.hits.some((hit) => hit.endsWith(' /smuggled')),
  };
}

export const egressAttacks: readonly EgressAttack[] = attacks;

function answers(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath, () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

const proxyLimits: ProxyLimits = {
  ...{ connections: 32, totalConnections: 500, bytesOut: 4_000_000, bytesIn: 8_000_000, bytesPerSecond: 100_000_000, headerBytes: 16_384 },
  ...{ idleMs: 10_000, connectionMs: 30_000 },
};

/** Runs it in a jail whose way out lacks these defences, and says whether it succeeded. */
export async function attemptEgress(
  attack: EgressAttack,
  target: EgressTarget,
  without: readonly EgressDefence[] = [],
  driver: JailDriver = 'bubblewrap',
): Promise<{ readonly succeeded: boolean; readonly end: JailEnd; readonly records: readonly EgressRecord[] }> {
  const { ports } = target;
  const isWithout = (defence: EgressDefence) => without.includes(defence);
  const folder = mkdtempSync(join(tmpdir(), 'nexus-egress-attack-'));
  const socketPath = join(folder, 's');
  const any = (hostname: string, port: number): EgressGrant => ({ use: 'any', hostname, port });
  // Also what no operator would allow, so that the addresses themselves are what is refused.
  const careless = ['127.0.0.1', '0.0.0.0', '::1', '::', '::ffff:7f00:1', '::7f00:1', 'inside.test', 'mixed.test'];
  const grants: readonly EgressGrant[] = [
    any('good.test', ports.web),
    any('good.test', ports.own),
    { use: 'read', hostname: 'read.test', port: ports.web },
    ...careless.map((hostname) => any(hostname, ports.web)),
    ...[
      '169.254.169.254',
      '::ffff:a9fe:a9fe',
      'fe80::a9fe:a9fe',
      'fd00:ec2::254',
      '64:ff9b::a9fe:a9fe',
      '2002:a9fe:a9fe::',
      'meta.test',
    ].map((hostname) => any(hostname, 80)),
  ];
  const addresses: Readonly<Record<string, readonly string[]>> = {
    'meta.test': ['169.254.169.254'],
    'mixed.test': ['127.0.0.1', '93.184.215.14'],
  };
  const proxy = await openEgressProxy({
    ...{ socketPath, grants, limits: { ...proxyLimits, ...attack.limits }, clock: systemClock, timers: systemTimers },
    egress: {
      resolve: async (hostname) => (addresses[hostname] ?? ['127.0.0.1']).map((address) => ({ address, family: 4 })),
      allowPrivate: (hostname) => isWithout('public-addresses') || ['good.test', 'bad.test', 'read.test'].includes(hostname),
      isOwnListener: (_address, port) => port === ports.own && !isWithout('own-listeners'),
      connectTimeoutMs: 2_000,
    },
    without: new Set(without.filter((defence): defence is ProxyDefence => !notOfProxy.has(defence))),
  });
  const jail = createJail({
    ...{ clock: systemClock, timers: systemTimers, driver },
    ...(isWithout('network-apart') ? { without: new Set<Defence>(['network-apart']) } : {}),
  });
  target.hits.length = 0;
  try {
    const env = { WEB: String(ports.web), OTHER: String(ports.other), OWN: String(ports.own), ABSTRACT: target.abstractName };
    const argv = ['/usr/bin/python3', '-c', `${prelude}\n${attack.python}`];
    const end = await jail.run({ argv, env, proxySocket: socketPath, limits: ordinaryLimits }, new AbortController().signal);
    await proxy.close();
    const seen = { target, socketPath, total: proxy.total, records: proxy.records };
    const says = Buffer.from(end.stdout).includes('ESCAPED');
    return { succeeded: attack.succeeded === undefined ? says : await attack.succeeded(end, seen), end, records: proxy.records };
  } finally {
    await proxy.close();
    await jail.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

const notOfProxy = new Set<EgressDefence>(['public-addresses', 'own-listeners', 'network-apart']);

export async function setEgressTarget(): Promise<EgressTarget> {
  const hits: string[] = [];
  const sockets = new Set<Socket>();
  const servers: (Server | HttpServer)[] = [];
  const start = async (server: Server | HttpServer, at: { port: number; host: string } | string) => {
    server.on('connection', (socket: Socket) => {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.once('close', () => sockets.delete(socket));
    });
    await new Promise<void>((resolve) => {
      if (typeof at === 'string') server.listen(at, resolve);
      else server.listen(at, resolve);
    });
    servers.push(server);
    const address = server.address();
    return typeof address === 'object' ? ((address as AddressInfo | null)?.port ?? 0) : 0;
  };
  let web = 0;
  const serve = () =>
    createHttpServer((request, response) => {
      hits.push(`${request.headers.host ?? ''} ${request.url ?? ''}`);
      response.on('error', () => undefined);
      if (request.url === '/redirect') return void response.writeHead(302, { location: `http://127.0.0.1:${web}/` }).end();
      if (request.url === '/much') return void response.end(Buffer.alloc(1_000_000, 'm'));
      let bytes = 0;
      request.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
      });
      request.on('end', () => response.end(request.url === '/count' ? `counted ${bytes}` : 'of-the-host'));
      request.on('error', () => undefined);
    });
  const loopback = { port: 0, host: '127.0.0.1' };
  web = await start(serve(), loopback);
  const [other, own] = [await start(serve(), loopback), await start(serve(), loopback)];
  const abstractName = `nexus-test-${process.pid}`;
  await start(
    createServer((socket) => socket.end()),
    `\0${abstractName}`,
  );
  return {
    ports: { web, other, own },
    ...{ abstractName, hits },
    async close() {
      for (const socket of sockets) socket.destroy();
      await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
    },
  };
}
