import { dictionary } from '@nexus-agent/protocol';
import { closest } from '../closest.ts';
import { isObject } from '../json.ts';
import { decoded } from '../settings/address.ts';
import { parsePattern, statesOf } from './pattern-syntax.ts';

export interface SchemaFault {
  /** Where in the schema, such as `properties.a.pattern`; empty for the schema itself. */
  readonly path: string;
  readonly message: string;
}

/** What a schema may be. Its parts and their number also bound what it costs to read and keep it. */
const maxChars = 100_000;
const maxDepth = 64;
const maxParts = 3_000;
const maxBranches = 256;
const maxNames = 2_000;
const maxPatterns = 500;
const maxPatternStates = 50_000;
const maxFaults = 10;
const maxUnknown = 20;

const types = new Set(['null', 'boolean', 'integer', 'number', 'string', 'array', 'object']);

type Kind =
  | 'schema'
  | 'schemas'
  | 'schemaMap'
  | 'items'
  | 'names'
  | 'nameMap'
  | 'type'
  | 'enum'
  | 'number'
  | 'positive'
  | 'count'
  | 'boolean'
  | 'text'
  | 'list'
  | 'pattern'
  | 'reference'
  | 'any';

/** What the value of each keyword has to be. Others are notes, which nothing reads. */
const keywords: ReadonlyMap<string, Kind> = new Map<string, Kind>([
  ...each('schema', 'additionalProperties', 'propertyNames', 'unevaluatedProperties', 'unevaluatedItems', 'additionalItems', 'contains'),
  ...each('schema', 'not', 'if', 'then', 'else', 'contentSchema'),
  ...each('schemas', 'anyOf', 'oneOf', 'allOf', 'prefixItems'),
  ...each('schemaMap', 'properties', '$defs', 'definitions', 'dependentSchemas'),
  ...each('number', 'maximum', 'minimum', 'exclusiveMaximum', 'exclusiveMinimum'),
  ...each('count', 'maxLength', 'minLength', 'maxItems', 'minItems', 'maxProperties', 'minProperties', 'maxContains', 'minContains'),
  ...each('boolean', 'uniqueItems', 'deprecated', 'readOnly', 'writeOnly'),
  ...each('text', 'title', 'description', 'format', '$comment', '$schema', '$id', '$anchor', '$dynamicAnchor', 'contentEncoding'),
  ...each('text', 'contentMediaType'),
  ['items', 'items'],
  ['patternProperties', 'schemaMap'],
  ['dependencies', 'schemaMap'],
  ['dependentRequired', 'nameMap'],
  ['required', 'names'],
  ['type', 'type'],
  ['enum', 'enum'],
  ['const', 'any'],
  ['default', 'any'],
  ['multipleOf', 'positive'],
  ['pattern', 'pattern'],
  ['examples', 'list'],
  ['$ref', 'reference'],
]);

interface Form {
  readonly fits: (value: unknown) => boolean;
  readonly what: string;
}

/** What a value has to be before it is looked into. */
const forms: Partial<Record<Kind, Form>> = dictionary({
  schemas: { fits: (value) => Array.isArray(value) && value.length > 0, what: 'a list of at least one schema' },
  schemaMap: { fits: isObject, what: 'an object with schemas' },
  nameMap: { fits: isObject, what: 'an object with lists of names' },
  type: { fits: isType, what: `one of ${[...types].join(', ')}, or a list of them` },
  enum: {
    fits: (value) => Array.isArray(value) && value.length > 0 && value.length <= maxNames,
    what: `a list of 1 to ${maxNames} values`,
  },
  number: { fits: Number.isFinite, what: 'a number' },
  positive: { fits: (value) => Number.isFinite(value) && Number(value) > 0, what: 'a number larger than 0' },
  count: { fits: (value) => Number.isSafeInteger(value) && Number(value) >= 0, what: 'a whole number of at least 0' },
  boolean: { fits: (value) => typeof value === 'boolean', what: 'true or false' },
  text: { fits: isText, what: 'a text' },
  list: { fits: Array.isArray, what: 'a list' },
  pattern: { fits: isText, what: 'a regular expression as text' },
  reference: { fits: isText, what: 'a text such as "#/$defs/name"' },
});

function isText(value: unknown): boolean {
  return typeof value === 'string';
}

function isType(value: unknown): boolean {
  const names: readonly unknown[] = Array.isArray(value) ? value : [value];
  const known = names.length > 0 && names.length <= types.size && names.every((name) => typeof name === 'string' && types.has(name));
  return known && new Set(names).size === names.length;
}

function each(kind: Kind, ...names: string[]): [string, Kind][] {
  return names.map((name) => [name, kind]);
}

/**
 * What is wrong with a JSON Schema (2020-12, and what drafts before it write otherwise), at most 10 faults; none when it can be
 * checked against. Takes time in proportion to its size, and to the least of it when it is too large.
 */
export function findSchemaFaults(schema: unknown): readonly SchemaFault[] {
  if (!isObject(schema) && typeof schema !== 'boolean') return [{ path: '', message: `expected a JSON Schema, got ${given(schema)}` }];
  const chars = charsOf(schema);
  if (chars === null) return [{ path: '', message: 'is nothing that JSON can write' }];
  if (chars > maxChars) return [{ path: '', message: `has ${chars} characters as JSON; at most ${maxChars} are taken` }];
  const reader = new Reader(schema);
  reader.read(schema, '', 0);
  return reader.finish();
}

/**
 * Names in a schema without faults that nothing reads and that are written nearly like one that does, such as `requird`: notes may have
 * any name, but a misspelt keyword checks nothing. At most 10, as the place and what it may be meant to be.
 */
export function findMisspeltKeywords(schema: unknown): readonly { readonly path: string; readonly nearest: string }[] {
  const reader = new Reader(schema);
  reader.read(schema, '', 0);
  const known = [...keywords].filter(([, kind]) => kind !== 'text' && kind !== 'list').map(([keyword]) => keyword);
  const near = reader.unknown.slice(0, maxParts).map(({ keyword, path }) => ({ path, nearest: closest(keyword, known) }));
  return near.flatMap(({ path, nearest }) => (nearest === null ? [] : [{ path, nearest }])).slice(0, maxFaults);
}

function charsOf(schema: unknown): number | null {
  try {
    return JSON.stringify(schema).length;
  } catch {
    return null; // it is part of itself, or deeper than a stack
  }
}

class Reader {
  readonly #root: unknown;
  readonly #faults: SchemaFault[] = [];
  readonly #parts = new Map<object, string>();
  readonly #references: { readonly from: object; readonly target: string; readonly path: string }[] = [];
  /** What is held against the very same value as the part itself. */
  readonly #sameValue = new Map<object, object[]>();
  /** Names that nothing reads, of a length that keywords have. */
  readonly unknown: { readonly keyword: string; readonly path: string }[] = [];
  #count = 0;
  #patterns = 0;
  #patternStates = 0;

  constructor(root: unknown) {
    this.#root = root;
  }

  read(schema: unknown, path: string, depth: number): undefined {
    if (this.#faults.length >= maxFaults || typeof schema === 'boolean') return;
    if (!isObject(schema)) return this.#fault(path, `expected a schema (an object, true or false), got ${given(schema)}`);
    this.#count += 1;
    if (this.#count > maxParts) {
      if (this.#count === maxParts + 1) this.#fault('', `has more than ${maxParts} schemas within it`);
      return;
    }
    if (depth > maxDepth) return this.#fault(path, `schemas nest at most ${maxDepth} levels deep`);
    this.#parts.set(schema, path);
    for (const [keyword, value] of Object.entries(schema)) {
      if (value === undefined) continue;
      const kind = keywords.get(keyword);
      const at = join(path, keyword);
      if (kind !== undefined) this.#readKeyword(schema, keyword, kind, value, at, depth);
      else if (keyword.startsWith('$'))
        this.#fault(at, 'is a keyword that is not taken; use what JSON Schema 2020-12 has, and $ref with $defs');
      else if (keyword.length >= 5 && keyword.length <= 30 && this.unknown.length < maxUnknown) this.unknown.push({ keyword, path: at });
      if (keyword === '$id' && path !== '') this.#fault(at, 'may only stand at the top: references are within the whole schema');
    }
  }

  finish(): readonly SchemaFault[] {
    for (const { from, target, path } of this.#references) {
      const found = resolve(this.#root, target);
      if (typeof found === 'boolean') continue;
      if (!isObject(found) || !(this.#parts.has(found) || this.#faults.length > 0))
        this.#fault(path, `${given(target)} leads to no schema`);
      else this.#link(from, found);
    }
    if (this.#faults.length === 0) this.#findCircle();
    return this.#faults.slice(0, maxFaults);
  }

  #readKeyword(schema: object, keyword: string, kind: Kind, value: unknown, at: string, depth: number): undefined {
    const form = forms[kind];
    if (form !== undefined && !form.fits(value)) return this.#fault(at, `expected ${form.what}, got ${given(value)}`);
    switch (kind) {
      case 'schema':
        if (['not', 'if', 'then', 'else'].includes(keyword)) this.#link(schema, value);
        return this.read(value, at, depth + 1);
      case 'items':
        return Array.isArray(value) ? this.#readList(value, at, depth) : this.read(value, at, depth + 1);
      case 'schemas':
        if (keyword !== 'prefixItems') for (const item of value as unknown[]) this.#link(schema, item); // its form says so
        return this.#readList(value as unknown[], at, depth);
      case 'schemaMap':
        return this.#readMap(schema, keyword, value as Record<string, unknown>, at, depth); // its form says so
      case 'names':
        return this.#readNames(value, at);
      case 'nameMap':
        for (const [name, names] of Object.entries(value as object)) this.#readNames(names, join(at, name)); // its form says so
        return;
      case 'pattern':
        return this.#readPattern(value as string, at); // its form says so
      case 'reference':
        return this.#readReference(schema, value as string, at); // its form says so
      default:
        return;
    }
  }

  #readList(items: readonly unknown[], at: string, depth: number): undefined {
    if (items.length > maxBranches) return this.#fault(at, `at most ${maxBranches} schemas are taken here, got ${items.length}`);
    for (const [index, item] of items.entries()) this.read(item, `${at}[${index}]`, depth + 1);
  }

  #readMap(schema: object, keyword: string, map: Record<string, unknown>, at: string, depth: number): undefined {
    for (const [name, value] of Object.entries(map)) {
      if (this.#faults.length >= maxFaults) return;
      const place = join(at, name);
      if (keyword === 'patternProperties') this.#readPattern(name, place);
      if (keyword === 'dependencies' && Array.isArray(value)) {
        this.#readNames(value, place);
        continue;
      }
      if (keyword === 'dependentSchemas' || keyword === 'dependencies') this.#link(schema, value);
      this.read(value, place, depth + 1);
    }
  }

  #readNames(value: unknown, at: string): undefined {
    if (!Array.isArray(value) || !value.every((name) => typeof name === 'string'))
      return this.#fault(at, `expected a list of names, got ${given(value)}`);
    if (value.length > maxNames) return this.#fault(at, `expected at most ${maxNames} names, got ${value.length}`);
    if (new Set(value).size < value.length) this.#fault(at, 'names something twice');
  }

  #readPattern(source: string, at: string): undefined {
    this.#patterns += 1;
    if (this.#patterns > maxPatterns) return this.#fault(at, `a schema has at most ${maxPatterns} patterns`);
    try {
      this.#patternStates += statesOf(parsePattern(source));
      if (this.#patternStates > maxPatternStates) this.#fault(at, 'with this one the patterns of the schema are too large together');
    } catch (error) {
      this.#fault(at, `is no pattern that is taken: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  #readReference(schema: object, target: string, at: string): undefined {
    if (target === '#' || target.startsWith('#/')) this.#references.push({ from: schema, target, path: at });
    else this.#fault(at, `only references within the schema are followed, such as "#/$defs/name"; got ${given(target)}`);
  }

  #link(from: object, to: unknown): void {
    if (!isObject(to)) return;
    const known = this.#sameValue.get(from);
    if (known === undefined) this.#sameValue.set(from, [to]);
    else known.push(to);
  }

  /** A schema that leads back to itself without going into the value would never come to an end. */
  #findCircle(): undefined {
    const done = new Set<object>();
    const open = new Set<object>();
    for (const start of this.#sameValue.keys()) {
      const stack: { readonly part: object; next: number }[] = [{ part: start, next: 0 }];
      for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
        const to = done.has(top.part) ? undefined : this.#sameValue.get(top.part)?.[top.next++];
        if (top.next <= 1) open.add(top.part);
        if (to === undefined) {
          done.add(top.part);
          open.delete(top.part);
          stack.pop();
        } else if (open.has(to)) {
          return this.#fault(this.#parts.get(to) ?? '', 'leads back to itself without going into the value, so that no check would end');
        } else stack.push({ part: to, next: 0 });
      }
    }
  }

  /** Gives nothing, so that a reader ends with it. */
  #fault(path: string, message: string): undefined {
    this.#faults.push({ path, message });
    return undefined;
  }
}

/** What a reference such as `#/$defs/name` stands for. */
export function resolve(root: unknown, reference: string): unknown {
  let at: unknown = root;
  for (const step of reference.split('/').slice(1)) {
    const name = decoded(step).replaceAll('~1', '/').replaceAll('~0', '~');
    at = typeof at === 'object' && at !== null && Object.hasOwn(at, name) ? (at as Record<string, unknown>)[name] : undefined; // any object can be read by key
  }
  return at;
}

function join(path: string, name: string): string {
  const short = name.length > 60 ? `${name.slice(0, 60)}…` : name;
  const whole = path === '' ? short : `${path}.${short}`;
  return whole.length > 500 ? `${whole.slice(0, 240)}…${whole.slice(-240)}` : whole;
}

function given(value: unknown): string {
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list';
  if (isObject(value)) return 'an object';
  const text = JSON.stringify(value) ?? typeof value;
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
