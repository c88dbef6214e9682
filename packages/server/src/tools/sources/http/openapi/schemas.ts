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
    if (typeof given.$ref === 'string') return beside(given, follow(given.$ref, stack, depth));
    const schema = new Map<string, unknown>();
    const type = typeOf(given);
    if (type !== undefined) schema.set('type', type);
    if (typeof given.description === 'string' && given.description.trim() !== '')
      schema.set('description', cutText(given.description.trim(), maxDescription));
    if (typeof given.format === 'string') schema.set('format', given.format);
    const values = valuesOf(given, type);
    if (values !== null) schema.set('enum', values);
    for (const name of ['const', 'default']) if (given[name] !== undefined) schema.set(name, given[name]);
    if (!loose) copyBounds(given, schema);
    const inner = (value: unknown) => read(value, stack, depth + 1);
    readMembers(given, schema, inner);
    if (given.items !== undefined) schema.set('items', inner(given.items));
    readChoices(given, schema, inner);
    return given.nullable === true && type === undefined ? orNull(schema) : Object.fromEntries(schema);
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

/** What stands beside a reference says more than what it leads to. */
function beside({ description, nullable }: DescriptionPart, target: JsonSchema): JsonSchema {
  const own =
    typeof description === 'string' && description.trim() !== '' ? { description: cutText(description.trim(), maxDescription) } : {};
  const schema = { ...target, ...own };
  return nullable === true ? orNull(new Map(Object.entries(schema))) : schema;
}

function orNull(schema: Map<string, unknown>): JsonSchema {
  const { description, ...rest } = Object.fromEntries(schema);
  if (Object.keys(rest).length === 0) return description === undefined ? {} : { description };
  return { ...(description === undefined ? {} : { description }), anyOf: [rest, { type: 'null' }] };
}

/**
 * Of `oneOf` any will do: authors write it where several fit, and the server decides. Parts of an `allOf` that each close themselves
 * would let nothing through together.
 */
function readChoices(given: DescriptionPart, schema: Map<string, unknown>, inner: (value: unknown) => JsonSchema): void {
  const parts = (name: string) => {
    const each = given[name];
    return Array.isArray(each) && each.length > 0 && each.length <= 50 ? each.map(inner) : null;
  };
  const [any, one, all] = [parts('anyOf'), parts('oneOf'), parts('allOf')];
  const choices = [any, one].filter((each) => each !== null);
  const merged = [...(all ?? []).map(opened), ...(choices.length > 1 ? choices.map((anyOf) => ({ anyOf })) : [])];
  if (choices.length === 1) schema.set('anyOf', choices[0]);
  if (merged.length > 0) schema.set('allOf', merged);
  if (all !== null && schema.get('additionalProperties') === false) schema.delete('additionalProperties');
}

function opened(schema: JsonSchema): JsonSchema {
  const { additionalProperties, ...rest } = schema;
  return additionalProperties === false ? rest : schema;
}

/** The values that are allowed, each of the type that is named: who writes YAML forgets quotes, or has too many. */
function valuesOf({ enum: given, nullable }: DescriptionPart, type: string | string[] | undefined): unknown[] | null {
  if (!Array.isArray(given) || given.length === 0 || given.length > maxEnum) return null;
  const named = [type ?? []].flat();
  const values = given.flatMap((value) =>
    named.length === 0 || named.some((each) => isOfType(value, each)) ? [value] : asType(value, named),
  );
  if (values.length === 0) return null;
  return nullable === true && !values.includes(null) ? [...values, null] : values;
}

function isOfType(value: unknown, type: string): boolean {
  if (type === 'null') return value === null;
  if (type === 'integer') return Number.isInteger(value);
  if (type === 'array') return Array.isArray(value);
  return type === 'object' ? isObject(value) : typeof value === type;
}

function asType(value: unknown, types: readonly string[]): unknown[] {
  if (types.includes('string') && ['number', 'boolean'].includes(typeof value)) return [String(value)];
  const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : Number.NaN;
  if (types.includes('number') && Number.isFinite(number)) return [number];
  if (types.includes('integer') && Number.isInteger(number)) return [number];
  return types.includes('boolean') && (value === 'true' || value === 'false') ? [value === 'true'] : [];
}

function typeOf(given: DescriptionPart): string | string[] | undefined {
  const named = [given.type].flat().filter((type): type is string => typeof type === 'string' && types.has(type));
  if (named.length === 0 && isObject(given.properties)) named.push('object');
  if (named.length === 0) return undefined;
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
