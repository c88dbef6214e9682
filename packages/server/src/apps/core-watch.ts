import { createHash, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { TLSSocket } from 'node:tls';
import { boundHost } from '#api';
import { NexusError, type Timers, toProblem } from '#core';
import type { Metrics } from '#telemetry';

export interface CoreWatchOptions {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** What readers of metrics must present. */
  readonly token?: string | undefined;
  /** PEM. With an authority, readers of metrics need a certificate of it. */
  readonly tls?: { readonly cert: Buffer; readonly key: Buffer; readonly clientCa?: Buffer } | undefined;
  readonly timers: Timers;
  readonly version: string;
  readonly scrape: Metrics['scrape'];
  /** Why no work is taken; undefined when it is. */
  readonly unready: () => Promise<string | undefined>;
  readonly onTrouble: (error: unknown, message: string) => void;
}

export interface CoreWatch {
  readonly url: string;
  readonly port: number;
  /** Answers what was asked, for a second at most, and closes. */
  close(): Promise<void>;
}

/** Enough for those who watch; a listener for them alone must not take what callers need. */
const maxConnections = 50;
const requestMs = 5_000;
const flushMs = 1_000;

/**
 * Tells the health of an agent core to everybody who can connect, and its metrics to those who may read them, as the server of the
 * whole platform does at the same paths. Rejects with `unavailable` where the address cannot be bound.
 */
export async function startCoreWatch(options: CoreWatchOptions): Promise<CoreWatch> {
  const { host, tls, onTrouble } = options;
  const listener: RequestListener = (request, response) => {
    request.resume(); // a body is nobody's
    void answer(options, request)
      .catch((error: unknown) => {
        if (!(error instanceof NexusError)) onTrouble(error, 'a request for the health or metrics of the agent core failed inside');
        return refused(error);
      })
      .then((reply) => send(request, response, reply));
  };
  const limits = { requestTimeout: requestMs, headersTimeout: requestMs, connectionsCheckingInterval: 1_000, maxHeaderSize: 16_384 };
  const server: Server =
    tls === undefined
      ? createServer(limits, listener)
      : // Health is for those without a certificate as well; who may read metrics is decided by request.
        createSecureServer(
          {
            ...limits,
            ...{ cert: tls.cert, key: tls.key, handshakeTimeout: requestMs },
            ...(tls.clientCa === undefined ? {} : { ca: tls.clientCa, requestCert: true, rejectUnauthorized: false }),
          },
          listener,
        );
  server.maxConnections = maxConnections;
  await bind(server, options);
  const { port } = server.address() as AddressInfo; // it listens on TCP
  const inUrl = boundHost(host).includes(':') ? `[${boundHost(host)}]` : host;
  return { url: `${tls === undefined ? 'http' : 'https'}://${inUrl}:${port}`, port, close: () => closeServer(server, options.timers) };
}

interface Reply {
  readonly status: number;
  readonly type: string;
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>>;
}

const json = (status: number, value: object): Reply => ({ status, type: 'application/json; charset=utf-8', body: JSON.stringify(value) });

async function answer(options: CoreWatchOptions, request: IncomingMessage): Promise<Reply> {
  const path = (request.url ?? '').split('?', 1)[0];
  if (request.method !== 'GET' && request.method !== 'HEAD')
    throw new NexusError('method_not_allowed', 'the health and metrics of an agent core are only read: send GET');
  switch (path) {
    case '/healthz':
      return json(200, { status: 'ok', version: options.version });
    case '/readyz': {
      const reason = await options.unready();
      if (reason !== undefined) throw new NexusError('unavailable', `not ready: ${reason}`, { retryAfterMs: 1_000 });
      return json(200, { status: 'ready' });
    }
    case '/metrics': {
      requireReader(options, request);
      const { contentType, body } = await options.scrape();
      return { status: 200, type: contentType, body };
    }
    default:
      throw new NexusError('not_found', 'an agent core answers GET /healthz, /readyz and /metrics here; tools are called over gRPC');
  }
}

/** As callers of tools are let in: by a certificate where there is an authority, and by a token where there is one. */
function requireReader({ token, tls }: CoreWatchOptions, { socket, headers }: IncomingMessage): void {
  if (tls?.clientCa !== undefined && !(socket instanceof TLSSocket && socket.authorized))
    throw new NexusError('unauthenticated', 'metrics are for those with a certificate of the authority of callers (grpc.tls.clientCa)');
  if (token === undefined) return;
  const digest = (text: string) => createHash('sha256').update(text).digest();
  const [, presented = ''] = /^bearer (\S+)$/i.exec(headers.authorization ?? '') ?? [];
  if (!timingSafeEqual(digest(presented), digest(token)))
    throw new NexusError('unauthenticated', 'metrics are for those with the token: authorization: Bearer <token> (grpc.metrics.token)');
}

function refused(error: unknown): Reply {
  const known = error instanceof NexusError ? error : new NexusError('internal', 'something failed inside; the log says what');
  const problem = toProblem(known.toInfo(), '');
  const headers = {
    ...(known.code === 'unauthenticated' ? { 'www-authenticate': 'Bearer' } : {}),
    ...(known.code === 'method_not_allowed' ? { allow: 'GET, HEAD' } : {}),
    ...(known.retryAfterMs === undefined ? {} : { 'retry-after': String(Math.ceil(known.retryAfterMs / 1000)) }),
  };
  return { ...json(problem.status, problem), type: 'application/problem+json', headers };
}

function send(request: IncomingMessage, response: ServerResponse, { status, type, body, headers = {} }: Reply): void {
  response.writeHead(status, {
    ...{
      'content-type': type,
      'content-length': Buffer.byteLength(body),
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
    },
    ...headers,
  });
  response.end(request.method === 'HEAD' ? undefined : body);
}

function bind(server: Server, { host, port }: CoreWatchOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const why = cause.code === 'EADDRINUSE' ? 'another program uses it' : (cause.code ?? 'it cannot be bound');
      const message = `the agent core cannot tell its metrics on ${host}:${port} (grpc.metrics.host, grpc.metrics.port): ${why}`;
      reject(new NexusError('unavailable', message, { cause, retryable: false }));
    });
    server.listen(port, boundHost(host), resolve);
  });
}

async function closeServer(server: Server, timers: Timers): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeIdleConnections();
  const cancelCut = timers.after(flushMs, () => server.closeAllConnections());
  await closed;
  cancelCut();
}
