import { cutText, isObject, type JsonSchema } from '#core';
import type { ApiDescription, DescriptionPart } from './document.ts';

export interface SchemaReader {
  /** The schema without what a request does not need; what is too deep or too much is left open. */
  read(schema: unknown): JsonSchema;
  /** What schemas that were read refer to, as they hold themselves. */
  definitions(): Readonly<Record<string, JsonSchema>>;
}

export interface SchemaReaderOptions {
  readonly document: ApiDescription;
  /** Parts of all schemas that are read. */
  readonly maxParts: number;
  /** Only what has a meaning for models: no patterns and bounds, which may be written in another language. */
  readonly loose: boolean;
}

const maxDepth = 8;
const maxEnum = 100;
const maxDescription = 300;
const types = new Set(['null', 'boolean', 'integer', 'number', 'string', 'array', 'object']);
const bounds = [
  'minimum',
  'maximum',
  'multipleOf',
  'minLength',
  'maxLength',
  'minItems',
  'maxItems',
  'minProperties',
  'maxProperties',
  'uniqueItems',
];
const strict = [...bounds, 'exclusiveMinimum', 'exclusiveMaximum', 'pattern'];

/** Schemas of OpenAPI 3.0 and 3.1 as JSON Schema. References are written out, but for those of what holds itself. */
export function createSchemaReader({ document, maxParts, loose }: SchemaReaderOptions): SchemaReader {
  let left = maxParts;
  /** Names by reference. */
  const recursive = new Map<string, string>();
  const made = new Map<string, JsonSchema>();

  function read(given: unknown, stack: readonly string[], depth: number): JsonSchema {
    if (!isObject(given)) return given === false ? { not: {} } : {};
    left -= 1;
    if (left < 0 || depth > maxDepth) return {};
    if (typeof given.$ref === 'string') return follow(given.$ref, stack, depth);
    const schema = new Map<string, unknown>();
    const type = typeOf(given);
    if (type !== undefined) schema.set('type', type);
    if (typeof given.description === 'string' && given.description.trim() !== '')
      schema.set('description', cutText(given.description.trim(), maxDescription));
    if (typeof given.format === 'string') schema.set('format', given.format);
    if (Array.isArray(given.enum) && given.enum.length > 0 && given.enum.length <= maxEnum)
      schema.set('enum', given.nullable === true && !given.enum.includes(null) ? [...given.enum, null] : given.enum);
    for (const name of ['const', 'default']) if (given[name] !== undefined) schema.set(name, given[name]);
    if (!loose) copyBounds(given, schema);
    const inner = (value: unknown) => read(value, stack, depth + 1);
    readMembers(given, schema, inner);
    if (given.items !== undefined) schema.set('items', inner(given.items));
    for (const name of ['anyOf', 'oneOf', 'allOf']) {
      const parts = given[name];
      if (Array.isArray(parts) && parts.length > 0 && parts.length <= 50) schema.set(name, parts.map(inner));
    }
    return Object.fromEntries(schema);
  }

  function follow(reference: string, stack: readonly string[], depth: number): JsonSchema {
    if (stack.includes(reference)) {
      const known = recursive.get(reference);
      const name = known ?? nameFor(reference);
      recursive.set(reference, name);
      return { $ref: `#/$defs/${name}` };
    }
    const target = document.resolve({ $ref: reference });
    return target === undefined ? {} : read(target, [...stack, reference], depth);
  }

  function nameFor(reference: string): string {
    const plain = (reference.split('/').at(-1) ?? '').replace(/[^A-Za-z0-9_]/g, '_') || 'Schema';
    const taken = new Set(recursive.values());
    let name = plain;
    for (let count = 2; taken.has(name); count += 1) name = `${plain}_${count}`;
    return name;
  }

  return {
    read: (schema) => read(schema, [], 0),
    definitions() {
      // One may show that another holds itself.
      for (let before = -1; before < recursive.size; ) {
        before = recursive.size;
        for (const [reference, name] of recursive)
          if (!made.has(name)) made.set(name, read(document.resolve({ $ref: reference }), [reference], 1));
      }
      return Object.fromEntries(made);
    },
  };
}

function typeOf(given: DescriptionPart): string | string[] | undefined {
  const named = [given.type].flat().filter((type): type is string => typeof type === 'string' && types.has(type));
  if (named.length === 0) return isObject(given.properties) ? 'object' : undefined;
  if (given.nullable === true && !named.includes('null')) named.push('null');
  const unique = [...new Set(named)];
  return unique.length === 1 ? unique[0] : unique;
}

/** In OpenAPI 3.0 an exclusive bound is a mark on the other one. */
function copyBounds(given: DescriptionPart, schema: Map<string, unknown>): void {
  for (const name of strict) if (given[name] !== undefined && typeof given[name] !== 'boolean') schema.set(name, given[name]);
  if (given.uniqueItems === true) schema.set('uniqueItems', true);
  for (const [mark, bound] of [['exclusiveMinimum', 'minimum'] as const, ['exclusiveMaximum', 'maximum'] as const]) {
    if (given[mark] !== true || given[bound] === undefined) continue;
    schema.delete(bound);
    schema.set(mark, given[bound]);
  }
}

/** What only an answer has is left out. */
function readMembers(given: DescriptionPart, schema: Map<string, unknown>, inner: (value: unknown) => JsonSchema): void {
  if (isObject(given.properties)) {
    const members = Object.entries(given.properties).filter(([, member]) => !(isObject(member) && member.readOnly === true));
    schema.set('properties', Object.fromEntries(members.map(([name, member]) => [name, inner(member)])));
    const names = new Set(members.map(([name]) => name));
    const required = Array.isArray(given.required) ? given.required.filter((name) => typeof name === 'string' && names.has(name)) : [];
    if (required.length > 0) schema.set('required', [...new Set(required)]);
  }
  if (isObject(given.additionalProperties)) schema.set('additionalProperties', inner(given.additionalProperties));
  else if (given.additionalProperties === false) schema.set('additionalProperties', false);
}
