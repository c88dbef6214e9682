import { readFile } from 'node:fs/promises';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { Socket } from 'node:net';
import type { ApiConfig, ApiLogger, ApiMetrics } from '#api/contract';
import type { ErrorReplies } from './errors.ts';

export type ArrivalLimits = Pick<ApiConfig['limits'], 'requestTimeoutMs' | 'keepAliveMs'>;

/**
 * Requests of one connection that may wait for their answers. No setting: those who send the next before they read the last send a few.
 * What is read from a socket at once may hold a thousand, which would all be begun before anybody else is heard.
 */
const maxPipelined = 32;

/**
 * Node looks for requests that take too long each 30 s, here more often when the limit itself is shorter. It is told at
 * construction: only then is its own limit for headers, 60 s, cut to the one for the whole request.
 */
function arrivalLimits({ requestTimeoutMs, keepAliveMs }: ArrivalLimits) {
  return {
    requestTimeout: requestTimeoutMs,
    connectionsCheckingInterval: Math.min(30_000, requestTimeoutMs),
    keepAliveTimeout: keepAliveMs,
  };
}

/**
 * The server behind one address. It takes a request without a host and one that expects something, so that we can say ourselves what is
 * wrong; what is not HTTP is told so by `errors`; and a connection that asks {@link maxPipelined} times without an answer is cut.
 */
export function createHttp1Server(limits: ArrivalLimits, errors: Pick<ErrorReplies, 'refuseUnreadable'>, handle: RequestListener): Server {
  const unanswered = new WeakMap<Socket, number>();
  const take: RequestListener = (request, response) => {
    const { socket } = request;
    if (socket.destroyed) return;
    const waiting = (unanswered.get(socket) ?? 0) + 1;
    if (waiting > maxPipelined) return void socket.destroy();
    unanswered.set(socket, waiting);
    response.once('close', () => unanswered.set(socket, (unanswered.get(socket) ?? 1) - 1));
    handle(request, response);
  };
  const server = createServer({ ...arrivalLimits(limits), requireHostHeader: false }, take);
  server.on('checkExpectation', take);
  server.on('clientError', (error, socket) => errors.refuseUnreadable(error, socket as Socket)); // it listens on TCP
  return server;
}

/** Files that stay for everything else: the database, workspaces, providers. */
const keptFiles = 256;

/** As many connections as were configured or, where that is fewer, as this process may open. */
export async function connectionLimit(configured: number): Promise<number> {
  const limits = await readFile('/proc/self/limits', 'utf8').catch(() => ''); // another system: what was configured holds
  const files = Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? Number.POSITIVE_INFINITY);
  return Math.min(configured, Math.max(keptFiles, files - keptFiles));
}

/** How often it is said that connections are not taken. */
const tellEveryMs = 60_000;

export interface ConnectionCounterOptions {
  readonly metrics: Pick<ApiMetrics, 'connectionOpened' | 'connectionClosed'>;
  readonly logger: Pick<ApiLogger, 'warn'>;
  readonly now: () => number;
}

/** Counts the connections of all addresses together, and closes at once those beyond the limit. */
export function createConnectionCounter({ metrics, logger, now }: ConnectionCounterOptions) {
  let open = 0;
  let toldAt = Number.NEGATIVE_INFINITY;
  return (server: Server, limit: number): void => {
    server.on('connection', (socket) => {
      if (open >= limit) {
        socket.destroy();
        if (now() - toldAt < tellEveryMs) return;
        toldAt = now();
        logger.warn({ limit }, 'connections are refused: as many are open as limits.connections and the open files of this process allow');
        return;
      }
      open += 1;
      metrics.connectionOpened();
      socket.once('close', () => {
        open -= 1;
        metrics.connectionClosed();
      });
    });
  };
}
