import { dictionary, type EffectsClass, type HttpAuth, type HttpBody, type HttpTool, type HttpToolSource } from '@nexus-agent/protocol';
import { argumentsOf, parseTemplate, secretsOf, type Template } from './template.ts';

export interface PlannedQuery {
  readonly name: string;
  readonly value: Template;
  readonly list: 'repeat' | 'comma';
}

export interface PlannedHeader {
  /** In small letters. */
  readonly name: string;
  readonly value: Template;
}

interface MadeBody {
  readonly type: 'json' | 'form';
  readonly contentType: string;
  /** It is sent also where nothing of it is given. */
  readonly required: boolean;
}

/** Where the body comes from; `rest` are the arguments that are used nowhere else. */
export type PlannedBody =
  | (MadeBody & { readonly from: 'argument'; readonly argument: string })
  | (MadeBody & { readonly from: 'fields'; readonly fields: readonly (readonly [field: string, argument: string])[] })
  | (MadeBody & { readonly from: 'rest'; readonly used: ReadonlySet<string> })
  | { readonly type: 'text'; readonly argument: string; readonly contentType: string };

export type PlannedAuth =
  | { readonly type: 'basic'; readonly username: Template; readonly password: Template }
  | { readonly type: 'header'; readonly name: string; readonly value: Template }
  | { readonly type: 'query'; readonly name: string; readonly value: Template };

/** A tool of a definition, read once: what each of its requests is made of. */
export interface RequestPlan {
  readonly toolName: string;
  readonly method: HttpTool['method'];
  readonly effects: EffectsClass;
  readonly base: URL;
  /** Segments of the path, that of the base first. */
  readonly path: readonly Template[];
  readonly query: readonly PlannedQuery[];
  readonly headers: readonly PlannedHeader[];
  readonly auth: PlannedAuth | null;
  readonly body: PlannedBody | null;
  readonly response: HttpTool['response'];
  readonly redirects: HttpToolSource['redirects'];
  readonly retries: number;
  readonly timeoutMs: number;
  /** Of all templates. */
  readonly secrets: readonly string[];
  /** Arguments that something of the request names. */
  readonly used: ReadonlySet<string>;
}

const effectsByMethod: Readonly<Record<HttpTool['method'], EffectsClass>> = dictionary({
  GET: 'none',
  HEAD: 'none',
  PUT: 'idempotent',
  DELETE: 'idempotent',
  POST: 'once',
  PATCH: 'once',
});

/** What the tool does to the world: as it says, else by its method. */
function effectsOfTool({ effects, method }: HttpTool): EffectsClass {
  return effects ?? effectsByMethod[method];
}

export function planRequest(source: Omit<HttpToolSource, 'tools'>, tool: HttpTool): RequestPlan {
  const base = new URL(source.baseUrl);
  const path = `${base.pathname.replace(/\/$/, '')}${tool.path}`.slice(1).split('/').map(parseTemplate);
  const query = Object.entries(tool.query).map(([name, given]) => {
    const { value, list } = typeof given === 'string' ? { value: given, list: 'repeat' as const } : given;
    return { name, value: parseTemplate(value), list };
  });
  const headers = new Map(
    [...Object.entries(source.headers), ...Object.entries(tool.headers)].map(([name, value]) => [name.toLowerCase(), parseTemplate(value)]),
  );
  const auth = planAuth(tool.auth ?? source.auth ?? { type: 'none' });
  const templates = [...path, ...query.map(({ value }) => value), ...headers.values(), ...templatesOf(auth)];
  const named = new Set(templates.flatMap(argumentsOf));
  const body = planBody(tool, named);
  const effects = effectsOfTool(tool);
  return {
    toolName: tool.name,
    method: tool.method,
    effects,
    base,
    path,
    query,
    headers: [...headers].map(([name, value]) => ({ name, value })),
    auth,
    body,
    response: tool.response,
    redirects: source.redirects,
    retries: effects === 'once' ? 0 : (tool.retries ?? 2),
    timeoutMs: tool.timeoutMs,
    secrets: [...new Set(templates.flatMap(secretsOf))],
    used: new Set([...named, ...argumentsOfBody(body)]),
  };
}

function planAuth(auth: HttpAuth): PlannedAuth | null {
  switch (auth.type) {
    case 'none':
      return null;
    case 'bearer':
      return { type: 'header', name: 'authorization', value: [{ type: 'text', text: 'Bearer ' }, ...parseTemplate(auth.token)] };
    case 'basic':
      return { type: 'basic', username: parseTemplate(auth.username), password: parseTemplate(auth.password) };
    case 'header':
      return { type: 'header', name: auth.name.toLowerCase(), value: parseTemplate(auth.value) };
    case 'query':
      return { type: 'query', name: auth.name, value: parseTemplate(auth.value) };
    default:
      return auth satisfies never;
  }
}

function templatesOf(auth: PlannedAuth | null): Template[] {
  if (auth === null) return [];
  return auth.type === 'basic' ? [auth.username, auth.password] : [auth.value];
}

/** Without a word on the body, a tool that writes sends what is left of its arguments, if its schema has more than the request names. */
function planBody({ body, method, inputSchema }: HttpTool, named: ReadonlySet<string>): PlannedBody | null {
  if (body !== undefined) return planGivenBody(body, named);
  if (!['POST', 'PUT', 'PATCH'].includes(method) || inputSchema === undefined) return null;
  const { properties = {} } = inputSchema as { readonly properties?: object }; // checked where it is put
  return Object.keys(properties).some((name) => !named.has(name)) ? { ...madeBody({ type: 'json' }), from: 'rest', used: named } : null;
}

function planGivenBody(body: HttpBody, used: ReadonlySet<string>): PlannedBody {
  if (body.type === 'text') return { type: 'text', argument: body.argument, contentType: body.contentType };
  const { argument, fields } = body;
  const made = madeBody(body);
  if (argument !== undefined) return { ...made, from: 'argument', argument };
  return fields === undefined ? { ...made, from: 'rest', used } : { ...made, from: 'fields', fields: Object.entries(fields) };
}

function madeBody({ type, contentType = 'application/json', required = false }: Exclude<HttpBody, { readonly type: 'text' }>): MadeBody {
  return { type, contentType: type === 'json' ? contentType : 'application/x-www-form-urlencoded', required };
}

function argumentsOfBody(body: PlannedBody | null): string[] {
  if (body === null) return [];
  if (body.type === 'text') return [body.argument];
  if (body.from === 'argument') return [body.argument];
  return body.from === 'fields' ? body.fields.map(([, argument]) => argument) : [];
}
