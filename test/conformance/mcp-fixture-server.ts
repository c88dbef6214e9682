import { type ApiServices, localOperator } from '../../packages/server/src/api/contract/index.ts';
import { createHttpServer, createProblemMapper } from '../../packages/server/src/api/http/index.ts';
import { createMcpEndpoint } from '../../packages/server/src/api/mcp/index.ts';
import { createRoutes } from '../../packages/server/src/api/routes/index.ts';
import { resolveConfig } from '../../packages/server/src/apps/config/index.ts';
import { createIdSource, noSecrets, systemClock, systemTimers } from '../../packages/server/src/core/index.ts';
import { createFixtureSurface } from './mcp-fixture.ts';

/** The suite's own tools, resources and prompts behind our HTTP server and our endpoint. */
export async function startFixtureServer(): Promise<{ readonly url: string; close(): Promise<void> }> {
  const config = resolveConfig({ env: {}, flags: { port: 0, auth: { local: 'open' } } });
  const time = { clock: systemClock, timers: systemTimers };
  const ids = createIdSource(systemClock);
  const logger = {
    info: () => undefined,
    warn: () => undefined,
    error: () => undefined,
  };
  const problemOf = createProblemMapper({ logger, ids, secrets: noSecrets });
  const { tenantSessions, idleMs, calls } = config.mcp.server;
  const mcp = createMcpEndpoint({
    ...time,
    surface: createFixtureSurface,
    limits: { tenantSessions, idleMs, calls, lagMs: 30_000, pingMs: 15_000 },
    stillStands: async (principal) => principal === localOperator,
    secrets: noSecrets,
    problemOf,
    logger,
    ids,
  });
  const unused = () => Promise.reject(new Error('the fixture has none'));
  const http = await createHttpServer({
    ...time,
    routes: createRoutes({ ...time, version: '0', greeting: '', isReady: unused, openStream: unused, scrape: unused, mcp }),
    services: {} as ApiServices, // nothing but /mcp is asked, and over loopback nobody shows a key
    ...{ config, problemOf, logger, ids, secrets: noSecrets },
    metrics: {
      requestCompleted: () => undefined,
      streamOpened: () => undefined,
      streamClosed: () => undefined,
      streamEvents: () => undefined,
      connectionOpened: () => undefined,
      connectionClosed: () => undefined,
      requestRefused: () => undefined,
      scrape: unused,
    },
    isStarting: () => false,
    isClosing: () => false,
  });
  const { url } = await http.listen();
  return { url: `${url}/mcp`, close: () => http.close(() => mcp.close(), Promise.resolve()) };
}
