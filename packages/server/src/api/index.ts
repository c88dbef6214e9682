/** The door of the HTTP API. */
export { isLoopbackHost } from './guard.ts';
export { createOpenApiDocument } from './openapi.ts';
export { createApi } from './server.ts';
export type { Api, ApiConfig, ApiDependencies, ApiLogger, ApiMetrics, StreamOutcome } from './types.ts';
