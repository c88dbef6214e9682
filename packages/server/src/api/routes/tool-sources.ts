import { HttpToolSource, page, ToolSourceInfo, toolSource } from '@nexus-agent/protocol';
import type { z } from 'zod';
import { pageQuery, pageRequest, type Route, route } from '#api/contract';

const tag = 'tools';
const asks = { action: 'admin.tools', part: 'tools' } as const;

interface SourceKind<Definition> {
  readonly kind: 'http';
  /** In operation ids: `listHttpToolSources`. */
  readonly operation: string;
  readonly what: string;
  readonly definition: z.ZodType<Definition>;
  /** What policies may read of one that is to be put. */
  readonly argumentsOf: (definition: Definition) => Readonly<Record<string, unknown>>;
}

export function toolSourceRoutes(): Route[] {
  return routesOf({
    kind: 'http',
    operation: 'HttpToolSource',
    what: 'HTTP API whose requests are tools',
    definition: HttpToolSource,
    argumentsOf: ({ name, baseUrl, tools }) => ({ kind: 'http', name, baseUrl, tools: tools.map((tool) => tool.name) }),
  });
}

/** The same four for each kind of source. */
function routesOf<Definition>({ kind, operation, what, definition, argumentsOf }: SourceKind<Definition>): Route[] {
  const path = `/v1/tool-sources/${kind}`;
  const whole = toolSource(definition).meta({ id: `Stored${operation}` });
  return [
    route({
      method: 'GET',
      path,
      operationId: `list${operation}s`,
      summary: `List what was put of this kind: ${what}`,
      tag,
      scope: 'admin',
      asks,
      query: pageQuery,
      responses: { 200: { description: 'A page of them, without their definitions', schema: page(ToolSourceInfo) } },
      handle: async ({ services, principal, query }) => ({
        status: 200,
        body: await services.toolSources.list(principal, kind, pageRequest(query)),
      }),
    }),
    route<Definition, undefined>({
      method: 'PUT',
      path: `${path}/{source}`,
      operationId: `put${operation}`,
      summary: `Put one, in the place of one of its name: ${what}`,
      tag,
      scope: 'admin',
      asks: { ...asks, arguments: argumentsOf },
      params: { source: 'name' },
      body: definition,
      bodySize: 'arguments',
      responses: { 200: { description: 'What was put, with warnings where it will not work as it is', schema: whole } },
      handle: async ({ services, principal, params, body }) => ({
        status: 200,
        body: await services.toolSources.put(principal, kind, params.source ?? '', body),
      }),
    }),
    route({
      method: 'GET',
      path: `${path}/{source}`,
      operationId: `get${operation}`,
      summary: 'Show one, as it was put',
      tag,
      scope: 'admin',
      asks,
      params: { source: 'name' },
      responses: { 200: { description: 'With its definition; secrets are in it by their names', schema: whole } },
      handle: async ({ services, principal, params }) => ({
        status: 200,
        body: await services.toolSources.get(principal, kind, params.source ?? ''),
      }),
    }),
    route({
      method: 'DELETE',
      path: `${path}/{source}`,
      operationId: `delete${operation}`,
      summary: 'Delete one, and its tools with it',
      tag,
      scope: 'admin',
      asks,
      params: { source: 'name' },
      responses: { 204: { description: 'Deleted' } },
      async handle({ services, principal, params }) {
        await services.toolSources.remove(principal, kind, params.source ?? '');
        return { status: 204 };
      },
    }),
  ];
}
