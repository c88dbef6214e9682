/** The door of the HTTP API. */
export { createOpenApiDocument } from './openapi-document.ts';
export { createApi } from './server.ts';
export type { Api } from './types.ts';
