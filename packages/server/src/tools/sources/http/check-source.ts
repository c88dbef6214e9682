import type { HttpTool, HttpToolSource } from '@nexus-agent/protocol';
import { explainFaults, findSchemaFaults, isObject, NexusError, type Timers } from '#core';
import { hostnameOf, portOf, requireAllowedUrl, reservedHeaders } from '#tools/net';
import { planRequest } from './plan.ts';
import type { ToolSecrets } from './secrets.ts';
import { argumentsOf } from './template.ts';

export interface CheckOptions {
  readonly timers: Pick<Timers, 'soon'>;
  readonly secrets: ToolSecrets;
  readonly allowPrivate: (hostname: string, port: number) => boolean;
}

const maxTold = 10;
/** Tools that are looked at in one turn of the event loop. */
const perTurn = 20;

/**
 * Throws `invalid_request` that tells what is wrong with a source that is to be put, beyond its form; what will only fail for now comes
 * back as warnings.
 */
export async function checkHttpSource(source: HttpToolSource, tenantId: string, options: CheckOptions): Promise<readonly string[]> {
  const faults = faultsOfBase(source);
  const secrets = new Set<string>();
  const places = new Map<string, number>();
  for (const [index, tool] of source.tools.entries()) {
    if (index % perTurn === perTurn - 1) await options.timers.soon();
    const other = places.get(tool.name);
    if (other !== undefined) faults.push(`tools[${index}] and tools[${other}] are both named ${tool.name}; rename one`);
    places.set(tool.name, index);
    if (faults.length > maxTold) continue;
    const plan = planRequest(source, tool);
    for (const name of plan.secrets) secrets.add(name);
    faults.push(...faultsOfTool(tool, plan).map((fault) => `tools[${index}] (${tool.name}): ${fault}`));
  }
  if (faults.length > 0) {
    const more = faults.length > maxTold ? '; and more' : '';
    throw new NexusError('invalid_request', `${faults.slice(0, maxTold).join('; ')}${more}`);
  }
  return warningsOf(source, tenantId, secrets, options);
}

function faultsOfBase({ baseUrl, headers }: HttpToolSource): string[] {
  const url = new URL(baseUrl);
  const wrong = [
    ...(url.username !== '' || url.password !== '' ? ['it holds credentials; use auth with secret:NAME'] : []),
    ...(url.search !== '' || url.hash !== '' ? ['it has a query or a fragment; a query goes under query of each tool'] : []),
  ];
  return [...wrong.map((fault) => `baseUrl: ${fault}`), ...faultsOfHeaders(headers)];
}

function faultsOfHeaders(headers: Readonly<Record<string, string>>): string[] {
  return Object.keys(headers)
    .filter((name) => reservedHeaders.test(name.toLowerCase()))
    .map((name) => `headers: ${name} belongs to the connection and cannot be set`);
}

function faultsOfTool(tool: HttpTool, plan: ReturnType<typeof planRequest>): string[] {
  const { auth, body, inputSchema, method } = tool;
  const faults = faultsOfHeaders({ ...tool.headers, ...(auth?.type === 'header' ? { [auth.name]: '' } : {}) });
  if (tool.path.split('/').some((segment) => /^(\.|%2e){1,2}$/i.test(segment)))
    faults.push('path: . and .. lead elsewhere; write the path that is meant');
  if (body !== undefined && ['GET', 'HEAD'].includes(method)) faults.push(`body: ${method} sends none; use query, or another method`);
  if (body !== undefined && body.type !== 'text' && body.argument !== undefined && body.fields !== undefined)
    faults.push('body: give argument or fields, not both');
  for (const [field, schema] of [['inputSchema', inputSchema] as const, ['outputSchema', tool.outputSchema] as const]) {
    const wrong = schema === undefined ? [] : findSchemaFaults(schema);
    if (wrong.length > 0) faults.push(`${field} is no JSON Schema that is taken: ${explainFaults(wrong, field)}`);
  }
  if (inputSchema === undefined) return faults;
  if (inputSchema.type !== 'object') return [...faults, 'inputSchema.type: expected "object", for arguments have names'];
  const properties = isObject(inputSchema.properties) ? inputSchema.properties : {};
  const isOpen = inputSchema.additionalProperties !== undefined && inputSchema.additionalProperties !== false;
  for (const name of plan.used) {
    if (!Object.hasOwn(properties, name) && !isOpen)
      faults.push(`the request names the argument ${JSON.stringify(name)}, which inputSchema.properties does not have`);
  }
  const required = Array.isArray(inputSchema.required) ? inputSchema.required : [];
  for (const name of plan.path.flatMap(argumentsOf)) {
    if (!required.includes(name)) faults.push(`the path needs ${JSON.stringify(name)}; name it under inputSchema.required`);
  }
  const takesRest = plan.body !== null && plan.body.type !== 'text' && plan.body.from === 'rest';
  const idle = takesRest ? [] : Object.keys(properties).filter((name) => !plan.used.has(name));
  if (idle.length > 0) faults.push(`nothing of the request uses ${idle.slice(0, 5).join(', ')}; name it in path, query, headers or body`);
  return faults;
}

function warningsOf(source: HttpToolSource, tenantId: string, secrets: ReadonlySet<string>, options: CheckOptions): string[] {
  const base = new URL(source.baseUrl);
  const to = { hostname: hostnameOf(base), port: portOf(base) };
  const missing = [...secrets].filter((name) => options.secrets.find(tenantId, name, to) === null);
  const warnings = missing.map(
    (name) => `there is no secret ${name} that may be sent to ${to.hostname}: calls fail until whoever runs the server adds it`,
  );
  try {
    requireAllowedUrl(base, options);
  } catch (error) {
    if (!(error instanceof NexusError)) throw error;
    warnings.push(`calls fail as long as this holds: ${error.message}; httpFetch.allowPrivate of the server grants private hosts`);
  }
  if (base.protocol === 'http:' && secrets.size > 0 && !/^(localhost|127\..*|::1)$/.test(to.hostname))
    warnings.push('secrets are sent in the clear: baseUrl is http');
  return warnings;
}
