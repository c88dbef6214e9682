import { dictionary } from '@nexus-agent/protocol';
import { z } from 'zod';
import { closest } from './closest.ts';
import { NexusError } from './errors.ts';
import { redactText } from './redact.ts';
import { beginning } from './schema/words.ts';

/** One thing that is wrong with a value: where, what was there, and what would be right. */
export interface ValidationIssue {
  readonly path: string;
  readonly message: string;
}

export interface ExplainOptions {
  /** True for places whose value must not be repeated in a message, nor a name that stands there and is not known. */
  readonly secret?: (path: string) => boolean;
}

type Issue = z.core.$ZodIssue;

/** More are not explained: each is compared with what is known, and the value may come from anybody. */
const maxIssues = 50;

/** Turns the issues of a failed parse, at most 50, into messages that a person can act on. */
export function explainIssues(error: z.ZodError, schema: z.ZodType, value: unknown, options: ExplainOptions = {}): ValidationIssue[] {
  const explained: ValidationIssue[] = [];
  for (const issue of error.issues) {
    if (explained.length >= maxIssues) break;
    explained.push(...explain(issue, [], schema, value, options));
  }
  return explained.slice(0, maxIssues);
}

/** The value as the schema reads it, or `invalid_request` that lists what is wrong. `what` names the value: `body`, `query`. */
export function parseRequest<T>(schema: z.ZodType<T>, value: unknown, what: string, shown?: number): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issues = explainIssues(result.error, schema, value);
  throw new NexusError('invalid_request', `${what}: ${summarise(issues, shown)}`, { details: { issues } });
}

/** The first issues as one line. */
export function summarise(issues: readonly ValidationIssue[], limit = 5): string {
  const lines = issues.slice(0, limit).map((issue) => (issue.path === '' ? issue.message : `${issue.path}: ${issue.message}`));
  return issues.length > limit ? `${lines.join('; ')}; and ${issues.length - limit} more` : lines.join('; ');
}

function explain(
  issue: Issue,
  base: readonly PropertyKey[],
  schema: z.ZodType,
  value: unknown,
  options: ExplainOptions,
): ValidationIssue[] {
  const path = [...base, ...issue.path];
  if (issue.code === 'unrecognized_keys') {
    const known = knownKeys(schema, path);
    return issue.keys.slice(0, maxIssues).map((key) => ({
      path: pathText([...path, options.secret === undefined ? key : shownName(key)]),
      message: unknownKey(key, known),
    }));
  }
  if (issue.code === 'invalid_union' && issue.errors.length > 0) {
    const branch = closestBranch(issue.errors);
    if (branch !== null) return branch.flatMap((inner) => explain(inner, path, schema, value, options));
    const expected = issue.errors.flat().map((inner) => ('expected' in inner ? inner.expected : 'another value'));
    return [at(path, `expected ${[...new Set(expected)].join(' or ')}`, value, options)];
  }
  if (issue.code === 'invalid_type') return [at(path, `expected ${issue.expected}`, value, options)];
  if (issue.code === 'invalid_value') {
    return [at(path, `expected ${issue.values.map((item) => JSON.stringify(item)).join(' or ')}`, value, options)];
  }
  // Of the name of an entry: its rule says what would be right. The name stands in the path.
  if (issue.code === 'invalid_key' && issue.issues[0] !== undefined)
    return [{ path: pathText(path), message: `${inWords(issue.issues[0].message)} as the name of an entry` }];
  return [at(path, inWords(issue.message), value, options)];
}

/** What zod says of a size, without signs. */
function inWords(message: string): string {
  return message
    .replace(/^(Invalid input|Invalid string|Too small|Too big): /, '')
    .replace(/^expected string to have >=1 characters$/, 'expected a text that is not empty')
    .replace(/^(expected \w+) to (?:have|be) ([<>]=?)(?=\S)/, (_, expected, sign) => `${expected} ${boundWords[sign] ?? sign}`);
}

const boundWords: Readonly<Record<string, string>> = dictionary({
  '>=': 'of at least ',
  '<=': 'of at most ',
  '>': 'of more than ',
  '<': 'of less than ',
});

/** The branch of a union that the value was meant for: the one that only failed inside, the deepest first. */
function closestBranch(branches: readonly (readonly Issue[])[]): readonly Issue[] | null {
  const inside = branches.filter((issues) => issues.every((issue) => issue.path.length > 0 || issue.code !== 'invalid_type'));
  return inside.length === 0 ? null : inside.reduce((best, issues) => (depth(issues) > depth(best) ? issues : best));
}

function depth(issues: readonly Issue[]): number {
  return issues.reduce((most, issue) => Math.max(most, issue.path.length), 0);
}

function at(path: readonly PropertyKey[], expectation: string, value: unknown, options: ExplainOptions): ValidationIssue {
  const text = pathText(path);
  const found = path.reduce<unknown>((inner, key) => (isRecord(inner) ? inner[key as string] : undefined), value); // a path holds keys and indices
  if (found === undefined) return { path: text, message: `${expectation}, but it is missing` };
  return { path: text, message: options.secret?.(text) ? expectation : `${expectation}, got ${show(found)}` };
}

function show(value: unknown): string {
  const text = redactText(beginning(value, 2000).slice(0, 2000));
  return cut(text);
}

function cut(text: string): string {
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

/** A name that somebody misspelt reads like one; another may be a value that slipped into its place. */
function shownName(key: string): string {
  return /^[A-Za-z][A-Za-z_-]{0,31}\d?$/.test(key) && redactText(key) === key ? key : `(a name of ${key.length} characters)`;
}

function pathText(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, key) => {
    if (typeof key === 'number') return `${text}[${key}]`;
    const name = cut(String(key));
    return text === '' ? name : `${text}.${name}`;
  }, '');
}

function unknownKey(key: string, known: readonly string[]): string {
  const close = closest(key, known);
  if (close !== null) return `unknown field; did you mean "${close}"?`;
  return known.length === 0 ? 'unknown field' : `unknown field; known fields are ${known.join(', ')}`;
}

/** Field names of the object schema that stands at `path` inside `schema`; none where that cannot be told. */
function knownKeys(schema: z.ZodType, path: readonly PropertyKey[]): string[] {
  let candidates: z.ZodType[] = alternatives(schema);
  for (const key of path) candidates = candidates.flatMap((inner) => stepInto(inner, key)).flatMap(alternatives);
  return [...new Set(candidates.flatMap((inner) => (inner instanceof z.ZodObject ? Object.keys(inner.shape) : [])))];
}

function stepInto(schema: z.ZodType, key: PropertyKey): z.ZodType[] {
  let next: unknown;
  if (schema instanceof z.ZodObject) next = schema.shape[key as string]; // the keys of a shape are texts
  if (schema instanceof z.ZodArray) next = schema.element;
  if (schema instanceof z.ZodRecord) next = schema.valueType;
  return next instanceof z.ZodType ? [next] : [];
}

/** The schemas that a wrapper stands for. */
function alternatives(schema: z.ZodType): z.ZodType[] {
  const inner: readonly unknown[] =
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodNullable ||
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault ||
    schema instanceof z.ZodReadonly
      ? [schema.def.innerType]
      : schema instanceof z.ZodUnion
        ? schema.options
        : schema instanceof z.ZodPipe
          ? [schema.def.in, schema.def.out]
          : [];
  if (inner.length === 0) return [schema];
  return inner.flatMap((item) => (item instanceof z.ZodType ? alternatives(item) : []));
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
