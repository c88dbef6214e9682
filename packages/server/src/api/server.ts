import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Key, Page } from '@nexus-agent/protocol';
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { isTooDeep, maxJsonDepth, NexusError, parseRequest } from '#core';
import type { Principal } from '#identity';
import { createOriginCheck, isForwarded, isLoopbackHost, localOperator, presentedKey } from './guard.ts';
import { createProblemMapper, problemContentType } from './problems.ts';
import { type Answer, type Call, checkParams, type Route } from './route.ts';
import { createRoutes } from './routes/index.ts';
import { createStreamHub } from './sse.ts';
import type { Api, ApiDependencies } from './types.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Pattern of the path, for metrics. */
    route?: string;
    stream?: boolean;
  }
  interface FastifyRequest {
    /** Set by authentication; null on public routes. */
    principal: Principal | null;
  }
}

const jsonContentType = 'application/json; charset=utf-8';
const requestIdPattern = /^[A-Za-z0-9_.:-]{1,100}$/;
const traceparentPattern = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;
const idempotencyKeyPattern = /^[\x21-\x7e]{1,255}$/;
/** How long requests in flight may take to be answered at shutdown. */
const answerGraceMs = 5000;
/** How long a request may take to arrive whole: one that trickles in holds its connection no longer. */
const requestTimeoutMs = 60_000;
const allMethods = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS'] as const;

/** Builds the HTTP API. Nothing is bound until {@link Api.listen}. */
export async function createApi(deps: ApiDependencies): Promise<Api> {
  const { config, logger, metrics, services } = deps;
  const loopback = isLoopbackHost(config.host);
  const checkOrigin = createOriginCheck({ boundHost: config.host, ...config.auth });
  const problemOf = createProblemMapper(deps);
  const hub = createStreamHub({
    lagMs: config.limits.streamLagMs,
    pingMs: config.limits.streamPingMs,
    onFrames: (count) => metrics.streamEvents(count),
  });
  const inFlight = createGauge();
  let closing = false;

  const app = fastify({
    logger: false,
    bodyLimit: config.limits.bodyBytes,
    exposeHeadRoutes: false,
    return503OnClosing: false,
    forceCloseConnections: 'idle',
    requestTimeout: requestTimeoutMs,
    genReqId: (request) => {
      const given = request.headers['x-request-id'];
      return typeof given === 'string' && requestIdPattern.test(given) ? given : deps.ids.next<string>('request');
    },
    frameworkErrors: (error, request, reply) => sendError(error, request, reply),
    clientErrorHandler: (error, socket) => {
      if (!socket.writable) return void socket.destroy();
      const code = error.code === 'HPE_HEADER_OVERFLOW' ? 'the request headers are too large' : 'the request is not valid HTTP';
      const body = JSON.stringify(problemOf(new NexusError('invalid_request', code), 'unread').problem);
      socket.end(
        `HTTP/1.1 400 Bad Request\r\ncontent-type: ${problemContentType}\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
      );
    },
    routerOptions: { maxParamLength: 300 },
  });

  app.decorateRequest('principal', null);
  app.removeContentTypeParser('text/plain');
  const parseJson = app.getDefaultJsonParser('error', 'error');
  app.removeContentTypeParser('application/json');
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) => {
    // An empty body is judged by the route: some take none.
    if (body.length === 0) return done(null, undefined);
    const text = body.toString();
    if (isTooDeep(text)) return done(new NexusError('invalid_request', `the body nests deeper than ${maxJsonDepth} levels`));
    void parseJson(request, text, done);
  });

  app.addHook('onRequest', (request, reply, done) => {
    const { raw } = reply;
    inFlight.add(1);
    const startedAt = performance.now();
    // Unlike `finish`, `close` also comes when the client went away.
    raw.once('close', () => {
      inFlight.add(-1);
      const { route, stream } = request.routeOptions.config;
      if (stream === true && raw.statusCode === 200) return;
      metrics.requestCompleted({
        method: request.method,
        route: route ?? 'unmatched',
        status: raw.statusCode,
        durationMs: performance.now() - startedAt,
      });
    });
    raw.setHeader('x-request-id', request.id);
    raw.setHeader('x-content-type-options', 'nosniff');
    raw.setHeader('cache-control', 'no-store');
    useLastContentType(request.raw);
    try {
      refuseSeveralHosts(request.raw);
      if (loopback) checkOrigin(request.headers);
      if (closing && !request.url.startsWith('/healthz') && !request.url.startsWith('/readyz')) {
        raw.setHeader('connection', 'close');
        throw new NexusError('unavailable', 'the server is shutting down; try again elsewhere', { retryAfterMs: 1000 });
      }
      done();
    } catch (error) {
      done(error as Error); // all of these throw NexusError only
    }
  });
  app.setErrorHandler(sendError);
  app.setNotFoundHandler((request, reply) =>
    sendError(
      new NexusError(
        'not_found',
        `there is no ${request.method} ${request.url.split('?')[0]?.slice(0, 200) ?? ''}; /docs lists what there is`,
      ),
      request,
      reply,
    ),
  );

  function sendError(error: unknown, request: FastifyRequest, reply: FastifyReply): void {
    const { problem, headers } = problemOf(error, request.id);
    // As bytes: to a text Fastify would add a charset, which this media type does not have.
    reply
      .code(problem.status)
      .headers(headers)
      .send(Buffer.from(JSON.stringify(problem)));
  }

  async function authenticate(request: IncomingMessage): Promise<Principal> {
    const key = presentedKey(request.headers);
    if (key !== null) {
      const principal = await services.keys.authenticate(key);
      if (principal === null) throw new NexusError('unauthenticated', 'the API key is unknown, expired or revoked');
      return principal;
    }
    if (loopback && !isForwarded(request.headers)) return localOperator;
    throw new NexusError('unauthenticated', 'this address needs an API key: send Authorization: Bearer nx_<id>_<secret>');
  }

  function register(definition: Route): void {
    const anonymous = definition.scope === 'public';
    app.route({
      method: definition.method,
      url: definition.path.replace(/\{(\w+)\}/g, ':$1'),
      exposeHeadRoute: definition.method === 'GET' && definition.stream !== true,
      config: { route: definition.path, stream: definition.stream === true },
      // Authentication comes before the body is read: a stranger cannot make the server parse.
      ...(anonymous
        ? {}
        : {
            onRequest: async (request: FastifyRequest) => {
              const principal = await authenticate(request.raw);
              requireScope(principal, definition);
              request.principal = principal;
            },
          }),
      handler: async (request, reply) => {
        const answer = await definition.handle(callOf(definition, request, reply.raw));
        return send(answer, reply);
      },
    });
  }

  function callOf(definition: Route, request: FastifyRequest, response: ServerResponse): Call<unknown, unknown> {
    const params = request.params as Record<string, string>; // path parameters are texts
    checkParams(definition, params);
    const { headers } = request;
    const trace = headers.traceparent;
    return {
      principal: request.principal ?? localOperator,
      params,
      query: definition.query === undefined ? undefined : parseRequest(definition.query, request.query, 'query'),
      body: definition.body === undefined ? undefined : parseRequest(definition.body, bodyOf(definition, request.body), 'body'),
      headers,
      requestId: request.id,
      idempotencyKey: definition.idempotent === true ? idempotencyKey(headers['idempotency-key']) : null,
      traceparent: typeof trace === 'string' && traceparentPattern.test(trace) ? trace : null,
      signal: () => {
        const controller = new AbortController();
        response.on('close', () => controller.abort(new NexusError('cancelled', 'the client went away')));
        return controller.signal;
      },
      services,
    };
  }

  function send(answer: Answer, reply: FastifyReply): FastifyReply {
    if ('stream' in answer) {
      reply.hijack();
      // The stream owns its errors; this catches only a fault of the writer itself.
      answer.stream(reply.raw).catch((error: unknown) => {
        logger.error({ requestId: reply.request.id, err: error }, 'stream failed unexpectedly');
        reply.raw.destroy();
      });
      return reply;
    }
    if ('text' in answer) return reply.code(answer.status).header('content-type', answer.contentType).send(answer.text);
    if (!('body' in answer)) return reply.code(204).send();
    if (answer.replayed === true) reply.header('idempotent-replayed', 'true');
    return reply.code(answer.status).header('content-type', jsonContentType).send(JSON.stringify(answer.body));
  }

  const routes = createRoutes({
    ...deps,
    isReady: async () => (closing ? { ready: false, reason: 'shutting down' } : deps.ready()),
    async openStream(response, stream) {
      metrics.streamOpened();
      const startedAt = performance.now();
      const outcome = await hub.serve(response, {
        ...stream,
        problemOf: (error) => problemOf(error, stream.requestId),
      });
      metrics.streamClosed({ outcome, durationMs: performance.now() - startedAt });
    },
  });
  for (const definition of routes) register(definition);
  refuseOtherMethods(app, routes);
  await app.ready();

  let second: Server | null = null;
  return {
    async listen() {
      if (!loopback && !(await hasActiveKey(deps))) {
        throw new NexusError(
          'config_invalid',
          `refusing to listen on ${config.host}: it is not a loopback address and there is no API key yet. Create one with: nexus keys create --embedded --name <name>`,
        );
      }
      const host = config.host === 'localhost' ? '127.0.0.1' : config.host.replace(/^\[|\]$/g, '');
      const port = await bind(app, host, config.port);
      if (loopback && host === '127.0.0.1') second = await bindSecond(app, port, deps);
      const url = `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
      return { url, port };
    },
    async close() {
      closing = true;
      const servers = second === null ? [app.server] : [app.server, second];
      const closed = Promise.all([app.close(), second === null ? undefined : closeServer(second)]);
      await hub.close();
      await inFlight.zero(answerGraceMs);
      // Kept-alive connections, used or not, would hold the server open until they time out.
      for (const server of servers) server.closeAllConnections();
      await closed;
    },
  };
}

/** Counts, and tells when nothing is left or the time is up. */
function createGauge(): { add(change: 1 | -1): void; zero(timeoutMs: number): Promise<void> } {
  let count = 0;
  let onZero: (() => void) | null = null;
  return {
    add(change) {
      count += change;
      if (count === 0) onZero?.();
    },
    zero: (timeoutMs) =>
      new Promise((resolve) => {
        if (count === 0) return resolve();
        const timer = setTimeout(resolve, timeoutMs);
        onZero = () => {
          clearTimeout(timer);
          resolve();
        };
      }),
  };
}

function requireScope(principal: Principal, { scope }: Route): void {
  if (scope === 'public' || scope === 'any' || principal.scopes.includes(scope) || principal.scopes.includes('admin')) return;
  throw new NexusError('forbidden', `the key lacks the scope "${scope}"; it has ${principal.scopes.join(', ') || 'none'}`, {
    details: { scope },
  });
}

function bodyOf(definition: Route, body: unknown): unknown {
  if (body !== undefined && body !== null) return body;
  if (definition.bodyOptional === true) return {};
  throw new NexusError('invalid_request', 'this needs a JSON body; send it with content-type: application/json');
}

function idempotencyKey(header: string | string[] | undefined): string | null {
  if (header === undefined) return null;
  if (typeof header === 'string' && idempotencyKeyPattern.test(header)) return header;
  throw new NexusError('invalid_request', 'Idempotency-Key must be 1 to 255 visible ASCII characters');
}

/** A known path under another method answers 405 and names those that work. */
function refuseOtherMethods(app: FastifyInstance, routes: readonly Route[]): void {
  const paths = new Map<string, Set<string>>();
  for (const { path, method, stream } of routes) {
    const methods = paths.get(path) ?? new Set();
    methods.add(method);
    if (method === 'GET' && stream !== true) methods.add('HEAD');
    paths.set(path, methods);
  }
  for (const [path, methods] of paths) {
    const allow = [...methods].join(', ');
    app.route({
      method: allMethods.filter((method) => !methods.has(method)),
      url: path.replace(/\{(\w+)\}/g, ':$1'),
      config: { route: path },
      onRequest: (request, reply, done) => {
        reply.header('allow', allow);
        done(new NexusError('method_not_allowed', `${request.method} is not allowed here; use ${allow}`));
      },
      handler: async () => undefined,
    });
  }
}

async function hasActiveKey({ services }: ApiDependencies): Promise<boolean> {
  let cursor: string | null = null;
  do {
    const page: Page<Key> = await services.keys.list(localOperator, { limit: 200, ...(cursor === null ? {} : { cursor }) });
    if (page.data.some((key) => key.revokedAt === undefined && (key.expiresAt === undefined || Date.parse(key.expiresAt) > Date.now())))
      return true;
    cursor = page.nextCursor;
  } while (cursor !== null);
  return false;
}

async function bind(app: FastifyInstance, host: string, port: number): Promise<number> {
  try {
    await app.listen({ host, port, backlog: 4096 });
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : '';
    if (code === 'EADDRINUSE') {
      throw new NexusError('unavailable', `port ${port} on ${host} is in use; stop what uses it or choose another with --port`, {
        cause: error,
      });
    }
    if (code === 'EACCES' || code === 'EADDRNOTAVAIL') {
      throw new NexusError('config_invalid', `cannot listen on ${host}:${port} (${code})`, { cause: error });
    }
    throw error;
  }
  const address = app.server.address();
  return (address as AddressInfo).port; // a server that listens on TCP has such an address
}

/** The same API on ::1. Machines without IPv6 do without it. */
function bindSecond(app: FastifyInstance, port: number, { logger }: ApiDependencies): Promise<Server | null> {
  return new Promise((resolve) => {
    const server = createServer({ requestTimeout: requestTimeoutMs }, (request, response) => app.routing(request, response));
    server.on('clientError', (_error, socket) => void socket.destroy());
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE')
        logger.warn({ port }, 'another program listens on [::1] at this port: use 127.0.0.1 instead of localhost');
      resolve(null);
    });
    server.listen({ host: '::1', port, ipv6Only: true, backlog: 4096 }, () => resolve(server));
  });
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
  });
}

/** Of several hosts each reader may believe another one, so HTTP forbids them; Node takes the first. */
function refuseSeveralHosts({ rawHeaders }: IncomingMessage): void {
  let hosts = 0;
  for (let index = 0; index < rawHeaders.length; index += 2) if (rawHeaders[index]?.toLowerCase() === 'host') hosts += 1;
  if (hosts > 1) throw new NexusError('invalid_request', 'a request has one Host header');
}

/**
 * ApacheBench sends its own `Content-Type` before the one it was told to send, and Node keeps the first of several. The
 * last is what the caller asked for. A web page cannot send two, so this opens no way around the check for JSON.
 */
function useLastContentType(request: IncomingMessage): void {
  const { rawHeaders, headers } = request;
  for (let index = rawHeaders.length - 2; index >= 0; index -= 2) {
    if (rawHeaders[index]?.toLowerCase() !== 'content-type') continue;
    const value = rawHeaders[index + 1];
    if (value !== undefined) headers['content-type'] = value;
    return;
  }
}
