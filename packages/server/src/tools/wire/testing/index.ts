/** An agent core behind a real socket, its caller, and whoever stands between them. */
import { connect, createServer, type Socket } from 'node:net';
import { systemClock, systemTimers } from '#core';
import type { ToolService } from '#tools';
import { type ClientTls, createRemoteTools, type ServerTls, startToolServer, type ToolServer } from '../index.ts';

/** Of `localhost`, and its own authority. Of no worth to anybody, like the other. */
const certificate = Buffer.from(`-----BEGIN CERTIFICATE-----
MIIBuDCCAV+gAwIBAgIUPxjMUa/w8dvnyQG+djU5mDhBJzkwCgYIKoZIzj0EAwIw
GjEYMBYGA1UEAwwPYWdlbnQtY29yZS50ZXN0MCAXDTI2MTEyNzIyMTc0MVoYDzIx
MjUwNjIxMjIxNzQxWjAaMRgwFgYDVQQDDA9hZ2VudC1jb3JlLnRlc3QwWTATBgcq
hkjOPQIBBggqhkjOPQMBBwNCAATPNs0mk5X567lQ/0qzod1nDUFBjGojiify56Q1
L1w88ZO5uFktKnFWTtfVbkIw8/CVH/dHcfbzYK/5N2r/Atq/o4GAMH4wHQYDVR0O
BBYEFB90Ll2/FsGnXWbmCeJj4rHsmJtGMB8GA1UdIwQYMBaAFB90Ll2/FsGnXWbm
CeJj4rHsmJtGMA8GA1UdEwEB/wQFMAMBAf8wKwYDVR0RBCQwIoIPYWdlbnQtY29y
ZS50ZXN0gglsb2NhbGhvc3SHBH8AAAEwCgYIKoZIzj0EAwIDRwAwRAIgKpX/RSfH
wgHouW+1Oa+Oe2Z4BLp5qUC5hqmSpzZU3zkCIFl9ayM0qJ8afyZTB2yzu7rryJHI
KsExTgl4b+wN7PBQ
-----END CERTIFICATE-----
`);
const privateKey = Buffer.from(`-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgq8Xi5ksz3ha0CWmM
D/lUCXHu99g/XEQMUQDdWiHBWJehRANCAATPNs0mk5X567lQ/0qzod1nDUFBjGoj
iify56Q1L1w88ZO5uFktKnFWTtfVbkIw8/CVH/dHcfbzYK/5N2r/Atq/
-----END PRIVATE KEY-----
`);
const strangerCertificate = Buffer.from(`-----BEGIN CERTIFICATE-----
MIIBhjCCAS2gAwIBAgIUYt66ZAyyykt8as8ot4Vg4me3xvYwCgYIKoZIzj0EAwIw
GDEWMBQGA1UEAwwNc3RyYW5nZXIudGVzdDAgFw0yNjExMjcyMjE3NDFaGA8yMTI1
MDYyMTIyMTc0MVowGDEWMBQGA1UEAwwNc3RyYW5nZXIudGVzdDBZMBMGByqGSM49
AgEGCCqGSM49AwEHA0IABK07ZtU0MWHZfawSTmqoWCsRV+qLb3sfYxIVEGV8odoz
L3CApHPhn7TKJR1WhybEOUdFC//m8ORibTj2WfzzhbCjUzBRMB0GA1UdDgQWBBQD
SNGfKNLYvWdqFxhQpV0ePXYXwDAfBgNVHSMEGDAWgBQDSNGfKNLYvWdqFxhQpV0e
PXYXwDAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0cAMEQCIA5tdM+W81Zr
bxQw7Hn+0rZgbrjI8YQoTGnqdmy3adMWAiBMQi0b67O4/SethGtpcesQFd8iG+7h
B+4lOO+2mwzutQ==
-----END CERTIFICATE-----
`);
const strangerKey = Buffer.from(`-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgGSSJnKnNz8WSAQrQ
dPSfuPolYt5JndcvYxHrvlR7iI+hRANCAAStO2bVNDFh2X2sEk5qqFgrEVfqi297
H2MSFRBlfKHaMy9wgKRz4Z+0yiUdVocmxDlHRQv/5vDkYm049ln884Ww
-----END PRIVATE KEY-----
`);

export const serverTls: ServerTls = { cert: certificate, key: privateKey, clientCa: certificate };
export const clientTls: ClientTls = { serverName: 'agent-core.test', ca: certificate, cert: certificate, key: privateKey };
export const strangerTls: ClientTls = { serverName: 'agent-core.test', ca: certificate, cert: strangerCertificate, key: strangerKey };

export const testToken = 'a-token-of-the-tests';

type ServerSettings = Partial<Omit<Parameters<typeof startToolServer>[0], 'service'>>;
type ClientSettings = Partial<Parameters<typeof createRemoteTools>[0]>;

export async function serveTools(
  service: ToolService,
  settings: ServerSettings = {},
): Promise<ToolServer & { readonly troubles: string[] }> {
  const troubles: string[] = [];
  const server = await startToolServer({
    ...{ service, timers: systemTimers, host: '127.0.0.1', port: 0, token: testToken },
    ...{ maxCalls: 100, maxConnections: 100, maxMessageBytes: 1_000_000, unreadMs: 10_000, keepaliveMs: 10_000 },
    onTrouble: (_error, message) => troubles.push(message),
    ...settings,
  });
  return { ...server, troubles };
}

export function callTools(port: number, settings: ClientSettings = {}): ToolService & { readonly troubles: string[] } {
  const troubles: string[] = [];
  const remote = createRemoteTools({
    ...{ clock: systemClock, timers: systemTimers, address: `127.0.0.1:${port}`, token: testToken },
    ...{ connectTimeoutMs: 5_000, maxMessageBytes: 1_000_000, keepaliveMs: 10_000 },
    onTrouble: (_error, message) => troubles.push(message),
    onLost: (_loss, message) => troubles.push(message),
    onBack: (_about, message) => troubles.push(message),
    ...settings,
  });
  return { ...remote, troubles };
}

/** Stands between the two, and can be cut. */
export async function startRelay(target: number) {
  const sockets = new Set<Socket>();
  const ways = new Set<readonly [Socket, Socket]>();
  let isCut = false;
  const server = createServer((from) => {
    if (isCut) return void from.destroy();
    const to = connect(target, '127.0.0.1');
    for (const [socket, other] of [
      [from, to],
      [to, from],
    ] as const) {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        sockets.delete(socket);
        other.destroy();
      });
      socket.pipe(other);
      ways.add([socket, other]);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const cut = () => {
    isCut = true;
    for (const socket of sockets) socket.destroy();
  };
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    cut,
    /** Nothing comes through any more, and nobody is told: as where a machine is gone, or a process stopped. */
    freeze: () => {
      for (const [socket, other] of ways) socket.unpipe(other).pause();
    },
    mend: () => {
      isCut = false;
    },
    close: () => {
      cut();
      return new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
