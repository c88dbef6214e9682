import {
  type EffectsClass,
  HttpTool,
  type HttpToolSource,
  HttpToolSource as HttpToolSourceSchema,
  toolNameNear,
} from '@nexus-agent/protocol';
import { canonicalJson, closest, cutText, explainIssues, findSchemaFaults, isObject, matchesWildcard, NexusError, summarise } from '#core';
import { argumentsOfOperation, NotATool } from './arguments.ts';
import { type ApiDescription, type DescriptionPart, readOpenApi } from './document.ts';
import { createSchemaReader } from './schemas.ts';
import { type Security, securityOf } from './security.ts';

export interface OpenApiImportOptions {
  /** What the source is to be called; names of its tools begin with it. */
  readonly name: string;
  /** Where the document came from: its address of a server may be relative to it. */
  readonly origin?: string;
  /** In the place of what the document says. */
  readonly baseUrl?: string;
  /** Patterns of operations: `GET /pets*`, `/pets*` or a name such as `list*`; all when left out. */
  readonly include?: readonly string[];
  readonly exclude?: readonly string[];
  /** By the name of the operation or of its tool. */
  readonly effects?: ReadonlyMap<string, EffectsClass>;
}

export interface OpenApiImport {
  readonly source: HttpToolSource;
  /** What is no tool, and why. */
  readonly leftOut: readonly { readonly operation: string; readonly why: string }[];
  /** What a tool lacks of its operation. */
  readonly notes: readonly string[];
  /** Names of the secrets that are to be given. */
  readonly secrets: readonly string[];
}

interface Operation {
  readonly method: string;
  readonly path: string;
  readonly item: DescriptionPart;
  readonly given: DescriptionPart;
  /** `listPets`, if the document says so. */
  readonly id: string | null;
}

const methods = ['get', 'head', 'post', 'put', 'patch', 'delete'];
const otherMethods = ['options', 'trace'];
const maxTools = 2_000;
const maxDescription = 1_000;
/** What a route takes, less what stands around it. */
const maxValues = 95_000;
const maxChars = 3_900_000;
/** Parts of the schemas of one operation, less and less until all fits. */
const partsPerOperation = [400, 120, 40, 12, 0];

/**
 * Makes a definition of an OpenAPI document: each operation that can be is a tool. Throws `invalid_request` for a document that cannot be
 * read, and for one of which nothing is left.
 */
export async function importOpenApi(text: string, options: OpenApiImportOptions): Promise<OpenApiImport> {
  const document = await readOpenApi(text);
  const baseUrl = options.baseUrl ?? serverOf(document, options.origin);
  const { chosen, leftOut, idle } = chooseOperations(document, options);
  if (chosen.length === 0) {
    const why =
      idle.length === 0 ? 'the document has no operations, or none that was chosen' : `no operation is chosen: ${idle.join('; ')}`;
    throw new NexusError('invalid_request', why);
  }
  if (chosen.length > maxTools)
    throw new NexusError(
      'invalid_request',
      `${chosen.length} operations are chosen, and a source has at most ${maxTools} tools; choose by --include and --exclude`,
    );
  for (const maxParts of partsPerOperation) {
    const made = makeSource(document, chosen, { ...options, baseUrl, maxParts });
    if (made === null) continue;
    const cut = maxParts === partsPerOperation[0] ? [] : ['schemas within arguments are left open in part, as the whole would be too much'];
    return { ...made, leftOut: [...leftOut, ...made.leftOut], notes: [...idle, ...cut, ...made.notes] };
  }
  throw new NexusError('invalid_request', 'the tools are too much for one source; choose by --include and --exclude');
}

function chooseOperations({ tree, resolve }: ApiDescription, { include, exclude = [] }: OpenApiImportOptions) {
  const chosen: Operation[] = [];
  const leftOut: { operation: string; why: string }[] = [];
  const labels = new Set<string>();
  for (const [path, each] of Object.entries(isObject(tree.paths) ? tree.paths : {})) {
    const item = resolve(each);
    if (!isObject(item)) {
      leftOut.push({ operation: path, why: 'it is elsewhere' });
      continue;
    }
    for (const method of [...methods, ...otherMethods]) {
      const given = item[method];
      if (!isObject(given)) continue;
      const id = typeof given.operationId === 'string' && given.operationId !== '' ? given.operationId : null;
      const operation = `${method.toUpperCase()} ${path}`;
      const own = [operation, path, ...(id === null ? [] : [id])];
      for (const label of own) labels.add(label);
      const fitting = (pattern: string) => own.some((text) => matchesWildcard(pattern, text));
      if ((include !== undefined && !include.some(fitting)) || exclude.some(fitting)) continue;
      if (otherMethods.includes(method)) leftOut.push({ operation, why: `tools send no ${method.toUpperCase()}` });
      else if (given.servers !== undefined || item.servers !== undefined)
        leftOut.push({ operation, why: 'it has a server of its own; import it by itself with --base-url' });
      else chosen.push({ method: method.toUpperCase(), path, item, given, id });
    }
  }
  const idle = [...(include ?? []), ...exclude]
    .filter((pattern) => ![...labels].some((label) => matchesWildcard(pattern, label)))
    .map((pattern) => {
      const near = closest(pattern, [...labels]);
      return `the document has no operation ${JSON.stringify(cutText(pattern, 100))}${near === null ? '' : `; did you mean ${JSON.stringify(near)}?`}`;
    });
  return { chosen, leftOut, idle };
}

/** Null for what is too much: of that no more is made than shows it. */
function makeSource(
  document: ApiDescription,
  operations: readonly Operation[],
  options: OpenApiImportOptions & { readonly baseUrl: string; readonly maxParts: number },
) {
  const common = securityOf(document, document.tree.security, options.name);
  const tools: HttpTool[] = [];
  const leftOut: { operation: string; why: string }[] = [];
  const notes: string[] = common.note === null ? [] : [`all operations: ${common.note}`];
  const taken = new Set<string>();
  const used = new Set<string>();
  let values = 0;
  let chars = 0;
  for (const operation of operations) {
    const label = `${operation.method} ${operation.path}`;
    const name = nameFor(operation, options.name, taken);
    const keys = [name, ...(operation.id === null ? [] : [operation.id])].filter((key) => options.effects?.has(key));
    for (const key of keys) used.add(key);
    const security = operation.given.security === undefined ? null : securityOf(document, operation.given.security, options.name);
    try {
      const { tool, more } = makeTool(document, operation, {
        name,
        maxParts: options.maxParts,
        effects: options.effects?.get(keys[0] ?? ''),
        security,
        common,
      });
      values += countValues(tool);
      chars += JSON.stringify(tool).length;
      if (values > maxValues || chars > maxChars) return null;
      tools.push(tool);
      taken.add(name);
      notes.push(...more.map((note) => `${label}: ${note}`));
    } catch (error) {
      if (!(error instanceof NotATool)) throw error;
      leftOut.push({ operation: label, why: error.message });
    }
  }
  const unknown = [...(options.effects?.keys() ?? [])].filter((key) => !used.has(key));
  if (unknown.length > 0)
    throw new NexusError('invalid_request', `effects are given for ${unknown.join(', ')}, which is no operation that is imported`);
  if (tools.length === 0)
    throw new NexusError('invalid_request', `no operation can be a tool; the first, ${leftOut[0]?.operation}: ${leftOut[0]?.why}`);
  return { ...wholeSource(document, options, common, tools), leftOut, notes };
}

function wholeSource(
  { tree }: ApiDescription,
  { name, baseUrl }: { readonly name: string; readonly baseUrl: string },
  { auth }: Security,
  tools: HttpTool[],
) {
  const { title, description } = isObject(tree.info) ? tree.info : {};
  const about = [title, description].filter((text): text is string => typeof text === 'string' && text.trim() !== '').join('\n');
  const given = { name, description: cutText(about, maxDescription), baseUrl, ...(auth.type === 'none' ? {} : { auth }), tools };
  const parsed = HttpToolSourceSchema.safeParse(given);
  if (!parsed.success) throw new NexusError('invalid_request', summarise(explainIssues(parsed.error, HttpToolSourceSchema, given)));
  const secrets = new Set(
    [...JSON.stringify([auth, tools.map((tool) => tool.auth)]).matchAll(/"secret:(\w+)"/g)].map(([, secret = '']) => secret),
  );
  return { source: parsed.data, secrets: [...secrets] };
}

interface ToolOptions {
  readonly name: string;
  readonly maxParts: number;
  readonly effects: EffectsClass | undefined;
  /** Of the operation, where it has its own. */
  readonly security: Security | null;
  readonly common: Security;
}

function makeTool(
  document: ApiDescription,
  { method, path, item, given }: Operation,
  { name, maxParts, effects, security, common }: ToolOptions,
) {
  const differs = security !== null && canonicalJson(security.auth) !== canonicalJson(common.auth);
  const more = differs && security.note !== null ? [security.note] : [];
  for (const loose of [false, true]) {
    const reader = createSchemaReader({ document, maxParts, loose });
    const parts = argumentsOfOperation(document, path, item, given, reader);
    const definitions = reader.definitions();
    const inputSchema = {
      type: 'object',
      properties: Object.fromEntries(parts.properties),
      ...(parts.required.length === 0 ? {} : { required: parts.required }),
      additionalProperties: false,
      ...(Object.keys(definitions).length === 0 ? {} : { $defs: definitions }),
    };
    const faults = findSchemaFaults(inputSchema);
    if (faults.length > 0 && !loose) continue;
    if (faults.length > 0) throw new NotATool(`its arguments have no schema that is taken: ${faults[0]?.path} ${faults[0]?.message}`);
    const tool = {
      ...{
        name,
        description: descriptionOf(method, path, given),
        method,
        path: parts.path,
        query: parts.query,
        headers: parts.headers,
        inputSchema,
      },
      ...(parts.body === undefined ? {} : { body: parts.body }),
      ...(effects === undefined ? {} : { effects }),
      ...(differs ? { auth: security.auth } : {}),
    };
    const parsed = HttpTool.safeParse(tool);
    if (!parsed.success) throw new NotATool(summarise(explainIssues(parsed.error, HttpTool, tool), 2));
    return { tool: parsed.data, more: [...more, ...parts.notes] };
  }
  throw new NotATool('its arguments have no schema that is taken');
}

function descriptionOf(method: string, path: string, { summary, description }: DescriptionPart): string {
  const said = [summary, description]
    .filter((text): text is string => typeof text === 'string' && text.trim() !== '')
    .map((text) => text.trim());
  return cutText([...new Set(said)].join('\n'), maxDescription) || `${method} ${path}`;
}

/** `pets_listPets`; as some models take no dots, there are none. */
function nameFor({ id, method, path }: Operation, prefix: string, taken: ReadonlySet<string>): string {
  const own = toolNameNear(id ?? '', method, path).replaceAll('.', '_');
  const plain = (own.toLowerCase().startsWith(`${prefix.toLowerCase()}_`) ? own : `${prefix}_${own}`).slice(0, 64);
  let name = plain;
  for (let count = 2; taken.has(name); count += 1) name = `${plain.slice(0, 58)}_${count}`;
  return name;
}

function serverOf({ tree }: ApiDescription, origin: string | undefined): string {
  const [first] = Array.isArray(tree.servers) ? tree.servers.filter(isObject) : [];
  const variables = isObject(first?.variables) ? first.variables : {};
  const given = typeof first?.url === 'string' ? first.url : '/';
  const written = given.replace(/\{([^{}]+)\}/g, (all, name: string) => {
    const variable = Object.hasOwn(variables, name) ? variables[name] : undefined;
    return isObject(variable) && variable.default !== undefined ? String(variable.default) : all;
  });
  const url = URL.parse(written, origin);
  if (url === null || !/^https?:$/.test(url.protocol))
    throw new NexusError(
      'invalid_request',
      `the document names no address of its server (${JSON.stringify(given.slice(0, 200))}); give it with --base-url`,
    );
  return url.href;
}

function countValues(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 1;
  return Object.values(value).reduce<number>((sum, each) => sum + countValues(each), 1);
}
