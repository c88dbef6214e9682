import type { Api, ApiDependencies } from '#api/contract';
import { createHttpServer, createProblemMapper } from '#api/http';
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
  let closing = false;
  const routes = createRoutes({
    version,
    greeting,
    clock,
    timers,
    scrape: () => metrics.scrape(),
    isReady: async () => (closing ? { ready: false, reason: 'shutting down' } : deps.ready()),
    openStream: ({ requestId, ...stream }, response) =>
      streams.serve(response, { ...stream, problemOf: (error) => problemOf(error, requestId) }),
  });
  const http = await createHttpServer({ ...deps, routes, problemOf, isClosing: () => closing });
  return {
    listen: () => http.listen(),
    close(drained = Promise.resolve()) {
      closing = true;
      return http.close(() => streams.close(), drained);
    },
  };
}
