import { realpathSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { apiConfig } from '#api/config';
import { budgetConfig } from '#budget/config';
import { busConfig } from '#bus/config';
import { controlConfig } from '#control/config';
import {
  type ConfigSources,
  createSecretValues,
  readConfig,
  redactSettings,
  type SecretValues,
  secretsOfSettings,
  settingsOf,
  unknownVariables,
} from '#core';
import { llmConfig } from '#llm/config';
import { policyConfig } from '#policy/config';
import { runsConfig } from '#runs/config';
import { storageConfig } from '#storage/config';
import { telemetryConfig } from '#telemetry/config';
import { toolsConfig } from '#tools/config';
import { appConfig, clientConfig } from './app.ts';
import { requireHarmless } from './found-file.ts';

/**
 * One value of this type is made at start (defaults < file < environment < flags) and handed down; nothing else reads the
 * environment. Unknown keys are refused.
 */
export const NexusConfig = z
  .strictObject({
    ...appConfig,
    ...apiConfig,
    ...storageConfig,
    ...busConfig,
    ...llmConfig,
    ...policyConfig,
    ...controlConfig,
    ...runsConfig,
    ...budgetConfig,
    ...controlConfig,
    ...toolsConfig,
    ...telemetryConfig,
    ...clientConfig,
  })
  .transform((config) => ({
    ...config,
    agentsDir: config.agentsDir ?? `${config.dataDir}/agents`,
    policiesDir: config.policiesDir ?? `${config.dataDir}/policies`,
  }));
export type NexusConfig = z.infer<typeof NexusConfig>;

type Nested<T> = T extends readonly unknown[] ? T : T extends object ? { [K in keyof T]?: Nested<T[K]> } : T;
/** Part of a configuration as a file or flags give it. */
export type ConfigInput = Nested<z.input<typeof NexusConfig>>;

/** Every key, as the reference describes it. */
export const configSettings = settingsOf(NexusConfig);

/** Reads the configuration. Throws `config_invalid` that lists every fault with its key, where it came from and what would be right. */
export function resolveConfig(sources: Omit<ConfigSources, 'flags'> & { readonly flags?: ConfigInput }): NexusConfig {
  const { flags, ...rest } = sources;
  const config = readConfig(NexusConfig, { ...rest, ...(flags === undefined ? {} : { flags: { ...flags } }) });
  if (sources.file !== undefined) requireHarmless(sources.file, config, sources.env);
  return config;
}

/** A copy that may be shown: secrets and the passwords in addresses are replaced. */
export function redactConfig(config: NexusConfig): unknown {
  return redactSettings(config, configSettings);
}

/** The values of all secrets that it holds, to be taken out of what is written and shown. */
export function secretsOfConfig(config: NexusConfig): SecretValues {
  // Whatever they are called: names of headers tell nothing here.
  return createSecretValues([...secretsOfSettings(config, configSettings), ...Object.values(config.secrets)], hostPathsOf(config));
}

/** Paths of this machine, by the names under which clients may hear of them. */
function hostPathsOf({ dataDir, agentsDir, policiesDir, workspaceSeed, tools, tls }: NexusConfig): Record<string, string> {
  const named = { dataDir, agentsDir, policiesDir, workspaceSeed, 'tools.files.folder': tools.files.folder };
  return Object.fromEntries([
    [homeFolder(), '~'],
    [tmpdir(), '(temporary folder)'],
    [process.cwd(), '(working folder)'],
    ...tls.ca.map((path) => [resolve(path), '(tls.ca)']),
    ...Object.entries(named).flatMap(([name, path]) => (path === undefined ? [] : spellings(path).map((each) => [each, name]))),
  ]);
}

/** Empty where this user has none: neither HOME nor an entry among the users of the machine, as in some containers. */
function homeFolder(): string {
  try {
    return homedir();
  } catch {
    return '';
  }
}

/** As it was given, whole, and without links. */
function spellings(path: string): string[] {
  const whole = resolve(path);
  try {
    return [whole, realpathSync(whole)];
  } catch {
    return [whole]; // it is not made yet
  }
}

/** What in the environment is not read although it was set for a reason, each as a sentence. */
export function environmentNotes(env: ConfigSources['env']): string[] {
  const notes = unknownVariables(configSettings, env, { prefix: 'NEXUS_', others: ['NEXUS_CONFIG'] }).map(
    ({ name, nearest }) => `${name} is no setting and is not read${nearest === null ? '' : `; did you mean ${nearest}?`}`,
  );
  const isSet = (name: string) => Boolean(env[name] || env[name.toLowerCase()]);
  if (isSet('ALL_PROXY') && !isSet('HTTPS_PROXY') && !isSet('HTTP_PROXY')) {
    notes.push('ALL_PROXY is not read; set HTTPS_PROXY for the providers');
  }
  return notes;
}

/** The address of the server that the command line talks to. */
export function clientUrl(config: NexusConfig): string {
  if (config.client.url !== undefined) return config.client.url;
  const host = config.host === '0.0.0.0' || config.host === '::' || config.host === 'localhost' ? '127.0.0.1' : config.host;
  return `http://${host.includes(':') && !host.startsWith('[') ? `[${host}]` : host}:${config.port === 0 ? 8080 : config.port}`;
}

/** The folders of tokens: that of the user, found from anywhere, and that of the server's data. */
export function tokenFolders({ stateHome, dataDir }: Pick<NexusConfig, 'stateHome' | 'dataDir'>): string[] {
  const home = homeFolder();
  const state = stateHome ?? (home === '' ? undefined : join(home, '.local', 'state'));
  return [...(state === undefined ? [] : [resolve(state, 'nexus-agent')]), resolve(dataDir, 'local')];
}
