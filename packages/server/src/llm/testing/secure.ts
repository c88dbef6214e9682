import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo, Server, Socket } from 'node:net';

/** Of `models.test`, which no resolver knows: who reaches it has asked a proxy. Of no worth to anybody. */
export const certificate = `-----BEGIN CERTIFICATE-----
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
export const privateKey = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgxmX63KgX/D6eWSDM
ZNyvslg2Knb12lwm4+ie1w7IWU+hRANCAAS0z6TtO7vLjU9Q8OT1qUazUFjYGsAd
BkOupk9XoOjS/9bD1kKKxy6aThqSGSPo1qTr0owtc9fS38D3CGPTtOFj
-----END PRIVATE KEY-----
`;

export interface Listener {
  readonly port: number;
  close(): Promise<void>;
}

/** Once it listens on a free port of loopback; closing it drops its connections. */
export async function listening(server: Server): Promise<Listener> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port, // a TCP server has such an address
    close: () =>
      new Promise((resolve) => {
        for (const socket of sockets) socket.destroy();
        server.close(() => resolve());
      }),
  };
}

/** A server over TLS that the test answers for. */
export function startSecureServer(handle: (request: IncomingMessage, response: ServerResponse) => void): Promise<Listener> {
  return listening(createSecureServer({ key: privateKey, cert: certificate }, handle));
}
