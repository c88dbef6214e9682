/** The door of the HTTP API. */
export type { Api, Bound } from '#api/contract';
export { boundHost, isLoopbackHost, portInUse } from '#api/http';
export { createOpenApiDocument } from './openapi-document.ts';
export { createApi } from './server.ts';
