/** The door of the HTTP API. */
export type { Api } from '#api/contract';
export { createOpenApiDocument } from './openapi-document.ts';
export { createApi } from './server.ts';
