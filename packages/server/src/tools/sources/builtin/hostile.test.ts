import type { RequestListener } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock, systemTimers } from '#core';
import type { ToolContext } from '#tools/contract';
import { createJail, type JailLimits } from '#tools/sandbox';
import { edgeSecret, secretValue } from './edge-secrets.testkit.ts';
import { createJailNetworks } from './jail-network.ts';

/** Of `models.test`, which no resolver knows. Of no worth to anybody. */
const certificate = `-----BEGIN CERTIFICATE-----
MIIBuzCCAWCgAwIBAgIUNlgYNCbmogQOPXsrEru/7onIFfowCgYIKoZIzj0EAwIw
FjEUMBIGA1UEAwwLbW9kZWxzLnRlc3QwIBcNMjYxMTI2MDUyNTU1WhgPMjEyNjEx
MDIwNTI1NTVaMBYxFDASBgNVBAMMC21vZGVscy50ZXN0MFkwEwYHKoZIzj0CAQYI
KoZIzj0DAQcDQgAEtM+k7Tu7y41PUPDk9alGs1BY2BrAHQZDrqZPV6Do0v/Ww9ZC
iscumk4akhkj6Nak69KMLXPX0t/A9whj07ThY6OBiTCBhjAdBgNVHQ4EFgQUypVs
D9CK5H65UnWxbXj7kPyZYUEwHwYDVR0jBBgwFoAUypVsD9CK5H65UnWxbXj7kPyZ
YUEwDwYDVR0TAQH/BAUwAwEB/zAzBgNVHREELDAqggttb2RlbHMudGVzdIIKcHJv
eHkudGVzdIIJbG9jYWxob3N0hwR/AAABMAoGCCqGSM49BAMCA0kAMEYCIQDVWSi/
WhczLUyQt8YoiQ+OuqUcedUWD6zY4efTEpLSMgIhAP6FpdzJH9npfRUEYaDhIyo2
X0W1W4/08M1ph1uLwjCV
-----END CERTIFICATE-----
`;
const privateKey = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgxmX63KgX/D6eWSDM
ZNyvslg2Knb12lwm4+ie1w7IWU+hRANCAAS0z6TtO7vLjU9Q8OT1qUazUFjYGsAd
BkOupk9XoOjS/9bD1kKKxy6aThqSGSPo1qTr0owtc9fS38D3CGPTtOFj
-----END PRIVATE KEY-----
`;

const jailLimits: JailLimits = {
  ...{ wallMs: 15_000, cpuMs: 8_000, memoryBytes: 120 << 20, processes: 32, files: 64, fileBytes: 8 << 20, outputBytes: 500_000 },
};
const never = new AbortController().signal;
const proxyLimits = {
  ...{ connections: 32, totalConnections: 1_000, bytesOut: 1_000_000, bytesIn: 1_000_000, bytesPerSecond: 100_000_000 },
  ...{ headerBytes: 16_384, idleMs: 5_000, connectionMs: 20_000 },
};

for (const driver of ['bubblewrap', 'gvisor'] as const) {
  const reason = await createJail({ clock: systemClock, timers: systemTimers, driver }).refusal();
  describe.skipIf(reason !== null)(`a program in a jail (${driver}) that calls a host with a secret`, () => {
    const jail = createJail({ clock: systemClock, timers: systemTimers, driver });
    const authorities = getCACertificates('default');
    let server: Server;
    let port = 0;
    let answer: RequestListener;
    const heard: string[] = [];
    const networks = createJailNetworks(
      {
        ...{ enabled: true, ...proxyLimits },
        egress: { allowPrivate: (hostname) => hostname === 'models.test', resolve: async () => [{ address: '127.0.0.1', family: 4 }] },
        secrets: { find: (_tenant, name, { hostname }) => (name === 'DEMO' && hostname === 'models.test' ? edgeSecret : null) },
      },
      { clock: systemClock, timers: systemTimers },
    );
    beforeAll(async () => {
      server = createServer({ key: privateKey, cert: certificate }, (request, response) => {
        heard.push(`${request.url} ${request.headers.authorization}`);
        answer(request, response);
      });
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      port = (server.address() as AddressInfo).port; // a TCP server has such an address
    });
    afterAll(async () => {
      setDefaultCACertificates(authorities);
      await jail.close();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    });
    async function run(code: string) {
      heard.length = 0;
      const context = { tenantId: 'default', authorize: async () => ({ allowed: true }) } as unknown as ToolContext; // nothing else of it is used
      const grants = await networks.decide([{ host: `models.test:${port}`, secret: 'DEMO' }], context);
      const network = await networks.open(grants, never);
      const env = { AT: `models.test:${port}` };
      const end = await jail.run(
        { argv: ['/usr/bin/python3', '-c', code], env, proxySocket: network.socketPath, limits: jailLimits },
        never,
      );
      await network.close();
      return {
        said: Buffer.from(end.stdout).toString() + Buffer.from(end.stderr).toString() + (end.type === 'stopped' ? end.error.message : ''),
        use: network.use(),
      };
    }
    const fetching = `import os, urllib.request, urllib.error
def get(path):
  try: return urllib.request.urlopen('http://' + os.environ['AT'] + path, timeout=8).read().decode()
  except urllib.error.HTTPError as e: return '%d %s' % (e.code, e.read().decode())
`;

    it('is answered over TLS by a server that has seen it, which the program has not [verifies tools.edge.jail]', async () => {
      setDefaultCACertificates([...authorities, certificate]);
      answer = (request, response) => response.end(`hello ${request.headers.authorization}`);
      const { said, use } = await run(`${fetching}print(get('/who'))`);
      expect(said).toBe('hello Bearer [redacted]\n');
      expect(heard).toEqual([`/who Bearer ${secretValue}`]);
      expect(use.connections).toMatchObject([{ host: 'models.test', secret: 'DEMO', outcome: 'ok', address: '127.0.0.1' }]);
    });

    it('finds it nowhere: not in its environment, its files, its memory, nor what others of the jail hold [verifies tools.edge.jail]', async () => {
      setDefaultCACertificates([...authorities, certificate]);
      answer = (_request, response) => response.end('hello');
      // The word is not in the program either: it would find that.
      const parts = [secretValue.slice(0, 6), secretValue.slice(6, 12)].map((part) => JSON.stringify([...part].reverse().join('')));
      const { said } = await run(`${fetching}print(get('/who'))
word = (${parts[0]}[::-1] + ${parts[1]}[::-1]).encode()
found = [k for k, v in os.environ.items() if word.decode() in v]
for root, _, names in (each for top in ('/proc', '/run', '/tmp', '/etc', '/dev/shm') for each in os.walk(top)):
  for name in names:
    at = os.path.join(root, name)
    if '/task/' in at or at.endswith(('kmsg', 'pagemap', 'clear_refs')): continue
    try:
      fd = os.open(at, os.O_RDONLY | os.O_NONBLOCK)
      if word in os.read(fd, 1 << 20): found.append(at)
      os.close(fd)
    except OSError: pass
print(found)`);
      expect(said).toBe('hello\n[]\n');
    });

    it('is told nothing by a server that cannot show who it is, which is sent nothing [verifies tools.edge.jail]', async () => {
      setDefaultCACertificates(authorities);
      answer = (_request, response) => response.end('reached');
      const { said } = await run(`${fetching}print(get('/'))`);
      expect(said).toMatch(/^502 the host could not be reached/);
      expect(heard).toEqual([]);
    });
  });
}
