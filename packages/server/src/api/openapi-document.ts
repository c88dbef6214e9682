import { buildOpenApi, type OpenApiDocument } from '#api/openapi';
import { createRoutes } from '#api/routes';
import { systemClock, systemTimers } from '#core';

/** The document of the whole API, without a running server. */
export function createOpenApiDocument(version: string): OpenApiDocument {
  // Handlers are not called: only the descriptions of the routes are read.
  const unused = () => Promise.reject(new Error('not a running server'));
  const time = { clock: systemClock, timers: systemTimers };
  const routes = createRoutes({
    ...time,
    version,
    greeting: '',
    isReady: unused,
    openStream: unused,
    scrape: unused,
    mcp: { serve: unused },
  });
  return buildOpenApi(routes, version);
}
