import { createServer, type IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { NexusError } from '#core';
import { createConnectionLog } from './log.ts';
import { createMeter } from './meter.ts';
import { answerRaw } from './refusals.ts';
import { type ServeEnvironment, serveHttp, serveTunnel } from './serve.ts';
import type { EgressProxy, EgressProxyOptions, ProxyDefence } from './types.ts';

/**
 * The one way out of a jail: a proxy for one program, on a socket that only that program is given. It takes tunnels and plain HTTP, one
 * request a connection, to hosts that were granted before; each connection is checked as those of any tool are, and pinned to the address
 * that was checked. A request of plain HTTP is read here and written anew, so that no two of its readers can differ about where it ends.
 */
export async function openEgressProxy(options: EgressProxyOptions): Promise<EgressProxy> {
  const { socketPath, egress, grants, limits, clock, timers, without = new Set<ProxyDefence>() } = options;
  const log = createConnectionLog(createMeter(limits, clock, timers, without), clock);
  /** With what gives up a head that is not whole in time. */
  const open = new Map<Socket, () => void>();
  const running = new Set<Promise<void>>();
  const closing = new AbortController();
  const environment: ServeEnvironment = { egress, grants, limits, log, without, closing: closing.signal };
  let total = 0;

  const server = createServer({
    maxHeaderSize: without.has('limit-header') ? 64 * 1024 * 1024 : limits.headerBytes,
    // By ourselves: a server that takes no more connections looks at those that it has no longer.
    headersTimeout: 0,
    requestTimeout: 0,
    requireHostHeader: false, // HTTP/1.0 has none, and the first line names the host
  });
  server.maxRequestsPerSocket = 1;
  server.maxHeadersCount = 0; // by ourselves: more would be left out without a word

  server.on('connection', (socket: Socket) => {
    socket.on('error', () => undefined);
    total += 1;
    const isLast = total >= limits.totalConnections && !without.has('limit-total-connections');
    // Then the kernel refuses what comes: nobody can make the server take connections on and on.
    if (isLast && server.listening) server.close();
    if (total > limits.totalConnections && !without.has('limit-total-connections')) return void socket.destroy();
    if (open.size >= limits.connections && !without.has('limit-connections')) return void socket.destroy();
    const late = (limit: ProxyDefence, ms: number, then: () => void) => (without.has(limit) ? () => undefined : timers.after(ms, then));
    open.set(
      socket,
      late('limit-idle', limits.idleMs, () => answerRaw(socket, 408, `the head of the request took more than ${limits.idleMs} ms`)),
    );
    const cancel = late('limit-connection-time', limits.connectionMs, () => socket.destroy());
    if (!without.has('limit-idle')) socket.setTimeout(limits.idleMs, () => socket.destroy());
    socket.once('close', () => {
      open.get(socket)?.();
      open.delete(socket);
      cancel();
    });
  });

  server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => {
    const status = error.code === 'HPE_HEADER_OVERFLOW' ? 431 : 400;
    answerRaw(socket, status, 'the request is no sound HTTP, or its head is too large');
  });

  server.on('request', (request, response) => {
    open.get(request.socket)?.();
    track(serveHttp(environment, request, response));
  });
  server.on('connect', (request: IncomingMessage, socket: Socket, head: Buffer) => {
    open.get(socket)?.();
    track(serveTunnel(environment, request, socket, head));
  });

  function track(work: Promise<void>): void {
    running.add(work);
    void work.catch(() => undefined).finally(() => running.delete(work));
  }

  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(socketPath, () => {
      server.off('error', reject);
      server.on('error', () => undefined);
      resolve();
    });
  });

  return {
    records: log.records,
    get total() {
      return total;
    },
    async close() {
      if (without.has('ends-with-call')) return;
      closing.abort(new NexusError('cancelled', 'the call is over'));
      const closed = new Promise((resolve) => {
        if (server.listening) server.close(resolve);
        else resolve(undefined);
      });
      for (const socket of open.keys()) socket.destroy();
      await closed;
      await Promise.allSettled(running);
    },
  };
}
