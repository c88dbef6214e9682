import { ToolInfo } from '@nexus-agent/protocol';
import { z } from 'zod';
import { closest, explainFaults, explainIssues, findSchemaFaults, NexusError } from '#core';
import type { Tool } from '#tools/contract';

const effectsClass = ToolInfo.shape.effects;
const permissions = ['fs.read', 'fs.write', 'net.egress', 'code.run', 'process.run', 'human', 'agent.call'];
const maxTimeoutMs = 86_400_000;
const maxShown = 20;

const schema = expecting("a JSON Schema of an object, such as { type: 'object', properties: {} }", (value) => asObject(value) !== null);

/** A tool as its author writes it, perhaps without types: what is not checked here would be found by a model. */
const AuthoredTool = z.strictObject({
  name: z
    .string()
    .regex(/^[A-Za-z0-9_.-]{1,64}$/, { error: 'is no tool name: use 1 to 64 of the characters A-Z a-z 0-9 _ . -' })
    .refine((name) => !name.startsWith('agent_'), { error: 'is no tool name: names with agent_ call agents; take another' }),
  description: z.string(),
  inputSchema: schema,
  outputSchema: schema.optional(),
  effects: effectsClass,
  permissions: expecting(
    'a list of what it touches, such as ["fs.read"], or [] for nothing',
    (value) => Array.isArray(value) && value.every((item) => typeof item === 'string' && item !== ''),
  ),
  timeoutMs: expecting(`whole milliseconds from 1 to ${maxTimeoutMs}`, (value) => isWhole(value, 1, maxTimeoutMs)),
  maxCostMicroUsd: expecting('a whole number of micro-USD, from 0', (value) => isWhole(value, 0, Number.MAX_SAFE_INTEGER)).optional(),
  callsTools: z.literal(true).optional(),
  rejoinable: z.literal(true).optional(),
  asks: z.array(z.string().regex(/^(ask_human|agent_.+)$/, { error: 'expected ask_human or agent_<name>' })).optional(),
  kind: z.enum(['question', 'timer']).optional(),
  sharesFolder: z.literal(true).optional(),
  ofArtifacts: z.literal(true).optional(),
  source: z.string().min(1).max(128).optional(),
  serverMark: z.string().min(1).max(128).optional(),
  tier: z.enum(['host', 'T0', 'T1', 'T2', 'T3', 'remote', 'person']).optional(),
  execute: expecting('a function (input, context) => Promise<ToolResult>', (value) => typeof value === 'function'),
});

function expecting(what: string, fits: (value: unknown) => boolean) {
  return z.custom((value) => fits(value), { error: `expected ${what}` });
}

const known = Object.keys(AuthoredTool.shape);

/** Tools that need not be checked again. */
const sound = new WeakSet<Tool>();

/** Takes tools of our own as they are: a test checks them, and a start need not load what checks schemas. */
export function trustTools(tools: readonly Tool[]): void {
  for (const tool of tools) sound.add(tool);
}

/**
 * Throws `config_invalid` with all that is wrong with the tools, which join `others`: where, what is there, and what would be right. A tool
 * may be an object of a class, with more in it than its fields; a field whose name is only nearly right is refused there too.
 */
export function checkTools(tools: unknown, others: readonly Tool[] = []): asserts tools is readonly Tool[] {
  if (!Array.isArray(tools)) throw new NexusError('config_invalid', `tools: expected a list of tools, got ${shownKind(tools)}`);
  const faults = tools.flatMap((tool, index) => (sound.has(tool) ? [] : faultsOf(tool, index)));
  const placeOf = new Map<unknown, string>(others.map(({ name }) => [name, 'one that is there already']));
  for (const [index, tool] of tools.entries()) {
    const name = fieldOf(tool, 'name');
    const other = placeOf.get(name);
    if (other === undefined) placeOf.set(name, `tools[${index}]`);
    else if (typeof name === 'string') faults.push(`two tools are named ${name}, tools[${index}] and ${other}; rename one`);
  }
  if (faults.length > 0) {
    const more = faults.length > maxShown ? `; and ${faults.length - maxShown} more` : '';
    throw new NexusError('config_invalid', `${faults.slice(0, maxShown).join('; ')}${more}`);
  }
  trustTools(tools);
}

/** The tools that are sound and the first of their name, and what is wrong with the others. */
export function soundTools(tools: readonly Tool[]): { readonly sound: readonly Tool[]; readonly faults: readonly string[] } {
  const byName = new Map<string, Tool>();
  const faults: string[] = [];
  for (const [index, tool] of tools.entries()) {
    const wrong = sound.has(tool) ? [] : faultsOf(tool, index);
    const other = byName.get(tool.name);
    if (wrong.length > 0) faults.push(...wrong);
    else if (other === undefined) byName.set(tool.name, tool);
    else faults.push(`${ofWhom(tool)} has a tool ${tool.name}, as ${ofWhom(other)} has; the one of ${ofWhom(other)} is used`);
  }
  const all = [...byName.values()];
  trustTools(all);
  return { sound: all, faults };
}

function ofWhom({ source = 'program' }: Tool): string {
  return source;
}

function faultsOf(tool: unknown, index: number): string[] {
  const given = asObject(tool);
  if (given === null) return [`tools[${index}]: expected a tool, got ${shownKind(tool)}`];
  const name = fieldOf(tool, 'name');
  const place = `tools[${index}]${typeof name === 'string' ? ` (${name.slice(0, 64)})` : ''}`;
  const isPlain = [Object.prototype, null].includes(Object.getPrototypeOf(given));
  const fields = isPlain ? { ...given } : fieldsOfClass(given);
  const parsed = AuthoredTool.safeParse(fields);
  const issues = parsed.success ? [] : explainIssues(parsed.error, AuthoredTool, fields);
  return [
    ...issues.map(({ path, message }) => `${place}.${path}: ${message}${nearestEffect(path, fieldOf(tool, 'effects'))}`),
    ...faultyPermissions(fieldOf(tool, 'permissions')).map((fault) => `${place}.permissions: ${fault}`),
    ...(['inputSchema', 'outputSchema'] as const).flatMap((field) => faultOfSchema(fieldOf(tool, field), field, place)),
  ];
}

/** Own fields that are nearly right are kept, so that they are refused. */
function fieldsOfClass(tool: object): Record<string, unknown> {
  const named = known.filter((field) => fieldOf(tool, field) !== undefined).map((field) => [field, fieldOf(tool, field)]);
  const nearly = Object.entries(tool).filter(([field]) => !known.includes(field) && known.some((name) => sameWord(name, field)));
  return Object.fromEntries([...named, ...nearly]);
}

function sameWord(name: string, field: string): boolean {
  const plain = (text: string) => text.toLowerCase().replaceAll(/[^a-z]|s$/g, '');
  return plain(name) === plain(field);
}

function faultOfSchema(value: unknown, field: string, place: string): string[] {
  const given = asObject(value);
  if (given === null) return []; // said already, or not there
  const faults = findSchemaFaults(given);
  if (faults.length > 0) return [`${place}.${field}: is no JSON Schema that is taken: ${explainFaults(faults, field)}`];
  const { type } = given;
  if (field === 'outputSchema' || type === 'object') return [];
  return [`${place}.${field}.type: expected "object", for arguments have names; got ${JSON.stringify(type) ?? 'nothing'}`];
}

function faultyPermissions(value: unknown): string[] {
  if (!Array.isArray(value)) return [];
  return value.flatMap((permission) => {
    if (typeof permission !== 'string' || permissions.includes(permission)) return [];
    const near = closest(permission, permissions);
    if (near !== null) return [`there is no permission ${JSON.stringify(permission)}; did you mean "${near}"?`];
    // Others are names of the author's own, for policies.
    if (!/^(fs|net|code|process|agent)\./.test(permission)) return [];
    return [`there is no permission ${JSON.stringify(permission)}; known are ${permissions.join(', ')}`];
  });
}

function nearestEffect(path: string, effects: unknown): string {
  if (path !== 'effects' || typeof effects !== 'string') return '';
  const near = closest(effects, effectsClass.options);
  return near === null ? '' : `; did you mean "${near}"?`;
}

function isWhole(value: unknown, least: number, most: number): boolean {
  return Number.isInteger(value) && Number(value) >= least && Number(value) <= most;
}

function asObject(value: unknown): Record<string, unknown> | null {
  return typeof value !== 'object' || Array.isArray(value) ? null : (value as Record<string, unknown> | null); // any object can be read by key
}

function fieldOf(value: unknown, field: string): unknown {
  return asObject(value)?.[field];
}

function shownKind(value: unknown): string {
  return value === null ? 'null' : Array.isArray(value) ? 'a list' : typeof value === 'object' ? 'an object' : typeof value;
}
