import { dictionary } from '@nexus-agent/protocol';
import { asRecord } from './json.ts';

type Schema = Record<string, unknown>;

/** Larger schemas are cut where they refer to themselves once too often. */
const maxNodes = 5_000;

/** Members whose values are names or data, not schemas. */
const dataMembers = new Set(['enum', 'const', 'default', 'examples', 'required']);
const definitionMembers = new Set([
  '$schema',
  '$id',
  '$anchor',
  '$comment',
  '$defs',
  'definitions',
  '$ref',
  '$dynamicRef',
  '$dynamicAnchor',
]);

interface Inlining {
  readonly root: unknown;
  nodes: number;
  /** Something could not be put in place: a schema within itself, or one from elsewhere. */
  cut: boolean;
}

/** The schema with what it refers to put in its place, and whether all of it could be. */
function withoutReferences(schema: Schema): { readonly schema: Schema; readonly cut: boolean } {
  const state: Inlining = { root: schema, nodes: 0, cut: false };
  return { schema: asRecord(inlined(schema, state, [])) ?? {}, cut: state.cut };
}

function inlined(schema: unknown, state: Inlining, path: readonly string[]): unknown {
  if (Array.isArray(schema)) return schema.map((item) => inlined(item, state, path));
  const node = asRecord(schema);
  if (node === null) return schema;
  state.nodes += 1;
  const reference = node.$ref;
  const copy: Schema = dictionary({});
  if (typeof reference === 'string') {
    const found = path.includes(reference) || state.nodes > maxNodes ? undefined : definition(state.root, reference);
    if (found === undefined) state.cut = true;
    else Object.assign(copy, asRecord(inlined(found, state, [...path, reference])));
  }
  for (const [key, child] of Object.entries(node)) {
    if (definitionMembers.has(key)) continue;
    if (key === 'properties') {
      // Here the keys are names, whatever they are.
      const properties = Object.entries(asRecord(child) ?? {}).map(([name, item]) => [name, inlined(item, state, path)]);
      copy.properties = Object.fromEntries(properties);
    } else copy[key] = dataMembers.has(key) ? child : inlined(child, state, path);
  }
  return copy;
}

function definition(root: unknown, reference: string): unknown {
  if (reference === '#') return root;
  if (!reference.startsWith('#/')) return undefined;
  let at: unknown = root;
  for (const step of reference.slice(2).split('/')) {
    const key = step.replaceAll('~1', '/').replaceAll('~0', '~');
    const node = asRecord(at);
    at = node !== null && Object.hasOwn(node, key) ? node[key] : undefined;
  }
  return at;
}

const notAtTop = new Set(['oneOf', 'anyOf', 'allOf', 'not', 'if', 'then', 'else', 'enum', 'const', 'required']);
const toolSchemas = new WeakMap<Schema, Schema>();

/**
 * The schema of a tool's input as every wire takes it: an object at the top, without alternatives there, and without
 * references. It may allow more than the tool does, who checks its input itself.
 */
export function toolSchema(schema: Schema): Schema {
  const known = toolSchemas.get(schema);
  if (known !== undefined) return known;
  const whole = withoutReferences(schema).schema;
  const top = mergeAll(whole);
  const some = [...schemaList(top.oneOf), ...schemaList(top.anyOf)].map(mergeAll);
  const required = new Set(requiredOf(top));
  for (const name of requiredOf(some[0] ?? {})) if (some.every((item) => requiredOf(item).includes(name))) required.add(name);
  const properties = Object.assign({}, ...[...some, top].map((item) => asRecord(item.properties) ?? {}));
  const made: Schema = {
    ...Object.fromEntries(Object.entries(top).filter(([key]) => !notAtTop.has(key))),
    type: 'object',
    properties: Object.fromEntries(Object.entries(properties).map(([name, item]) => [name, withItems(item)])),
    ...(required.size === 0 ? {} : { required: [...required] }),
  };
  // What the parts allow together, one of them alone may forbid.
  if (some.length > 0 || whole.allOf !== undefined) delete made.additionalProperties;
  toolSchemas.set(schema, made);
  return made;
}

function schemaList(value: unknown): Schema[] {
  const found = (Array.isArray(value) ? value : []).map((item) => asRecord(item));
  return found.filter((item) => item !== null);
}

function requiredOf(schema: Schema): string[] {
  return (Array.isArray(schema.required) ? schema.required : []).filter((name) => typeof name === 'string');
}

/** Every list says what is in it, and a schema that allows everything is an object: some servers insist on both. */
function withItems(schema: unknown): unknown {
  if (schema === true) return {};
  if (Array.isArray(schema)) return schema.map(withItems);
  const node = asRecord(schema);
  if (node === null) return schema;
  const copy: Schema = dictionary({});
  for (const [key, child] of Object.entries(node)) {
    if (dataMembers.has(key) || key === 'additionalProperties') copy[key] = child;
    else if (key === 'properties') {
      copy[key] = Object.fromEntries(Object.entries(asRecord(child) ?? {}).map(([name, item]) => [name, withItems(item)]));
    } else copy[key] = asRecord(child) === null && !Array.isArray(child) ? child : withItems(child);
  }
  if (node.type === 'array' && asRecord(node.items) === null) copy.items = {};
  return copy;
}

/** Members that a wire is sent with the schema of an answer. */
const keptMembers = new Set([
  'type',
  'properties',
  'required',
  'items',
  'enum',
  'const',
  'anyOf',
  'description',
  'title',
  'additionalProperties',
]);

/** What the bounds that are left out say, in words. */
const bounds: readonly (readonly [string, (value: unknown) => string])[] = [
  ['minimum', (value) => `at least ${value}`],
  ['exclusiveMinimum', (value) => `more than ${value}`],
  ['maximum', (value) => `at most ${value}`],
  ['exclusiveMaximum', (value) => `less than ${value}`],
  ['multipleOf', (value) => `a multiple of ${value}`],
  ['minLength', (value) => `at least ${value} characters`],
  ['maxLength', (value) => `at most ${value} characters`],
  ['pattern', (value) => `as in the regular expression ${value}`],
  ['format', (value) => `written as ${value}`],
  ['minItems', (value) => `at least ${value} items`],
  ['maxItems', (value) => `at most ${value} items`],
  ['uniqueItems', (value) => (value === true ? 'no item twice' : '')],
];

/** The schema of an answer as a wire takes it. */
export interface AnswerSchema {
  readonly schema: Schema;
  /** Every object lists all its properties as required and allows no others, as strict modes insist. */
  readonly strict: boolean;
}

const answerSchemas = dictionary({
  closed: new WeakMap<Schema, AnswerSchema | 'none'>(),
  open: new WeakMap<Schema, AnswerSchema | 'none'>(),
});

/**
 * The part of an answer's schema that wires take: what does not fit in it is said in the descriptions or left out, as the whole
 * is checked here. `closed`: every object allows only the properties that it lists; what fits then fits the original too.
 * Null: there is no such part.
 */
export function answerSchema(schema: Schema, objects: 'closed' | 'open'): AnswerSchema | null {
  const known = answerSchemas[objects].get(schema);
  if (known !== undefined) return known === 'none' ? null : known;
  const whole = withoutReferences(schema);
  const state: Reduction = { closed: objects === 'closed', lost: false };
  const reduced = asRecord(reduce(whole.schema, state)) ?? {};
  const possible = objects === 'open' || !(whole.cut || state.lost);
  const made = possible ? { schema: reduced, strict: !whole.cut && reduced.type === 'object' && isStrictSchema(reduced) } : null;
  answerSchemas[objects].set(schema, made ?? 'none');
  return made;
}

interface Reduction {
  readonly closed: boolean;
  /** An object with names of its own choice cannot be closed. */
  lost: boolean;
}

function reduce(schema: unknown, state: Reduction): unknown {
  const given = asRecord(schema);
  if (given === null) return schema === true ? {} : schema;
  const node = mergeAll(given);
  const copy: Schema = dictionary({});
  for (const [key, child] of Object.entries(node)) {
    if (!keptMembers.has(key)) continue;
    if (key === 'properties') {
      copy.properties = Object.fromEntries(Object.entries(asRecord(child) ?? {}).map(([name, item]) => [name, reduce(item, state)]));
    } else if (key === 'anyOf' && Array.isArray(child)) copy.anyOf = child.map((item) => reduce(item, state));
    else copy[key] = key === 'items' || key === 'additionalProperties' ? reduce(child, state) : child;
  }
  if (copy.anyOf === undefined && Array.isArray(node.oneOf)) copy.anyOf = node.oneOf.map((item) => reduce(item, state));
  if (copy.properties !== undefined) delete copy.anyOf; // alternatives of what is listed already
  closeObject(copy, node, state);
  const notes = bounds.flatMap(([key, words]) => (node[key] === undefined ? [] : [words(node[key])])).filter((words) => words !== '');
  if (notes.length > 0) copy.description = `${typeof copy.description === 'string' ? `${copy.description} ` : ''}(${notes.join(', ')})`;
  return copy;
}

function closeObject(copy: Schema, node: Schema, state: Reduction): void {
  if (!state.closed || (node.type !== 'object' && copy.properties === undefined)) return;
  const free = (node.additionalProperties !== undefined && node.additionalProperties !== false) || node.patternProperties !== undefined;
  if (free && Object.keys(asRecord(node.properties) ?? {}).length === 0) state.lost = true;
  copy.additionalProperties = false;
}

/** A schema whose parts must all hold, as one: closed objects side by side would allow nothing. */
function mergeAll(node: Schema): Schema {
  const parts = schemaList(node.allOf).map(mergeAll);
  if (parts.length === 0) return node;
  const { allOf: _allOf, ...own } = node;
  const all = [...parts, own];
  const properties = Object.assign({}, ...all.map((part) => asRecord(part.properties) ?? {}));
  const required = [...new Set(all.flatMap(requiredOf))];
  return {
    ...Object.assign({}, ...all),
    ...(Object.keys(properties).length === 0 ? {} : { properties }),
    ...(required.length === 0 ? {} : { required }),
  };
}

function isStrictSchema(schema: unknown): boolean {
  if (Array.isArray(schema)) return schema.every(isStrictSchema);
  const node = asRecord(schema);
  if (node === null) return true;
  if (node.type === undefined && node.anyOf === undefined && node.enum === undefined && node.const === undefined) return false;
  const properties = asRecord(node.properties);
  if (node.type === 'object' || properties !== null) {
    if (node.additionalProperties !== false) return false;
    if (!Object.keys(properties ?? {}).every((name) => requiredOf(node).includes(name))) return false;
  }
  return Object.entries(node).every(([key, child]) => {
    if (key === 'properties') return Object.values(asRecord(child) ?? {}).every(isStrictSchema);
    return dataMembers.has(key) || isStrictSchema(child);
  });
}
