import { createServer, type RequestListener } from 'node:http';
import { type AddressInfo, createServer as createRawServer, type Server, type Socket } from 'node:net';
import { createSecretValues } from '#core';
import type { EdgeSecret, EdgeSecrets } from '#tools/net';

export const secretValue = 'sk-Ab9/Cd8+Ef7=Gh6!Ij5';

export const edgeSecret: EdgeSecret = (() => {
  const { inText: clean, stream: cleanStream } = createSecretValues([secretValue]);
  return { name: 'DEMO', header: 'authorization', value: `Bearer ${secretValue}`, clean, cleanStream };
})();

/** Granted for one port of this machine, as the operator would. */
export function edgeSecretsFor(port: () => number): EdgeSecrets {
  return {
    find: (tenantId, name, to) =>
      tenantId !== 'stranger' && name === 'DEMO' && to.hostname === 'localhost' && to.port === port() ? edgeSecret : null,
  };
}

export interface Echo {
  port(): number;
  /** What it was sent, whole heads and bodies. */
  readonly heard: string[];
  answer: RequestListener | ((socket: Socket) => void);
  start(): Promise<void>;
  close(): Promise<void>;
}

/** A server of this machine that answers as a test wants, by HTTP, or byte for byte. */
export function createEcho(kind: 'http' | 'raw'): Echo {
  const sockets = new Set<Socket>();
  const heard: string[] = [];
  const echo: Echo = {
    heard,
    answer: () => undefined,
    port: () => (server.address() as AddressInfo | null)?.port ?? 0, // a TCP server has such an address
    async start() {
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  const server: Server =
    kind === 'http'
      ? createServer((request, response) => {
          heard.push(`${request.method} ${request.url} ${JSON.stringify(request.headers)}`);
          (echo.answer as RequestListener)(request, response);
        })
      : createRawServer((socket) => {
          let head = '';
          socket.on('data', (bytes) => {
            head += bytes.toString('latin1');
            if (!head.includes('\r\n\r\n')) return;
            heard.push(head);
            head = '';
            (echo.answer as (socket: Socket) => void)(socket);
          });
        });
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.once('close', () => sockets.delete(socket));
  });
  return echo;
}
