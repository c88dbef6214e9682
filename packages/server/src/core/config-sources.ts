import { parseDocument } from 'yaml';
import { type ConfigInput, isSecretPath, NexusConfig } from './config.ts';
import { NexusError } from './errors.ts';
import { explainIssues, summarise } from './validation.ts';

/** Which key each environment variable sets. `NEXUS_CONFIG` is not here: it names the file. */
export const environmentKeys: Readonly<Record<string, { readonly key: string; readonly kind: 'text' | 'number' | 'boolean' | 'list' }>> = {
  NEXUS_HOST: { key: 'host', kind: 'text' },
  NEXUS_PORT: { key: 'port', kind: 'number' },
  NEXUS_DATA_DIR: { key: 'dataDir', kind: 'text' },
  NEXUS_DATABASE_URL: { key: 'databaseUrl', kind: 'text' },
  NEXUS_REDIS_URL: { key: 'redisUrl', kind: 'text' },
  NEXUS_QDRANT_URL: { key: 'qdrantUrl', kind: 'text' },
  NEXUS_BUS: { key: 'bus', kind: 'text' },
  NEXUS_AGENTS_DIR: { key: 'agentsDir', kind: 'text' },
  NEXUS_POLICIES_DIR: { key: 'policiesDir', kind: 'text' },
  NEXUS_WORKSPACE_SEED: { key: 'workspaceSeed', kind: 'text' },
  NEXUS_SIM: { key: 'sim.enabled', kind: 'text' },
  NEXUS_LOG_LEVEL: { key: 'log.level', kind: 'text' },
  NEXUS_LOG_PRETTY: { key: 'log.pretty', kind: 'boolean' },
  NEXUS_ALLOWED_HOSTS: { key: 'auth.allowedHosts', kind: 'list' },
  NEXUS_ALLOWED_ORIGINS: { key: 'auth.allowedOrigins', kind: 'list' },
  NEXUS_URL: { key: 'client.url', kind: 'text' },
  NEXUS_API_KEY: { key: 'client.apiKey', kind: 'text' },
  OPENAI_API_KEY: { key: 'providers.openai.apiKey', kind: 'text' },
  OPENAI_BASE_URL: { key: 'providers.openai.baseUrl', kind: 'text' },
  ANTHROPIC_API_KEY: { key: 'providers.anthropic.apiKey', kind: 'text' },
  ANTHROPIC_BASE_URL: { key: 'providers.anthropic.baseUrl', kind: 'text' },
  OTEL_EXPORTER_OTLP_ENDPOINT: { key: 'otlp.endpoint', kind: 'text' },
};

export interface ConfigSources {
  readonly file?: { readonly path: string; readonly text: string };
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly flags?: ConfigInput;
}

type Tree = Record<string, unknown>;

/**
 * Merges defaults < file < environment < flags and checks the result. Throws `config_invalid` that lists every fault
 * with its key, where the value came from and what would be right. Lists replace one another, they are not joined.
 */
export function resolveConfig(sources: ConfigSources): NexusConfig {
  const file = sources.file === undefined ? {} : parseFile(sources.file, sources.env);
  const environment = fromEnvironment(sources.env);
  const flags: Tree = { ...sources.flags };
  const merged = merge(merge(file, environment), flags);
  const result = NexusConfig.safeParse(merged);
  if (result.success) return result.data;
  const issues = explainIssues(result.error, NexusConfig, merged, { secret: isSecretPath }).map((issue) => ({
    path: issue.path,
    message: `${issue.message}${origin(issue.path, sources, environment, flags)}`,
  }));
  throw new NexusError('config_invalid', `the configuration is not valid: ${summarise(issues, 20)}`, { details: { issues } });
}

function origin(path: string, sources: ConfigSources, environment: Tree, flags: Tree): string {
  const keys = path.split(/[.[\]]+/).filter((key) => key !== '');
  if (has(flags, keys)) return ' (from a flag)';
  if (has(environment, keys)) {
    const name = Object.entries(environmentKeys).find(([, entry]) => path === entry.key || path.startsWith(`${entry.key}[`))?.[0];
    return name === undefined ? ' (from the environment)' : ` (from ${name})`;
  }
  return sources.file === undefined ? '' : ` (from ${sources.file.path})`;
}

function has(tree: Tree, keys: readonly string[]): boolean {
  let value: unknown = tree;
  for (const key of keys) {
    if (Array.isArray(value)) return true;
    if (!isTree(value) || value[key] === undefined) return false;
    value = value[key];
  }
  return true;
}

function parseFile(file: { path: string; text: string }, env: ConfigSources['env']): Tree {
  const document = parseDocument(file.text, { prettyErrors: true });
  const fault = document.errors[0];
  if (fault !== undefined) throw new NexusError('config_invalid', `${file.path} is not valid YAML: ${fault.message.split('\n')[0] ?? ''}`);
  const value: unknown = document.toJS({ maxAliasCount: 50 });
  if (value === null || value === undefined) return {};
  if (!isTree(value)) throw new NexusError('config_invalid', `${file.path} must hold a mapping of keys to values`);
  return interpolate(value, '', file.path, env) as Tree; // a mapping stays a mapping
}

/** Replaces `${env:NAME}` in texts; a variable that is not set is a fault, never an empty text. */
function interpolate(value: unknown, path: string, filePath: string, env: ConfigSources['env']): unknown {
  if (Array.isArray(value)) return value.map((item, index) => interpolate(item, `${path}[${index}]`, filePath, env));
  if (isTree(value)) {
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [key, interpolate(item, path === '' ? key : `${path}.${key}`, filePath, env)]),
    );
  }
  if (typeof value !== 'string') return value;
  return value.replace(/\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}/g, (_, name: string) => {
    const found = env[name];
    if (found === undefined || found === '') {
      throw new NexusError('config_invalid', `${filePath}: ${path} names the environment variable ${name}, which is not set`);
    }
    return found;
  });
}

function fromEnvironment(env: ConfigSources['env']): Tree {
  const tree: Tree = {};
  for (const [name, { key, kind }] of Object.entries(environmentKeys)) {
    const text = env[name]?.trim();
    if (text !== undefined && text !== '') place(tree, key.split('.'), read(text, kind));
  }
  return tree;
}

/** A text that does not fit its kind stays a text: the schema then says what was expected. */
function read(text: string, kind: 'text' | 'number' | 'boolean' | 'list'): unknown {
  switch (kind) {
    case 'text':
      return text;
    case 'number':
      return Number.isNaN(Number(text)) ? text : Number(text);
    case 'boolean':
      return /^(1|true|yes|on)$/i.test(text) ? true : /^(0|false|no|off)$/i.test(text) ? false : text;
    case 'list':
      return text
        .split(',')
        .map((item) => item.trim())
        .filter((item) => item !== '');
  }
}

function place(tree: Tree, keys: readonly string[], value: unknown): void {
  const [key, ...rest] = keys;
  if (key === undefined) return;
  if (rest.length === 0) {
    tree[key] = value;
    return;
  }
  const inner = isTree(tree[key]) ? tree[key] : {};
  tree[key] = inner;
  place(inner, rest, value);
}

function merge(base: Tree, over: Tree): Tree {
  const merged: Tree = { ...base };
  for (const [key, value] of Object.entries(over)) {
    if (value === undefined) continue;
    const below = merged[key];
    merged[key] = isTree(below) && isTree(value) ? merge(below, value) : isTree(value) ? merge({}, value) : value;
  }
  return merged;
}

function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
