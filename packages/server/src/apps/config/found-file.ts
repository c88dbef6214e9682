import { type ConfigFile, NexusError } from '#core';

/** What of the configuration says where secrets go. */
interface Destinations {
  readonly host: string;
  readonly client: { readonly url?: string | undefined };
  readonly providers: { readonly [name in 'openai' | 'anthropic']?: { readonly baseUrl: string } | undefined };
  readonly tools: {
    readonly files: { readonly s3: { readonly endpoint?: string | undefined } };
    readonly remote: { readonly address?: string | undefined };
  };
}

/** A secret of the environment, and the key of the configuration that says where it is sent. */
interface Destination {
  readonly variable: string;
  readonly key: readonly string[];
  readonly of: (config: Destinations) => string | undefined;
}

const destinations: readonly Destination[] = [
  { variable: 'OPENAI_API_KEY', key: ['providers', 'openai', 'baseUrl'], of: ({ providers }) => providers.openai?.baseUrl },
  { variable: 'ANTHROPIC_API_KEY', key: ['providers', 'anthropic', 'baseUrl'], of: ({ providers }) => providers.anthropic?.baseUrl },
  { variable: 'NEXUS_API_KEY', key: ['client', 'url'], of: ({ client }) => client.url },
  ...['NEXUS_S3_SECRET_ACCESS_KEY', 'NEXUS_S3_ACCESS_KEY_ID', 'NEXUS_S3_SESSION_TOKEN'].map((variable) => ({
    variable,
    key: ['tools', 'files', 's3', 'endpoint'],
    of: ({ tools }: Destinations) => tools.files.s3.endpoint,
  })),
  {
    variable: 'NEXUS_TOOLS_REMOTE_TOKEN',
    key: ['tools', 'remote', 'address'],
    of: ({ tools: { remote } }) => (remote.address === undefined ? undefined : `http://${remote.address}`),
  },
  // The command line asks the host that a server here would listen at, where no other address is named.
  { variable: 'NEXUS_API_KEY', key: ['host'], of: ({ host, client }) => (client.url === undefined ? `http://${inUrl(host)}` : undefined) },
];

/** What lies between a provider and what it is sent: with it, no address says any more who reads a key. */
const between: readonly (readonly string[])[] = [
  ['proxy', 'https'],
  ['proxy', 'http'],
  ['tls', 'ca'],
];

const ownHosts = /^(?:api\.openai\.com|api\.anthropic\.com|localhost|127\.\d+\.\d+\.\d+|\[::1\]|0\.0\.0\.0|\[::\])$/;

/**
 * Throws `config_invalid` where a file that nobody named, such as one of a repository that was cloned, would lead a secret of the
 * environment anywhere but to the provider that it belongs to, or to this machine. Naming the file says that it is trusted.
 */
export function requireHarmless(file: ConfigFile, config: Destinations, env: Readonly<Record<string, string | undefined>>): void {
  if (file.found !== true) return;
  const isSet = (name: string) => Boolean(env[name]?.trim());
  for (const { variable, key, of } of destinations) {
    const address = of(config);
    if (!isSet(variable) || !says(file, key) || address === undefined || !decides(file, key, config)) continue;
    const host = URL.parse(address)?.hostname ?? '';
    if (!ownHosts.test(host)) throw untrusted(file, `${key.join('.')} would send ${variable} to ${host}`);
  }
  const secret = destinations.find(({ variable }) => isSet(variable))?.variable;
  if (secret === undefined) return;
  for (const key of between) {
    if (says(file, key) && decides(file, key, config))
      throw untrusted(file, `${key.join('.')} would come between ${secret} and whom it is for`);
  }
}

/** What is said of a file that asks for more than one that nobody named may have. */
function untrusted({ path }: Pick<ConfigFile, 'path'>, what: string): NexusError {
  return new NexusError(
    'config_invalid',
    `${path} lies in the current folder and nobody named it: ${what}. If the file is yours, name it: --config ${path}, or NEXUS_CONFIG=${path}`,
  );
}

function says(file: ConfigFile, key: readonly string[]): boolean {
  return at(file.tree, key) !== undefined;
}

/** Whether the file's value counts: neither the environment nor a flag says another. */
function decides(file: ConfigFile, key: readonly string[], config: Destinations): boolean {
  const [said, counts] = [at(file.tree, key), at(config, key)];
  // Some are written in another form once they are checked; then the environment, which comes before, would have none of it.
  return said === counts || JSON.stringify(counts)?.includes(String(said)) === true || typeof said !== 'string';
}

function at(tree: unknown, keys: readonly string[]): unknown {
  return keys.reduce<unknown>(
    (below, key) =>
      typeof below === 'object' && below !== null && Object.hasOwn(below, key) ? (below as Record<string, unknown>)[key] : undefined,
    tree,
  );
}

function inUrl(host: string): string {
  return host.includes(':') && !host.startsWith('[') ? `[${host}]` : host;
}
