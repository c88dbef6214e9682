import { type Api, type ApiDependencies, type Bound, localOperator } from '#api/contract';
import { createHttpServer, createProblemMapper } from '#api/http';
import { createMcpEndpoint, createPlatformSurface, type McpEndpoint } from '#api/mcp';
import { createRoutes } from '#api/routes';
import { createStreamServer } from '#api/streams';

/** Builds the HTTP API. Nothing is bound until {@link Api.listen}. */
export async function createApi(deps: ApiDependencies): Promise<Api> {
  const { config, metrics, version, greeting, clock, timers } = deps;
  const problemOf = createProblemMapper(deps);
  const streams = createStreamServer({
    lagMs: config.limits.streamLagMs,
    pingMs: config.limits.streamPingMs,
    clock,
    timers,
    metrics,
  });
  const mcp = config.mcp.server.enabled ? createMcp(deps, problemOf) : undefined;
  let starting = true;
  let closing = false;
  const routes = createRoutes({
    version,
    greeting,
    clock,
    timers,
    scrape: () => metrics.scrape(),
    isReady: async () => {
      if (starting || closing) return { ready: false, reason: closing ? 'shutting down' : 'starting' };
      return deps.ready();
    },
    ...(mcp === undefined ? {} : { mcp }),
    openStream: ({ requestId, ...stream }, response) =>
      streams.serve(response, { ...stream, problemOf: (error) => problemOf(error, requestId) }),
  });
  const http = await createHttpServer({ ...deps, routes, problemOf, isStarting: () => starting, isClosing: () => closing });
  return {
    async listen(announce: (bound: Bound) => Promise<void> = async () => undefined) {
      const bound = await http.listen();
      await announce(bound);
      starting = false;
      return bound;
    },
    open() {
      starting = false;
      return { url: 'http://127.0.0.1', port: 0 };
    },
    accept: (socket) => http.accept(socket),
    close(drained = Promise.resolve()) {
      closing = true;
      return http.close(async () => {
        await Promise.all([streams.close(), mcp?.close()]);
      }, drained);
    },
  };
}

function createMcp(
  { services, version, config, ...parts }: ApiDependencies,
  problemOf: ReturnType<typeof createProblemMapper>,
): McpEndpoint {
  const { agent, questionMs, tenantSessions, idleMs, calls } = config.mcp.server;
  const { streamLagMs: lagMs, streamPingMs: pingMs } = config.limits;
  return createMcpEndpoint({
    ...parts,
    surface: (sdk) => createPlatformSurface({ services, version, agent, questionMs }, sdk),
    limits: { tenantSessions, idleMs, calls, lagMs, pingMs },
    stillStands: async (principal) => principal === localOperator || services.keys.stillStands(principal),
    problemOf,
  });
}
