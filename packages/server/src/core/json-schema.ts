import { createRequire } from 'node:module';
import { createContext, Script } from 'node:vm';
import type { Ajv2020, ErrorObject, ValidateFunction } from 'ajv/dist/2020.js';
import { LRUCache } from 'lru-cache';
import { NexusError } from './errors.ts';
import { canonicalJson } from './json.ts';
import { cutText } from './text.ts';

export type JsonSchema = Record<string, unknown>;

/** One thing that does not fit: where, what is there, what belongs there. */
export interface SchemaIssue {
  readonly path: string;
  readonly expected: string;
  readonly actual: string;
}

export interface SchemaValidator {
  /** What does not fit, at most `maxIssues`; empty when the value fits. Throws `config_invalid` when the schema itself is not valid. */
  check(schema: JsonSchema, value: unknown): readonly SchemaIssue[];
}

const maxIssues = 5;
const maxShownChars = 80;
const wrapperKeywords = new Set(['anyOf', 'oneOf', 'allOf', 'if', 'not', '$ref']);

/** Texts of schemas whose compiled form is kept, in characters. */
const maxKeptChars = 4 * 1024 * 1024;

/**
 * Validates against JSON Schema 2020-12. A schema is compiled when it is first used and kept as long as its object lives;
 * schemas of equal text share the compiled form while it is among the last used (within {@link maxKeptChars}).
 */
export function createSchemaValidator(): SchemaValidator {
  const byObject = new WeakMap<JsonSchema, ValidateFunction>();
  const byText = new LRUCache<string, ValidateFunction>({ maxSize: maxKeptChars, sizeCalculation: (_validate, text) => text.length });
  const compile = createCompiler();

  const find = (schema: JsonSchema): ValidateFunction => {
    const text = JSON.stringify(schema);
    let validate = byText.get(text);
    if (validate === undefined) {
      validate = compile(schema, text.length);
      byText.set(text, validate);
    }
    byObject.set(schema, validate);
    return validate;
  };

  return {
    check(schema, value) {
      const validate = byObject.get(schema) ?? find(schema);
      const fits: unknown = validate(value);
      // A schema with `$async` answers with a promise, whose rejection would be nobody's.
      if (fits instanceof Promise) {
        fits.catch(() => undefined);
        throw new NexusError('config_invalid', 'the schema has `$async`, which is not of JSON Schema; remove it');
      }
      if (fits === true) return [];
      const errors = validate.errors ?? [];
      validate.errors = null; // they hold the value that was checked
      const concrete = errors.filter((error) => !wrapperKeywords.has(error.keyword));
      return (concrete.length > 0 ? concrete : errors).slice(0, maxIssues).map((error) => describe(error, value));
    },
  };
}

/** Ajv never forgets a schema that it compiled, so a new one begins after {@link maxKeptChars} of them. What was compiled stays good. */
function createCompiler() {
  let ajv: Ajv2020 | undefined;
  let compiledChars = 0;
  return (schema: JsonSchema, chars: number): ValidateFunction => {
    if (compiledChars + chars > maxKeptChars) ajv = undefined;
    compiledChars = ajv === undefined ? chars : compiledChars + chars;
    ajv ??= loadAjv();
    // `$schema` may name another draft and `$id` would make two schemas with the same id collide: neither matters here.
    const { $schema: _draft, $id: _id, ...rest } = schema;
    try {
      return ajv.compile(rest);
    } catch (error) {
      throw new NexusError('config_invalid', 'the schema is not a valid JSON Schema; correct it', { cause: error });
    }
  };
}

/** Loading takes tens of milliseconds, which a start without tool calls should not pay. */
function loadAjv(): Ajv2020 {
  const module = createRequire(import.meta.url)('ajv/dist/2020.js') as typeof import('ajv/dist/2020.js'); // require() loses the module's type
  const ajv = new module.Ajv2020({
    allErrors: true,
    verbose: true,
    strict: false,
    validateFormats: false,
    logger: false,
    ownProperties: true,
    code: { regExp: createPatternEngine() },
  });
  // Ajv compares each item with each other one: a long list, which a model writes in one answer, would stop the whole server.
  return ajv.removeKeyword('uniqueItems').addKeyword({
    keyword: 'uniqueItems',
    type: 'array',
    schemaType: 'boolean',
    validate: (wanted: boolean, items: readonly unknown[]) => !wanted || new Set(items.map(canonicalJson)).size === items.length,
    error: { message: 'must not have the same item twice' },
  });
}

const maxPatternMs = 50;
/** Up to this length not even the worst pattern that people write takes long. */
const shortChars = 16;

/**
 * The patterns of schemas, which meet texts that models write: one that backtracks without end would stop the whole
 * server. A text that takes too long to match does not match.
 */
function createPatternEngine() {
  const job: { pattern: RegExp; text: string } = { pattern: /(?:)/, text: '' };
  const script = new Script('pattern.test(text)');
  const context = createContext(job);
  const engine = (source: string, flags: string) => {
    const pattern = new RegExp(source, flags);
    const quantifiers = source.match(/[*+{?]/g)?.length ?? 0;
    return {
      // Ajv takes patterns with equal texts for the same.
      toString: () => String(pattern),
      test(text: string): boolean {
        // With one quantifier at most, matching takes quadratic time at worst.
        if (text.length <= shortChars || (quantifiers < 2 && text.length < 5_000)) return pattern.test(text);
        Object.assign(job, { pattern, text });
        try {
          return script.runInContext(context, { timeout: maxPatternMs }) === true;
        } catch {
          return false;
        } finally {
          job.text = '';
        }
      },
    };
  };
  return Object.assign(engine, { code: 'new RegExp' });
}

function describe(error: ErrorObject, root: unknown): SchemaIssue {
  const path = readablePath(error.instancePath);
  const params: Record<string, unknown> = error.params;
  switch (error.keyword) {
    case 'required':
      return { path: join(path, String(params.missingProperty)), expected: 'a value (it is required)', actual: 'nothing' };
    case 'additionalProperties':
    case 'unevaluatedProperties': {
      const name = String(params.additionalProperty ?? params.unevaluatedProperty);
      const known = Object.keys(objectOf(error.parentSchema?.properties));
      return {
        path: join(path, name),
        expected: known.length === 0 ? 'no such property' : `no such property; known are ${known.join(', ')}`,
        actual: shown(objectOf(error.data)[name]),
      };
    }
    case 'type':
      return { path, expected: [params.type].flat().join(' or '), actual: shown(error.data) };
    case 'enum':
      return { path, expected: `one of ${shown(params.allowedValues, 400)}`, actual: shown(error.data) };
    case 'const':
      return { path, expected: shown(params.allowedValue), actual: shown(error.data) };
    default:
      return { path, expected: (error.message ?? error.keyword).replace(/^must /, ''), actual: shown(path === '' ? root : error.data) };
  }
}

/** `/files/0/name` as `files[0].name`; the empty path is the value itself. */
function readablePath(pointer: string): string {
  return pointer
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))
    .reduce((path, part) => (/^\d+$/.test(part) ? `${path}[${part}]` : join(path, part)), '');
}

function join(path: string, name: string): string {
  return path === '' ? name : `${path}.${name}`;
}

function objectOf(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}; // any object can be read by key
}

function shown(value: unknown, maxChars = maxShownChars): string {
  const kind = value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value;
  if (value === undefined) return 'nothing';
  let text: string;
  try {
    text = JSON.stringify(value) ?? kind;
  } catch {
    return kind;
  }
  if (Array.isArray(value) && maxChars > maxShownChars) return cutText(text, maxChars);
  const cut = text.length > maxChars ? `${cutText(text, maxChars)}…` : text;
  return kind === 'null' ? cut : `${kind} ${cut}`;
}
