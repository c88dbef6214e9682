import { createServer, type Socket } from 'node:net';

/** A server of bytes: each request that has come whole is given to the test, which writes to its socket what it likes. */
export interface RawServer {
  readonly url: string;
  readonly requests: readonly string[];
  /** How many connections were opened. */
  readonly connections: number;
  close(): Promise<void>;
}

/** @param answer `count` is that of the request, from 1 */
export async function startRawServer(answer: (socket: Socket, count: number) => void): Promise<RawServer> {
  const requests: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    let received = '';
    socket.on('error', () => undefined);
    socket.on('data', (bytes) => {
      received += bytes.toString('latin1');
      for (let request = firstRequest(received); request !== null; request = firstRequest(received)) {
        received = received.slice(request.length);
        requests.push(request);
        answer(socket, requests.length);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return {
    url: `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`,
    requests,
    get connections() {
      return sockets.size;
    },
    close() {
      for (const socket of sockets) socket.destroy();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}

function firstRequest(received: string): string | null {
  const end = received.indexOf('\r\n\r\n');
  if (end === -1) return null;
  const length = end + 4 + Number(/\r\ncontent-length: (\d+)/i.exec(received.slice(0, end))?.[1] ?? 0);
  return received.length < length ? null : received.slice(0, length);
}

/** An answer on a connection that stays open. */
export function keptAnswer(body: string, status = '200 OK', headers = ''): string {
  return `HTTP/1.1 ${status}\r\ncontent-type: text/event-stream\r\ncontent-length: ${Buffer.byteLength(body)}\r\n${headers}\r\n${body}`;
}
