/** The API's own description, as a document and as a page. */
export { buildOpenApi, buildOpenApiInTurns, type OpenApiDocument } from './document.ts';
export { renderDocsPage } from './page.ts';
