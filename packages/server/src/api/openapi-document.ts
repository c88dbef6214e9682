import { buildOpenApi, type OpenApiDocument } from './openapi.ts';
import { createRoutes } from './routes/index.ts';

/** The document of the whole API, without a running server. */
export function createOpenApiDocument(version: string): OpenApiDocument {
  // Handlers are not called: only the descriptions of the routes are read.
  const unused = () => Promise.reject(new Error('not a running server'));
  const context = { version, isReady: unused, openStream: unused } as unknown as Parameters<typeof createRoutes>[0];
  return buildOpenApi(createRoutes(context), version);
}
