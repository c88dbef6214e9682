import type { ServerResponse } from 'node:http';
import { idPrefixes, isTypeId } from '@nexus-agent/protocol';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import {
  type AdminQuestion,
  type ApiLogger,
  type ApiServices,
  bodySizes,
  type Call,
  localOperator,
  type Route,
  type RouteAnswer,
  visitor,
} from '#api/contract';
import { NexusError, parseRequest, parseTraceparent, type SecretValues } from '#core';
import { type Authenticate, operatorNeeded, requireScope } from './authenticate.ts';
import type { TenantShare } from './tenant-share.ts';

export interface RouteAdapter {
  readonly services: ApiServices;
  readonly authenticate: Authenticate;
  readonly logger: ApiLogger;
  /** What one tenant may have under way. */
  readonly shares: { readonly requests: TenantShare; readonly streams: TenantShare };
  /** Most that any endpoint takes. */
  readonly bodyBytes: number;
  /** What no answer may hold. */
  readonly secrets: SecretValues;
}

const jsonContentType = 'application/json; charset=utf-8';
const idempotencyKeyPattern = /^[\x21-\x7e]{1,255}$/;
const allMethods = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS'] as const;

/** Makes the app answer by the routes; a known path under another method answers 405. */
export function registerRoutes(app: FastifyInstance, routes: readonly Route[], adapter: RouteAdapter): void {
  for (const route of routes) register(app, route, adapter);
  refuseOtherMethods(app, routes);
}

function register(
  app: FastifyInstance,
  route: Route,
  { services, authenticate, logger, bodyBytes, secrets, shares: { requests, streams } }: RouteAdapter,
): void {
  const size = bodySizes[route.bodySize ?? 'small'];
  app.route({
    method: route.method,
    url: urlOf(route.path),
    exposeHeadRoute: hasHead(route),
    config: { route: route.path, stream: route.stream === true, maxValues: size.values, fromSites: route.fromSites === true },
    bodyLimit: Math.min(size.bytes, bodyBytes),
    // Authentication comes before the body is read: a stranger cannot make the server parse.
    ...(route.scope === 'public'
      ? {}
      : {
          onRequest: async (request: FastifyRequest, reply: FastifyReply) => {
            const principal = await authenticate(request.raw, route);
            request.principal = principal;
            if (principal !== visitor) requireScope(principal, route);
            reply.raw.once('close', (route.stream === true ? streams : requests).enter(principal.tenantId));
          },
        }),
    handler: async (request, reply) => {
      const call = callOf(route, services, request, reply.raw);
      if (call.principal === visitor && route.visitors?.safeParse(call.body).success !== true)
        throw operatorNeeded(request.socket.localPort);
      // What a visitor may see here is what the operator shows to every program on this machine, unless policy keeps it from the operator too.
      const asker = call.principal === visitor ? localOperator : call.principal;
      if (route.scope === 'admin') await services.administration.ask(asker, route.asks, argumentsOf(route.asks, call));
      return send(await route.handle(call), reply, { logger, secrets });
    },
  });
}

function callOf(route: Route, services: ApiServices, request: FastifyRequest, response: ServerResponse): Call<unknown, unknown> {
  const params = request.params as Record<string, string>; // path parameters are texts
  checkParams(route, params);
  refuseNul(request.query as Readonly<Record<string, unknown>>); // as Fastify parses it
  const { headers } = request;
  const trace = headers.traceparent;
  return {
    principal: request.principal ?? localOperator,
    params,
    query: route.query === undefined ? undefined : parseRequest(route.query, request.query, 'query'),
    hasQuery: request.url.includes('?'),
    body: route.body === undefined ? undefined : parseRequest(route.body, bodyOf(route, request.body), 'body', shownOf(route)),
    headers,
    requestId: request.id,
    idempotencyKey: route.idempotent === true ? idempotencyKey(headers['idempotency-key']) : null,
    traceparent: typeof trace === 'string' && parseTraceparent(trace) !== undefined ? trace : null,
    signal: () => {
      const controller = new AbortController();
      response.on('close', () => {
        if (!response.writableFinished) controller.abort(new NexusError('cancelled', 'the client went away'));
      });
      return controller.signal;
    },
    services,
  };
}

/** Whoever writes a definition wants to mend it at once: as much is said of it as of a configuration. */
function shownOf({ scope }: Route): number | undefined {
  return scope === 'admin' ? 20 : undefined;
}

function argumentsOf(asks: AdminQuestion<unknown>, { body, params, query }: Call<unknown, unknown>): Readonly<Record<string, unknown>> {
  if (asks.arguments !== undefined) return asks.arguments(body);
  return {
    ...(query as Readonly<Record<string, unknown>> | undefined),
    ...params,
    ...(body as Readonly<Record<string, unknown>> | undefined),
  }; // all bodies are objects
}

function send(answer: RouteAnswer, reply: FastifyReply, { logger, secrets }: Pick<RouteAdapter, 'logger' | 'secrets'>): FastifyReply {
  if ('stream' in answer) {
    reply.hijack();
    // The stream owns its errors; this catches only a fault of the writer itself.
    answer.stream(reply.raw).catch((error: unknown) => {
      logger.error({ requestId: reply.request.id, err: error }, 'stream failed unexpectedly');
      reply.raw.destroy();
    });
    return reply;
  }
  if ('text' in answer)
    return reply
      .code(answer.status)
      .headers(answer.headers ?? {})
      .header('content-type', answer.contentType)
      .send(answer.text);
  if (!('body' in answer))
    return reply
      .code(204)
      .headers(answer.headers ?? {})
      .send();
  if (answer.replayed === true) reply.header('idempotent-replayed', 'true');
  return reply
    .code(answer.status)
    .header('content-type', jsonContentType)
    .send(secrets.inText(JSON.stringify(answer.body)));
}

function checkParams(route: Route, params: Readonly<Record<string, string>>): void {
  for (const [name, kind] of Object.entries(route.params ?? {})) {
    const value = params[name] ?? '';
    if (kind === 'name' ? !/^[A-Za-z0-9_.-]{1,100}$/.test(value) : !isTypeId(idPrefixes[kind], value)) {
      throw new NexusError(
        'not_found',
        `there is no ${name} ${JSON.stringify(value.slice(0, 100))}${kind === 'name' ? '; names have 1 to 100 of the characters A-Z a-z 0-9 _ . -' : `; ids look like ${idPrefixes[kind]}_01h455vb4pex5vsknk084sn02q`}`,
      );
    }
  }
}

/** Nothing is named so, and Postgres takes no text that holds it. */
function refuseNul(query: Readonly<Record<string, unknown>>): void {
  for (const [name, values] of Object.entries(query)) {
    if (![name, ...[values].flat()].some((text) => typeof text === 'string' && text.includes('\0'))) continue;
    throw new NexusError('invalid_request', `query: ${JSON.stringify(name.slice(0, 100))}: the character U+0000 is in it; leave it out`);
  }
}

function bodyOf(route: Route, body: unknown): unknown {
  if (body !== undefined && body !== null) return body;
  if (route.bodyOptional === true) return {};
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
  for (const route of routes) {
    const { path, method } = route;
    const methods = paths.get(path) ?? new Set();
    methods.add(method);
    if (hasHead(route)) methods.add('HEAD');
    paths.set(path, methods);
  }
  for (const [path, methods] of paths) {
    const allow = [...methods].join(', ');
    app.route({
      method: allMethods.filter((method) => !methods.has(method)),
      url: urlOf(path),
      config: { route: path },
      onRequest: (request, reply, done) => {
        reply.header('allow', allow);
        done(new NexusError('method_not_allowed', `${request.method} is not allowed here; use ${allow}`));
      },
      handler: async () => undefined,
    });
  }
}

/** What a browser is sent to is done once: not by whoever looks whether something is there. */
function hasHead({ method, stream, fromSites }: Route): boolean {
  return method === 'GET' && stream !== true && fromSites !== true;
}

function urlOf(path: string): string {
  return path.replace(/\{(\w+)\}/g, ':$1');
}
