import { dictionary } from '@nexus-agent/protocol';
import { z } from 'zod';
import { NexusError } from '../errors.ts';
import { isObject } from '../json.ts';
import { createSecretValues } from '../secrets/secret-values.ts';
import { explainIssues, summarise } from '../validation.ts';
import { faultOfAddress } from './address.ts';
import type { ConfigFile, Tree } from './file.ts';
import { secretPaths } from './redact.ts';
import { secretsOfSettings } from './secrets.ts';
import { type Setting, settingsOf } from './setting.ts';

export interface ConfigSources {
  readonly file?: ConfigFile;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly flags?: Readonly<Record<string, unknown>>;
  /** Where the flags were given, for people. Default: on a command line. */
  readonly given?: string;
}

/**
 * Merges defaults < file < environment < flags and checks the result. Throws `config_invalid` that lists every fault
 * with its key, where the value came from and what would be right. Lists replace one another, they are not joined.
 */
export function readConfig<S extends z.ZodType>(schema: S, sources: ConfigSources): z.output<S> {
  const settings = settingsOf(schema);
  const schemas = new Map(settings.map((setting) => [setting.path, setting.schema]));
  const file =
    sources.file === undefined
      ? {}
      : (interpolate(sources.file.tree, '', {
          schemas,
          filePath: sources.file.path,
          isFound: sources.file.found === true,
          env: sources.env,
        }) as Tree); // a mapping stays a mapping
  const environment = fromEnvironment(settings, sources.env);
  const flags: Tree = { ...sources.flags };
  const merged = merge(merge(file, environment), flags);
  const result = schema.safeParse(merged);
  if (result.success) return result.data;
  const isSecret = secretPaths(settings);
  const fromSecret = placesOfSecretVariables(sources.file?.tree ?? {});
  const secret = (path: string) => isSecret(path) || fromSecret.has(path);
  // What slipped into a wrong place, too: the same text may stand where it belongs.
  const known = createSecretValues(secretsOfSettings(merged, settings));
  const issues = explainIssues(result.error, schema, merged, { secret }).map((issue) => ({
    path: known.inErrors(issue.path),
    message: `${known.inErrors(issue.message)}${addressFault(issue.path, settings, merged)}${origin(issue.path, settings, sources, environment, flags)}`,
  }));
  throw new NexusError('config_invalid', `the configuration is not valid: ${summarise(issues, 20)}`, { details: { issues } });
}

/** An address is not repeated, so what is wrong with it is said. */
function addressFault(path: string, settings: readonly Setting[], tree: Tree): string {
  const place = path.replace(/\[\d+\]/g, '[]');
  if (!settings.some((setting) => setting.address === true && setting.path === place)) return '';
  const keys = path.split(/[.[\]]+/).filter((key) => key !== '');
  const value = keys.reduce<unknown>((inner, key) => (isObject(inner) || Array.isArray(inner) ? Reflect.get(inner, key) : undefined), tree);
  const fault = typeof value === 'string' ? faultOfAddress(value) : '';
  return fault === '' ? '' : `: ${fault}`;
}

const secretVariable = /AUTH|CRED|DSN|KEY|PASS|PWD|SECRET|TOKEN|URI|URL/i;

/** Where a file names a variable whose name says that it holds a secret. */
function placesOfSecretVariables(value: unknown, path = '', found = new Set<string>()): Set<string> {
  if (Array.isArray(value)) for (const [index, item] of value.entries()) placesOfSecretVariables(item, `${path}[${index}]`, found);
  else if (isObject(value)) {
    for (const [key, item] of Object.entries(value)) placesOfSecretVariables(item, path === '' ? key : `${path}.${key}`, found);
  } else if (typeof value === 'string') {
    for (const [, name = ''] of value.matchAll(/\$\{env:(\w+)\}/g)) if (secretVariable.test(name)) found.add(path);
  }
  return found;
}

function origin(path: string, settings: readonly Setting[], sources: ConfigSources, environment: Tree, flags: Tree): string {
  const keys = path.split(/[.[\]]+/).filter((key) => key !== '');
  if (has(flags, keys)) return ` (${sources.given ?? 'from a flag'})`;
  if (has(environment, keys)) {
    const set = settings.find((entry) => entry.environment !== undefined && (path === entry.path || path.startsWith(`${entry.path}[`)));
    return set === undefined ? ' (from the environment)' : ` (from ${set.environment})`;
  }
  return sources.file === undefined ? '' : ` (from ${sources.file.path})`;
}

function has(tree: Tree, keys: readonly string[]): boolean {
  let value: unknown = tree;
  for (const key of keys) {
    if (Array.isArray(value)) return true;
    if (!isObject(value) || value[key] === undefined) return false;
    value = value[key];
  }
  return true;
}

interface Interpolation {
  readonly schemas: ReadonlyMap<string, z.ZodType>;
  readonly filePath: string;
  readonly isFound: boolean;
  readonly env: ConfigSources['env'];
}

/**
 * Replaces `${env:NAME}` in texts; a variable that is not set is a fault, never an empty text. A value that is nothing but one
 * is read as if the variable set the key itself, so that it may be a number too.
 */
function interpolate(value: unknown, path: string, context: Interpolation): unknown {
  if (Array.isArray(value)) return value.map((item, index) => interpolate(item, `${path}[${index}]`, context));
  if (isObject(value)) {
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [key, interpolate(item, path === '' ? key : `${path}.${key}`, context)]),
    );
  }
  if (typeof value !== 'string') return value;
  const { schemas, filePath, env } = context;
  const text = value.replace(/\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}/g, (_, name: string) => {
    if (context.isFound) {
      throw new NexusError(
        'config_invalid',
        `${filePath} lies in the current folder and nobody named it: ${path} would take ${name} from the environment, and could send it anywhere. If the file is yours, name it: --config ${filePath}, or NEXUS_CONFIG=${filePath}`,
      );
    }
    const found = env[name];
    if (found === undefined || found === '') {
      throw new NexusError('config_invalid', `${filePath}: ${path} names the environment variable ${name}, which is not set`);
    }
    return found;
  });
  const schema = schemas.get(path.replace(/\[\d+\]/g, '[]'));
  return schema !== undefined && /^\$\{env:[^}]*\}$/.test(value) ? read(text.trim(), schema) : text;
}

function fromEnvironment(settings: readonly Setting[], env: ConfigSources['env']): Tree {
  const tree: Tree = dictionary({});
  for (const { path, environment, anyCase, schema } of settings) {
    if (environment === undefined) continue;
    const text = ((anyCase === true ? env[environment.toLowerCase()]?.trim() : '') || env[environment])?.trim();
    if (text !== undefined && text !== '') place(tree, path.split('.'), read(text, schema));
  }
  return tree;
}

/** A text that does not fit the schema's kind stays a text: the schema then says what was expected. */
function read(text: string, schema: z.ZodType): unknown {
  if (schema instanceof z.ZodNumber) return Number.isNaN(Number(text)) ? text : Number(text);
  if (schema instanceof z.ZodBoolean) return /^(1|true|yes|on)$/i.test(text) ? true : /^(0|false|no|off)$/i.test(text) ? false : text;
  if (!(schema instanceof z.ZodArray)) return text;
  return text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
}

function place(tree: Tree, keys: readonly string[], value: unknown): void {
  const [key, ...rest] = keys;
  if (key === undefined) return;
  if (rest.length === 0) {
    tree[key] = value;
    return;
  }
  const inner = isObject(tree[key]) ? tree[key] : {};
  tree[key] = inner;
  place(inner, rest, value);
}

function merge(base: Tree, over: Tree): Tree {
  const merged: Tree = dictionary({ ...base });
  for (const [key, value] of Object.entries(over)) {
    if (value === undefined) continue;
    const below = merged[key];
    merged[key] = isObject(below) && isObject(value) ? merge(below, value) : isObject(value) ? merge({}, value) : value;
  }
  return merged;
}
