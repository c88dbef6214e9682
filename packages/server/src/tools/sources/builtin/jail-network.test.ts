import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, symlinkSync, utimesSync } from 'node:fs';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { NexusError, systemClock, systemTimers } from '#core';
import type { AuthorizationRequest, AuthorizationVerdict, ToolContext } from '#tools/contract';
import { createJail, type JailLimits } from '#tools/sandbox';
import { createJailNetworks, type JailNetworkOptions } from './jail-network.ts';

const limits = {
  ...{ connections: 8, totalConnections: 100, bytesOut: 1_000_000, bytesIn: 1_000_000, bytesPerSecond: 10_000_000, headerBytes: 16_384 },
  ...{ idleMs: 5_000, connectionMs: 20_000 },
};
const jailLimits: JailLimits = {
  ...{
    wallMs: 20_000,
    cpuMs: 10_000,
    memoryBytes: 256 * 1024 * 1024,
    processes: 32,
    files: 64,
    fileBytes: 1_000_000,
    outputBytes: 100_000,
  },
};
const never = new AbortController().signal;
const networks = (more: Partial<JailNetworkOptions> = {}) =>
  createJailNetworks({ enabled: true, egress: {}, ...limits, ...more }, { clock: systemClock, timers: systemTimers });

/** A call whose policy answers as it is told. */
function callWith(answer: (request: AuthorizationRequest) => boolean) {
  const asked: AuthorizationRequest[] = [];
  const authorize = async (request: AuthorizationRequest): Promise<AuthorizationVerdict> => {
    asked.push(request);
    return answer(request)
      ? { allowed: true }
      : { allowed: false, error: new NexusError('policy_denied', `no ${request.resource}`).toInfo() };
  };
  return { asked, context: { authorize } as unknown as ToolContext }; // nothing else of it is used
}

describe('hosts that a program asks for', () => {
  it.each([
    ['pypi.org', { use: 'any', hostname: 'pypi.org', port: 443 }],
    ['PyPI.org.', { use: 'any', hostname: 'pypi.org', port: 443 }],
    ['example.com:80', { use: 'any', hostname: 'example.com', port: 80 }],
    ['example.com:8443', { use: 'any', hostname: 'example.com', port: 8443 }],
    ['http://example.com', { use: 'read', hostname: 'example.com', port: 80 }],
    ['http://example.com:8080/', { use: 'read', hostname: 'example.com', port: 8080 }],
    ['[2606:4700::1111]', { use: 'any', hostname: '2606:4700::1111', port: 443 }],
  ])('%s is read as one host, port and use [verifies tools.egress.decided]', async (entry, grant) => {
    expect(await networks().decide([entry], callWith(() => true).context)).toEqual([grant]);
  });

  it.each([
    '',
    '*',
    '*.example.com',
    'a b',
    'https://example.com',
    'http://example.com/path',
    'user@example.com',
    'example.com:99999',
    '/x',
  ])('%j is refused with what would be right [verifies tools.egress.decided]', async (entry) => {
    await expect(networks().decide([entry], callWith(() => true).context)).rejects.toThrow(/is no host; give one such as "pypi.org"/);
  });

  it('are each asked of policy before anything runs, and one that is refused fails the call [verifies tools.egress.decided]', async () => {
    const yes = callWith(() => true);
    await networks().decide(['pypi.org', 'http://example.com'], yes.context);
    expect(yes.asked).toEqual([
      { action: 'net.egress', resource: 'pypi.org', context: { port: 443, scheme: 'tunnel', private: false } },
      { action: 'net.egress', resource: 'example.com', context: { port: 80, scheme: 'http', private: false } },
    ]);
    const no = callWith(({ resource }) => resource !== 'evil.test');
    await expect(networks().decide(['pypi.org', 'evil.test'], no.context)).rejects.toMatchObject({ code: 'policy_denied' });
    await expect(networks({ enabled: false }).decide(['pypi.org'], yes.context)).rejects.toThrow(/sandbox.jail.network.enabled/);
    expect(await networks({ enabled: false }).decide([], yes.context)).toEqual([]);
  });

  it('are none of those that no tool may reach [verifies tools.egress.decided]', async () => {
    const { asked, context } = callWith(() => true);
    for (const entry of ['127.0.0.1:8080', '169.254.169.254', '[::ffff:127.0.0.1]', '0x7f.1', 'example.com:22'])
      await expect(networks().decide([entry], context), entry).rejects.toMatchObject({ code: 'address_not_allowed' });
    expect(asked).toEqual([]);
  });
});

it('what servers that were killed left is removed, and what live ones have stays [verifies tools.egress.gone]', async () => {
  const namespace = /\d+/.exec(readlinkSync('/proc/self/ns/pid'))?.[0];
  const made = (name: string) => {
    const path = join(tmpdir(), `nexus-egress-${name}-test`);
    mkdirSync(path, { recursive: true });
    return path;
  };
  // Of one that is dead, of one that had our own number, and of one that was long ago in another container.
  const left = [made(`4194304.${namespace}`), made(`${process.pid}.${namespace}`), made('7.7')];
  utimesSync(left[2] ?? '', 0, 0);
  // Of one that lives, of one that may live in another container, of another user, and no folder at all.
  const [living, strange, foreign] = [made(`${process.ppid}.${namespace}`), made('8.8'), made('4194303.9')];
  const link = join(tmpdir(), `nexus-egress-4194302.${namespace}-test`);
  symlinkSync(living, link);
  if (process.getuid?.() === 0) chownSync(foreign, 12_345, 12_345);
  utimesSync(foreign, 0, 0);
  const network = await networks().open([], never);
  expect(left.filter((path) => existsSync(path))).toEqual([]);
  expect([living, strange, link].every((path) => existsSync(path))).toBe(true);
  if (process.getuid?.() === 0) expect(existsSync(foreign)).toBe(true);
  for (const path of [link, living, strange, foreign]) rmSync(path, { recursive: true, force: true });
  const other = await networks().open([], never);
  expect(existsSync(network.socketPath)).toBe(true);
  await network.close();
  await other.close();
  expect(readdirSync(tmpdir()).filter((name) => name.startsWith(`nexus-egress-${process.pid}.`))).toEqual([]);
});

it('ten thousand connections cost no more than the first hundred, and then nothing listens [verifies tools.egress.limits]', async () => {
  const network = await networks({ idleMs: 500 }).open([], never);
  let refused = 0;
  for (let batch = 0; batch < 100; batch++)
    await Promise.all(
      Array.from(
        { length: 100 },
        () =>
          new Promise<void>((resolve) => {
            const socket = connect(network.socketPath, () => socket.write('x')).resume();
            socket.once('error', () => {
              refused += 1;
              resolve();
            });
            socket.once('close', () => resolve());
          }),
      ),
    );
  expect(refused).toBeGreaterThan(9_000);
  expect(network.use().more ?? 0).toBeLessThan(1_000);
  await network.close();
});

const reason = await createJail({ clock: systemClock, timers: systemTimers }).refusal();

if (reason !== null) describe('a program in a jail', () => it.skip(`not run: ${reason}`));
else describe('a program in a jail', suite);

function suite() {
  const jail = createJail({ clock: systemClock, timers: systemTimers });
  const server = createServer((request, response) => response.end(`${request.method} ${request.url} ${request.headers.host ?? ''}`));
  let port = 0;
  let lookups = 0;
  const made = networks({
    egress: {
      resolve: async () => {
        lookups += 1;
        // Another one each time that it is asked.
        return [{ address: lookups % 2 === 1 ? '127.0.0.1' : '127.0.0.2', family: 4 }];
      },
      allowPrivate: (hostname) => hostname === 'good.test',
    },
  });
  beforeAll(async () => {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    port = (server.address() as AddressInfo).port;
  });
  afterAll(async () => {
    await jail.close();
    await new Promise((resolve) => server.close(resolve));
  });
  const run = async (command: string, grants: readonly string[]) => {
    const network = await made.open(await made.decide(grants, callWith(() => true).context), never);
    const end = await jail.run({ argv: ['/bin/sh', '-c', command], proxySocket: network.socketPath, limits: jailLimits }, never);
    await network.close();
    return { end, text: Buffer.from(end.stdout).toString() + Buffer.from(end.stderr).toString(), use: network.use(), network };
  };

  it('reaches a granted host by the usual variables, and each connection is told [verifies tools.egress.granted tools.egress.recorded]', async () => {
    const code = `import urllib.request; print(urllib.request.urlopen("http://good.test:${port}/a?b").read().decode())`;
    const { end, text, use } = await run(`python3 -c '${code}'; exit 3`, [`http://good.test:${port}`]);
    expect(text).toBe(`GET /a?b good.test:${port}\n`);
    expect(end).toMatchObject({ type: 'exited', exitCode: 3 });
    expect(use).toEqual({
      connections: [
        {
          ...{ kind: 'http', host: 'good.test', port, method: 'GET', address: '127.0.0.1' },
          ...{ sentBytes: 0, receivedBytes: text.length - 1, durationMs: expect.any(Number), outcome: 'ok' },
        },
      ],
    });
    expect(lookups).toBe(1);
  });

  it('is told what would be needed where it is refused, and the refusal is told too [verifies tools.egress.refused tools.egress.recorded]', async () => {
    const code = `import urllib.request, urllib.error
try: urllib.request.urlopen("http://bad.test:${port}/")
except urllib.error.HTTPError as e: print(e.code, e.read().decode())`;
    const { text, use } = await run(`python3 -c '${code}'`, ['http://good.test']);
    expect(text).toMatch(
      /^403 GET to bad\.test:\d+ is not granted to this call: its argument "network" would have to name "http:\/\/bad\.test/,
    );
    expect(use.connections).toMatchObject([{ host: 'bad.test', outcome: 'refused' }]);
  });

  it('has no way out once its call is over, and leaves no socket [verifies tools.egress.gone]', async () => {
    const { network } = await run('(setsid sleep 20 &)', [`good.test:${port}`]);
    expect(existsSync(network.socketPath)).toBe(false);
  });

  it('ends with a server that is killed, its connections too, and the next server removes its socket [verifies tools.egress.gone]', async () => {
    const mark = `killed${process.pid}${Date.now()}`;
    const held = once(server, 'connection');
    const program = `import { createJail } from '#tools/sandbox'; import { systemClock, systemTimers } from '#core';
      import { createJailNetworks } from './src/tools/sources/builtin/jail-network.ts';
      const parts = { clock: systemClock, timers: systemTimers };
      const made = createJailNetworks({ enabled: true, ...${JSON.stringify(limits)}, egress: {
        resolve: async () => [{ address: '127.0.0.1', family: 4 }], allowPrivate: () => true } }, parts);
      const network = await made.open([{ use: 'any', hostname: 'good.test', port: ${port} }], new AbortController().signal);
      console.log(network.socketPath);
      await createJail(parts).run({ argv: ['python3', '-c', ${JSON.stringify(`
import socket, time
s = socket.create_connection(('127.0.0.1', 3128)); s.sendall(b'CONNECT good.test:${port} HTTP/1.1\\r\\n\\r\\n'); s.recv(9)
time.sleep(60) # ${mark}`)}],
        proxySocket: network.socketPath, limits: ${JSON.stringify(jailLimits)} }, new AbortController().signal);`;
    const other = spawn(process.execPath, ['--conditions=nexus-source', '--input-type=module', '-e', program], {
      cwd: fileURLToPath(new URL('../../../..', import.meta.url)),
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    onTestFinished(() => void other.kill('SIGKILL'));
    const socketPath = String((await once(other.stdout, 'data'))[0]).trim();
    const [tunnel] = await held;
    const closed = once(tunnel, 'close');
    tunnel.resume();
    expect(commandLines()).toContain(mark);
    other.kill('SIGKILL');
    await once(other, 'exit');
    await closed;
    const until = Date.now() + 5_000;
    while (commandLines().includes(mark) && Date.now() < until) await systemTimers.sleep(20);
    expect(commandLines()).not.toContain(mark);
    expect(existsSync(socketPath)).toBe(true);
    await (await made.open([], never)).close();
    expect(existsSync(socketPath)).toBe(false);
  });
}

/** Of all processes of this machine. */
function commandLines(): string {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'latin1');
      } catch {
        return '';
      }
    })
    .join('\n');
}
