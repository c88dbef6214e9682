import type { NexusClient } from '@nexus-agent/sdk';
import type { ConfigInput, NexusConfig } from '#apps/config';
import { UsageError } from './exit-codes.ts';
import type { CliIo } from './io.ts';
import { explainRefusal, type Shown } from './refused.ts';
import { createStyle, type Style } from './style.ts';

/** Options that every command takes. */
export interface GlobalOptions {
  readonly url?: string;
  readonly config?: string;
  readonly json?: boolean;
  readonly color?: boolean;
  readonly embedded?: boolean;
}

export interface CliContext {
  readonly io: CliIo;
  readonly options: GlobalOptions;
  /** Styles of the two outputs. */
  readonly out: Style;
  readonly err: Style;
  /** Data for the caller: JSON with `--json`, else the text. */
  print(data: unknown, text: () => string): void;
  /** A line of progress. */
  note(text: string): void;
}

export function createContext(io: CliIo, options: GlobalOptions): CliContext {
  return {
    io,
    options,
    out: createStyle(io.stdout, io.env, options.color !== false),
    err: createStyle(io.stderr, io.env, options.color !== false),
    print(data, text) {
      io.stdout.write(`${options.json === true ? JSON.stringify(data, null, 2) : text()}\n`);
    },
    note(text) {
      io.stderr.write(`${text}\n`);
    },
  };
}

/** The configuration as files, environment and flags make it. */
export async function loadConfig({ io, options }: CliContext, flags: ConfigInput = {}): Promise<NexusConfig> {
  const [{ resolveConfig }, { parseConfigFile }] = await Promise.all([import('#apps/config'), import('#core')]);
  const named = options.config ?? (io.env.NEXUS_CONFIG || undefined);
  const path = named ?? 'nexus.config.yaml';
  const text = await io.readFile(path);
  if (text === null && named !== undefined) throw await noSuchFile(io, path, 'configuration file');
  const client = options.url === undefined ? {} : { client: { url: options.url } };
  return resolveConfig({
    env: io.env,
    flags: { ...flags, ...client },
    ...(text === null
      ? {}
      : { file: { ...(await parseConfigFile(path, text)), ...(named === undefined ? { found: true as const } : {}) } }),
  });
}

/** A file that was named and is not there, with the nearest one that is. */
export async function noSuchFile(io: CliIo, path: string, what: string): Promise<UsageError> {
  const [{ closest }, names] = await Promise.all([import('#core'), io.filesBeside(path)]);
  const near = closest(path, names);
  return new UsageError(`there is no ${what} ${path}${near === null ? '' : `; did you mean ${near}?`}`);
}

/** What the server says is wrong with what a file holds is said of the file. */
export async function ofFile<T>(path: string, put: () => Promise<T>): Promise<T> {
  return put().catch((error: unknown) => {
    if (error instanceof Error) error.message = error.message.replace(/^body: /, () => `${path}: `);
    throw error;
  });
}

export interface Connection {
  readonly client: NexusClient;
  readonly url: string;
  /** How it shows who it is; a server inside this process knows. */
  readonly shown?: Shown;
  close(): Promise<void>;
}

const probeTimeoutMs = 1500;

/**
 * A client of the configured server. With `--embedded` a server is started inside this process; with `autoEmbed` also
 * when none answers at the default address. Such a server keeps its data where a real one would.
 */
async function connect(context: CliContext, { autoEmbed = false } = {}): Promise<Connection> {
  const { environmentNotes } = await import('#apps/config');
  for (const note of environmentNotes(context.io.env)) context.note(context.err('dim', note));
  if (context.options.embedded === true) return startEmbedded(context, !autoEmbed);
  const [config, { clientUrl, tokenFolders }, { createNexusClient }] = await Promise.all([
    loadConfig(context),
    import('#apps/config'),
    import('@nexus-agent/sdk'),
  ]);
  const url = clientUrl(config);
  const { apiKey } = config.client;
  const folders = tokenFolders(config);
  const client = createNexusClient({ baseUrl: url, tokenFolders: folders, ...(apiKey === undefined ? {} : { apiKey }) });
  if (autoEmbed && config.client.url === undefined && !(await answers(client))) {
    context.note(context.err('dim', `no server at ${url}: starting one inside this command (it ends with it)`));
    return startEmbedded(context, false);
  }
  return { client, url, shown: { url, hasKey: apiKey !== undefined, folders }, close: async () => undefined };
}

async function answers(client: NexusClient): Promise<boolean> {
  try {
    await client.health({ signal: AbortSignal.timeout(probeTimeoutMs) });
    return true;
  } catch (error) {
    const { NexusApiError } = await import('@nexus-agent/sdk');
    // Any answer at all is a server; the command itself will then say what is wrong with it.
    return error instanceof NexusApiError && error.code !== 'unavailable';
  }
}

/** A command that starts work (`autoEmbed`) takes over what the folders hold; one that looks does not change by which rules others work. */
async function startEmbedded(context: CliContext, onlyLooks: boolean): Promise<Connection> {
  const config = await loadConfig(context, { host: '127.0.0.1', port: 0, log: { level: 'error' } });
  const [{ startAllInOne }, { createNexusClient }] = await Promise.all([context.io.loadApps(), import('@nexus-agent/sdk')]);
  const app = await startAllInOne({ config, version: context.io.version, onlyLooks });
  return { client: createNexusClient({ baseUrl: app.url, ...keyOf(app) }), url: app.url, close: () => app.close() };
}

function keyOf({ localToken }: { readonly localToken?: string }): { apiKey?: string } {
  return localToken === undefined ? {} : { apiKey: localToken };
}

/** Runs a command against the server and closes what was opened for it. */
export async function withClient<T>(
  context: CliContext,
  use: (client: NexusClient, connection: Connection) => Promise<T>,
  options?: { autoEmbed?: boolean },
): Promise<T> {
  const connection = await connect(context, options);
  try {
    return await use(connection.client, connection);
  } catch (error) {
    if (connection.shown !== undefined) await explainRefusal(error, connection.shown, context.io);
    throw error;
  } finally {
    await connection.close();
  }
}

/** JSON of an option, or a usage error that names it. */
export function parseJsonOption(text: string, name: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new UsageError(`${name} must be JSON, such as {"path":"a.txt"}`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new UsageError(`${name} must be a JSON object`);
  return { ...value };
}
