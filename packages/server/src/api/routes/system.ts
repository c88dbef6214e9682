import { z } from 'zod';
import { type Route, route } from '#api/contract';
import { buildOpenApiInTurns, type OpenApiDocument, renderDocsPage } from '#api/openapi';
import { NexusError } from '#core';
import type { RouteContext } from './context.ts';

const tag = 'operations';

/** Health, metrics and documentation. The document and page are made when first asked for. */
export function systemRoutes(context: RouteContext, api: readonly Route[]): Route[] {
  let described: Promise<OpenApiDocument> | null = null;
  let document: string | null = null;
  let page: string | null = null;
  const describe = () => {
    described ??= buildOpenApiInTurns([...api, ...routes], context.version, context.timers.soon);
    return described;
  };
  const routes: Route[] = [
    route({
      method: 'GET',
      path: '/healthz',
      operationId: 'health',
      summary: 'Whether the process lives',
      tag,
      scope: 'public',
      responses: { 200: { description: 'It lives', schema: z.object({ status: z.literal('ok'), version: z.string() }) } },
      handle: async () => ({ status: 200, body: { status: 'ok', version: context.version } }),
    }),
    route({
      method: 'GET',
      path: '/readyz',
      operationId: 'ready',
      summary: 'Whether it takes work',
      tag,
      scope: 'public',
      responses: { 200: { description: 'It takes work', schema: z.object({ status: z.literal('ready') }) } },
      async handle() {
        const { ready, reason } = await context.isReady();
        if (!ready) throw new NexusError('unavailable', `not ready: ${reason ?? 'starting'}`, { retryAfterMs: 1000 });
        return { status: 200, body: { status: 'ready' } };
      },
    }),
    route({
      method: 'GET',
      path: '/metrics',
      operationId: 'metrics',
      summary: 'Metrics in Prometheus text format',
      tag,
      scope: 'admin',
      visitors: z.undefined(),
      asks: { action: 'admin.read', part: 'metrics' },
      responses: { 200: { description: 'All metrics', contentType: 'text/plain' } },
      async handle() {
        const { contentType, body } = await context.scrape();
        return { status: 200, text: body, contentType };
      },
    }),
    route({
      method: 'GET',
      path: '/openapi.json',
      operationId: 'openapi',
      summary: 'This API as OpenAPI 3.1',
      tag,
      scope: 'public',
      responses: { 200: { description: 'The document', contentType: 'application/json' } },
      async handle() {
        document ??= JSON.stringify(await describe());
        return { status: 200, text: document, contentType: 'application/json; charset=utf-8' };
      },
    }),
    shownAt('/docs', 'docs', 'This API as a page'),
    // Whoever opens the address that the server prints sees what it is.
    shownAt('/', 'home', 'The same page'),
  ];
  return routes;

  function shownAt(path: string, operationId: string, summary: string): Route {
    return route({
      method: 'GET',
      path,
      operationId,
      summary,
      tag,
      scope: 'public',
      responses: { 200: { description: 'The page', contentType: 'text/html' } },
      async handle() {
        page ??= renderDocsPage(await describe());
        return { status: 200, text: page, contentType: 'text/html; charset=utf-8' };
      },
    });
  }
}
