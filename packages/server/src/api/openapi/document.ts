import { dictionary, ErrorCode, errorTable, Problem } from '@nexus-agent/protocol';
import { z } from 'zod';
import { bodySizes, type Route } from '#api/contract';

type Json = Record<string, unknown>;

export interface OpenApiOperation {
  readonly operationId: string;
  readonly summary: string;
  readonly description: string;
  readonly tags: readonly string[];
  readonly parameters: readonly Json[];
  readonly requestBody?: Json;
  readonly responses: Readonly<Record<string, Json>>;
  readonly security: readonly Json[];
}

export interface OpenApiDocument {
  readonly openapi: '3.1.1';
  readonly info: Json;
  readonly tags: readonly Json[];
  readonly paths: Readonly<Record<string, Readonly<Record<string, OpenApiOperation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, Json>>; readonly securitySchemes: Json; readonly responses: Json };
}

/** Makes the document from the very table that the server registers. */
export function buildOpenApi(routes: readonly Route[], version: string): OpenApiDocument {
  const parts = assemble(routes, version);
  for (;;) {
    const { done, value } = parts.next();
    if (done === true) return value;
  }
}

/** The same with `pause` awaited between the routes: all at once it takes a few hundred milliseconds. */
export async function buildOpenApiInTurns(routes: readonly Route[], version: string, pause: () => Promise<void>): Promise<OpenApiDocument> {
  const parts = assemble(routes, version);
  for (;;) {
    const { done, value } = parts.next();
    if (done === true) return value;
    await pause();
  }
}

/** Yields after each route. */
function* assemble(routes: readonly Route[], version: string): Generator<undefined, OpenApiDocument> {
  const schemas = createSchemaCollector();
  schemas.add(Problem, 'output');
  const paths: Record<string, Record<string, OpenApiOperation>> = dictionary({});
  for (const route of routes) {
    const operations = paths[route.path] ?? {};
    operations[route.method.toLowerCase()] = operationOf(route, schemas);
    paths[route.path] = operations;
    yield;
  }
  const document: OpenApiDocument = {
    openapi: '3.1.1',
    info: {
      title: 'Nexus Agent',
      version,
      summary: 'Agents whose spending, permissions and side effects are under control',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    tags: [...new Set(routes.map((route) => route.tag))].map((name) => ({ name })),
    paths,
    components: {
      schemas: schemas.all(),
      securitySchemes: {
        apiKey: {
          type: 'http',
          scheme: 'bearer',
          description: 'nx_<id>_<secret>. Not needed by the operator of the same machine over loopback.',
        },
      },
      responses: {
        Problem: {
          description: `A problem (RFC 9457). Codes: ${ErrorCode.options.map((code) => `${code} (${errorTable[code].httpStatus})`).join(', ')}`,
          headers: { 'Retry-After': { schema: { type: 'integer' }, description: 'Seconds to wait before trying again' } },
          content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
        },
      },
    },
  };
  return withPlainNames(document);
}

/** A schema that is only ever sent needs no `Input` in its name. */
function withPlainNames(document: OpenApiDocument): OpenApiDocument {
  const names = Object.keys(document.components.schemas);
  const lonely = names.filter((name) => name.endsWith('Input') && !names.includes(name.slice(0, -'Input'.length)));
  return JSON.parse(JSON.stringify(document), (key, value: unknown) => {
    if (key === '$ref' && typeof value === 'string') {
      const name = value.slice(value.lastIndexOf('/') + 1);
      return lonely.includes(name) ? value.slice(0, -'Input'.length) : value;
    }
    if (key !== 'schemas' || typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(
      Object.entries(value).map(([name, schema]) => [lonely.includes(name) ? name.slice(0, -'Input'.length) : name, schema]),
    );
  });
}

function operationOf(route: Route, schemas: SchemaCollector): OpenApiOperation {
  const responses: Record<string, Json> = dictionary({});
  for (const [status, response] of Object.entries(route.responses)) {
    const content: Json = dictionary({});
    if (response.schema !== undefined) content['application/json'] = { schema: schemas.add(response.schema, 'output') };
    if (response.contentType !== undefined) content[response.contentType] = { schema: { type: 'string' } };
    if (response.events !== undefined) {
      content['text/event-stream'] = { schema: { type: 'string' }, 'x-event-schema': schemas.add(response.events, 'output') };
    }
    responses[status] = { description: response.description, ...(Object.keys(content).length === 0 ? {} : { content }) };
  }
  responses.default = { $ref: '#/components/responses/Problem' };
  return {
    operationId: route.operationId,
    summary: route.summary,
    description: route.scope === 'public' ? 'Needs no key.' : `Needs the scope \`${route.scope}\`.`,
    tags: [route.tag],
    parameters: parametersOf(route, schemas),
    ...(route.body === undefined
      ? {}
      : {
          requestBody: {
            required: route.bodyOptional !== true,
            description: bodySizeInWords(route),
            content: { 'application/json': { schema: schemas.add(route.body, 'input') } },
          },
        }),
    responses,
    security: route.scope === 'public' ? [] : [{}, { apiKey: [] }],
  };
}

function bodySizeInWords({ bodySize = 'small' }: Route): string {
  const { bytes, values } = bodySizes[bodySize];
  const size = Number.isFinite(bytes) ? `${bytes} bytes` : 'the `limits.bodyBytes` of the configuration (16,000,000 bytes by default)';
  return `At most ${size}, and ${values} values (items, members, lists and objects).`;
}

function parametersOf(route: Route, schemas: SchemaCollector): Json[] {
  const path = [...route.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({ name, in: 'path', required: true, schema: { type: 'string' } }));
  const query: Json[] = [];
  if (route.query instanceof z.ZodObject) {
    for (const [name, schema] of Object.entries(route.query.shape)) {
      query.push({ name, in: 'query', required: false, schema: schemas.add(schema as z.ZodType, 'output') }); // shapes hold classic schemas
    }
  }
  const headers: Json[] = [];
  if (route.idempotent === true) {
    headers.push({
      name: 'Idempotency-Key',
      in: 'header',
      required: false,
      description: 'The same key and request gives the first answer again, with the header idempotent-replayed',
      schema: { type: 'string', minLength: 1, maxLength: 255 },
    });
  }
  if (route.stream === true) {
    headers.push({
      name: 'Last-Event-ID',
      in: 'header',
      required: false,
      description: 'Where to go on: <seq> or <seq>.<offset>',
      schema: { type: 'string', pattern: '^\\d+(\\.\\d+)?$' },
    });
  }
  return [...path, ...query, ...headers];
}

interface SchemaCollector {
  /** The JSON Schema to stand in place; named schemas become components. */
  add(schema: z.ZodType, io: 'input' | 'output'): Json;
  all(): Record<string, Json>;
}

/**
 * Schemas with an id become components. Where a schema differs between what may be sent and what is answered (defaults),
 * the former is the component `<id>Input`.
 */
function createSchemaCollector(): SchemaCollector {
  const components = new Map<string, Json>();
  return {
    add(schema, io) {
      const { $defs = {}, ...root } = jsonSchemaOf(schema, io);
      const renamed = io === 'input' ? differingIds($defs, jsonSchemaOf(schema, 'output').$defs ?? {}) : new Set<string>();
      for (const [id, definition] of Object.entries($defs)) {
        components.set(renamed.has(id) ? `${id}Input` : id, pointToComponents(definition, renamed) as Json); // an object stays one
      }
      return pointToComponents(root, renamed) as Json; // an object stays one
    },
    all: () => Object.fromEntries([...components].sort(([a], [b]) => (a < b ? -1 : 1))),
  };
}

type Definitions = Record<string, z.core.JSONSchema.JSONSchema>;

function jsonSchemaOf(schema: z.ZodType, io: 'input' | 'output'): Json & { $defs?: Definitions } {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, {
    io,
    unrepresentable: 'any',
    override({ zodSchema, jsonSchema }) {
      // Answers may gain fields later; only what is strict on purpose stays closed.
      if (zodSchema instanceof z.ZodObject && zodSchema.def.catchall === undefined) delete jsonSchema.additionalProperties;
    },
  });
  return rest as Json & { $defs?: Definitions }; // the rest of a JSON Schema is a plain object
}

/** Ids whose definition differs, or that refer to one that does. */
function differingIds(a: Definitions, b: Definitions): Set<string> {
  const ids = new Set(Object.keys(a).filter((id) => JSON.stringify(a[id]) !== JSON.stringify(b[id])));
  for (let size = -1; size !== ids.size; ) {
    size = ids.size;
    for (const [id, definition] of Object.entries(a)) {
      const text = JSON.stringify(definition);
      if ([...ids].some((other) => text.includes(`"#/$defs/${other}"`))) ids.add(id);
    }
  }
  return ids;
}

function pointToComponents(value: unknown, renamed: ReadonlySet<string>): unknown {
  if (Array.isArray(value)) return value.map((item) => pointToComponents(item, renamed));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => {
      if (key !== '$ref' || typeof item !== 'string') return [key, pointToComponents(item, renamed)];
      const id = item.replace('#/$defs/', '');
      return [key, `#/components/schemas/${renamed.has(id) ? `${id}Input` : id}`];
    }),
  );
}
