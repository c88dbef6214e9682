/** The door of the HTTP API. */
export { createOpenApiDocument } from './openapi.ts';
export { createApi } from './server.ts';
export type { Api } from './types.ts';
