import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import fastify, { type FastifyInstance, type FastifyRequest } from 'fastify';
import { type ApiConfig, type ApiDependencies, bodySizes } from '#api/contract';
import { NexusError } from '#core';
import type { Principal } from '#identity';
import { readJson } from './body.ts';
import { createHttp1Server } from './connections.ts';
import type { ErrorReplies } from './errors.ts';
import type { InFlight } from './in-flight.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Pattern of the path, for metrics. */
    route?: string;
    stream?: boolean;
    /** A page of another site may send a browser here. */
    fromSites?: boolean;
    /** Most values that the body may have. */
    maxValues?: number;
  }
  interface FastifyRequest {
    /** Set by authentication; null on public routes. */
    principal: Principal | null;
  }
}

export interface AppOptions extends Pick<ApiDependencies, 'ids' | 'clock' | 'metrics'> {
  readonly limits: Pick<ApiConfig['limits'], 'bodyBytes' | 'requestTimeoutMs' | 'keepAliveMs'>;
  readonly errors: ErrorReplies;
  readonly inFlight: InFlight;
  /**
   * Throws a `NexusError` for a request that is not let in, before its key or body is looked at; may set headers of the answer. What
   * comes back are the headers of an answer that is nothing else: a browser only asked whether it may send a request.
   */
  readonly admit: (request: IncomingMessage, response: ServerResponse, fromSites: boolean) => OutgoingHttpHeaders | null;
}

const requestIdPattern = /^[A-Za-z0-9_.:-]{1,100}$/;
/** No setting: ids and names are shorter, and what is longer is no resource of ours. */
const maxParamLength = 300;

/** The HTTP server without routes: ids, limits, parsing, what every answer carries, and how errors look. */
export function createApp(options: AppOptions): FastifyInstance {
  const { limits, errors } = options;
  const app = fastify({
    logger: false,
    bodyLimit: limits.bodyBytes,
    exposeHeadRoutes: false,
    return503OnClosing: false,
    forceCloseConnections: 'idle',
    serverFactory: (handle) => createHttp1Server(limits, errors, handle),
    genReqId: (request) => {
      const given = request.headers['x-request-id'];
      return typeof given === 'string' && requestIdPattern.test(given) ? given : options.ids.next<string>('request');
    },
    frameworkErrors: errors.send,
    // The server that we make says itself what is wrong with what is no request.
    clientErrorHandler: () => undefined,
    routerOptions: { maxParamLength },
  });
  app.decorateRequest('principal', null);
  parseJsonOnly(app);
  receive(app, options);
  app.setErrorHandler(errors.send);
  app.setNotFoundHandler((request, reply) =>
    errors.send(
      new NexusError(
        'not_found',
        `there is no ${request.method} ${request.url.split('?')[0]?.slice(0, 200) ?? ''}; /docs lists what there is`,
      ),
      request,
      reply,
    ),
  );
  return app;
}

function parseJsonOnly(app: FastifyInstance): void {
  app.removeContentTypeParser('text/plain');
  app.removeContentTypeParser('application/json');
  app.addContentTypeParser('application/json', (request: FastifyRequest) => {
    const { maxValues = bodySizes.small.values } = request.routeOptions.config;
    // An empty body is judged by the route: some take none.
    return readJson(request.raw, { bytes: request.routeOptions.bodyLimit, values: maxValues });
  });
}

const endListeners = 30;

/** What happens to every request as it arrives: it is counted, its answer is given the common headers, and it is let in or not. */
function receive(app: FastifyInstance, { inFlight, clock, metrics, admit }: AppOptions): void {
  app.addHook('onRequest', (request, reply, done) => {
    const { raw } = reply;
    inFlight.add(1);
    const startedAt = clock.monotonic();
    // Some ten parts of ours and of Node's want to know its end; from eleven on Node would warn of a leak.
    raw.setMaxListeners(endListeners);
    // Unlike `finish`, `close` also comes when the client went away.
    raw.once('close', () => {
      inFlight.add(-1);
      const { route, stream } = request.routeOptions.config;
      if (stream === true && raw.statusCode === 200) return;
      metrics.requestCompleted({
        method: request.method,
        route: route ?? 'unmatched',
        status: raw.statusCode,
        durationMs: clock.monotonic() - startedAt,
      });
    });
    raw.setHeader('x-request-id', request.id);
    raw.setHeader('x-content-type-options', 'nosniff');
    raw.setHeader('cache-control', 'no-store');
    useLastContentType(request.raw);
    try {
      refuseOtherThanOneHost(request.raw);
      refusePacked(request.raw);
      refuseExpectation(request.raw);
      const permission = admit(request.raw, raw, request.routeOptions.config.fromSites === true);
      if (permission !== null) return void reply.code(204).headers(permission).send();
      done();
    } catch (error) {
      done(error as Error); // all of these throw NexusError only
    }
  });
}

/** Of several hosts each reader may believe another one, so HTTP forbids them; Node takes the first. */
function refuseOtherThanOneHost({ rawHeaders, httpVersion }: IncomingMessage): void {
  let hosts = 0;
  for (let index = 0; index < rawHeaders.length; index += 2) if (rawHeaders[index]?.toLowerCase() === 'host') hosts += 1;
  if (hosts > 1 || (hosts === 0 && httpVersion !== '1.0')) throw new NexusError('invalid_request', 'a request has one Host header');
}

/** Node itself meets `100-continue`; nothing else can be met. */
function refuseExpectation({ headers: { expect } }: IncomingMessage): void {
  if (expect === undefined || expect.toLowerCase() === '100-continue') return;
  throw new NexusError('invalid_request', 'the only expectation that is met is 100-continue');
}

/** Taken as they stand, packed bytes might by chance be what a body is. */
function refusePacked({ headers }: IncomingMessage): void {
  const encoding = headers['content-encoding'];
  if (encoding === undefined || encoding.trim().toLowerCase() === 'identity') return;
  throw new NexusError('unsupported_media_type', 'send the body as it is, without a Content-Encoding');
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
