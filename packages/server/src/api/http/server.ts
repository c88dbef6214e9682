import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { ApiDependencies, Bound, Route } from '#api/contract';
import { NexusError, settlesWithin } from '#core';
import { createApp } from './app.ts';
import { createAuthenticator } from './authenticate.ts';
import { connectionLimit, createConnectionCounter } from './connections.ts';
import { type Cors, createCors } from './cors.ts';
import { createErrorReplies } from './errors.ts';
import { createOriginRule, isLoopbackHost, type OriginRule } from './guard.ts';
import { createInFlight } from './in-flight.ts';
import { type Listening, listen, requireActiveKey } from './listen.ts';
import type { ProblemMapper } from './problems.ts';
import { registerRoutes } from './register.ts';
import { createTenantShare } from './tenant-share.ts';

export interface HttpServerOptions extends Omit<ApiDependencies, 'version' | 'greeting' | 'ready'> {
  readonly routes: readonly Route[];
  readonly problemOf: ProblemMapper;
  /** Until then, and from then on, nothing but health is answered. */
  readonly isStarting: () => boolean;
  readonly isClosing: () => boolean;
}

export interface HttpServer {
  listen(): Promise<Bound>;
  /** Serves a connection of this process as one over loopback. */
  accept(socket: Duplex): void;
  /** Waits for `drained`, for `endStreams` and for the requests in flight, at most the grace; then closes the port and every connection. */
  close(endStreams: () => Promise<void>, drained: Promise<unknown>): Promise<void>;
}

/** The routes over HTTP. Nothing is bound until `listen`. */
export async function createHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  const { config, services, logger, clock, timers } = options;
  const { limits } = config;
  const loopback = isLoopbackHost(config.host);
  const cors = createCors(config.cors.origins);
  const rule = createOriginRule({ boundHost: config.host, ...config.auth, isFromKnownPage: cors.isFromPage });
  const inFlight = createInFlight();
  const errors = createErrorReplies(options.problemOf, logger, options.metrics);
  const app = createApp({
    ids: options.ids,
    metrics: options.metrics,
    clock,
    limits,
    errors,
    inFlight,
    admit: createAdmission(options, cors, loopback ? rule : null),
  });
  const authenticate = createAuthenticator({
    keys: services.keys,
    local: loopback ? { mode: config.auth.local, token: options.localToken, mayBeOperator: rule.mayBeOperator } : null,
  });
  const { tenantRequests, tenantStreams } = options.config.limits;
  const shares = {
    requests: createTenantShare({ what: 'requests', limit: tenantRequests, setting: 'limits.tenantRequests' }),
    streams: createTenantShare({ what: 'streams', limit: tenantStreams, setting: 'limits.tenantStreams' }),
  };
  registerRoutes(app, options.routes, { services, authenticate, logger, shares, bodyBytes: limits.bodyBytes, secrets: options.secrets });
  await app.ready();
  const count = createConnectionCounter({ metrics: options.metrics, logger, now: () => clock.monotonic() });
  const connections = await connectionLimit(limits.connections);
  count(app.server, connections);

  let listening: Listening | null = null;
  return {
    async listen() {
      if (!loopback) await requireActiveKey(services.keys, { host: config.host, nowMs: clock.now() });
      listening = await listen(app, { ...config, loopback, limits, errors }, logger);
      if (listening.second !== null) count(listening.second, connections);
      return { url: listening.url, port: listening.port, hosts: listening.hosts };
    },
    accept(socket) {
      app.server.emit('connection', Object.assign(socket, { remoteAddress: '127.0.0.1' }));
    },
    async close(endStreams, drained) {
      const answered = endStreams().then(() => settlesWithin(timers, inFlight.none(), limits.answerGraceMs));
      await Promise.allSettled([drained, answered]);
      const second = listening?.second ?? null;
      const closed = Promise.all([app.close(), second === null ? undefined : new Promise((resolve) => second.close(resolve))]);
      // Kept-alive connections, used or not, would hold the server open until they time out.
      for (const server of [app.server, second]) server?.closeAllConnections();
      await closed;
    },
  };
}

/** Web pages are kept out of the local API, and at shutdown clients are sent elsewhere. */
function createAdmission({ isStarting, isClosing }: HttpServerOptions, cors: Cors, rule: OriginRule | null) {
  return (request: IncomingMessage, response: ServerResponse, fromSites: boolean) => {
    cors.mark(request, response);
    rule?.check(request.headers, fromSites);
    const permission = cors.preflight(request);
    if (permission !== null || !(isStarting() || isClosing()) || /^\/(healthz|readyz)/.test(request.url ?? '')) return permission;
    if (!isClosing()) throw new NexusError('unavailable', 'the server is starting; try again in a moment');
    response.setHeader('connection', 'close');
    throw new NexusError('unavailable', 'the server is shutting down; try again elsewhere', { retryAfterMs: 1000 });
  };
}
