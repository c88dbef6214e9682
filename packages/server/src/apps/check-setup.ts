import { constants, existsSync } from 'node:fs';
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import type { NexusConfig } from '#apps/config';
import { NexusError, redactText, systemClock } from '#core';
import { listProviderModels } from '#llm/providers';
import { createPolicyEngine } from '#policy';
import { loadAgentFolder } from './agent-folder.ts';
import { busKind, openBusOf } from './bus-kind.ts';
import { makeDataFolder } from './data-folder.ts';
import { requireFolder, type UnreadEntry } from './definition-folder.ts';
import { withVersion } from './models.ts';
import { loadPolicyFolder } from './policy-folder.ts';
import { proxyFor } from './proxy.ts';

/** `warn` is worth knowing; only `fail` keeps Nexus Agent from working. */
export interface SetupCheck {
  readonly name: string;
  readonly status: 'ok' | 'warn' | 'fail';
  readonly detail: string;
}

const timeoutMs = 5_000;

/**
 * Tries all that a start needs, as a start does, and says what is wrong: folders, database, bus, agents, policies and providers.
 * Changes nothing but that the data folder is made; the database is not migrated. Takes a few seconds at most.
 */
export async function checkSetup(config: NexusConfig): Promise<SetupCheck[]> {
  const groups = await Promise.all([
    tried('data folder', () => checkDataFolder(config)),
    tried('database', () => checkDatabase(config)),
    checkBus(config),
    checkPolicies(config),
    config.workspaceSeed === undefined ? [] : tried('workspace seed', () => checkSeed(config.workspaceSeed ?? '')),
    ...checkProviders(config),
  ]);
  return groups.flat();
}

type Finding = Omit<SetupCheck, 'name'>;

async function tried(name: string, check: () => Promise<Finding>): Promise<SetupCheck> {
  try {
    return { name, ...(await check()) };
  } catch (error) {
    return { name, status: 'fail', detail: sentenceOf(error) };
  }
}

function sentenceOf(error: unknown): string {
  return redactText(error instanceof Error ? error.message || ('code' in error ? String(error.code) : error.name) : String(error));
}

async function checkDataFolder({ dataDir }: NexusConfig): Promise<Finding> {
  await makeDataFolder(dataDir);
  try {
    await access(dataDir, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch {
    throw new NexusError(
      'config_invalid',
      `${dataDir} cannot be written by this user; change its owner, or name another with NEXUS_DATA_DIR`,
    );
  }
  return { status: 'ok', detail: `${dataDir} can be written` };
}

/** Opened for reading alone: a start would bring its schema up to date. */
async function checkDatabase({ databaseUrl, dataDir }: NexusConfig): Promise<Finding> {
  if (databaseUrl === 'sqlite::memory:') return { status: 'warn', detail: 'embedded in memory: all is lost at the end of the process' };
  if (databaseUrl !== undefined) {
    const { hostname, port, pathname } = new URL(databaseUrl);
    await openAndClose({ kind: 'postgres', url: databaseUrl });
    return { status: 'ok', detail: `Postgres at ${hostname}:${port || 5432} answers for ${pathname.slice(1) || 'its default database'}` };
  }
  const { DatabaseSync } = await import('node:sqlite');
  const path = join(dataDir, 'nexus.db');
  if (!existsSync(path)) return { status: 'ok', detail: `embedded; ${path} is made at the first start` };
  try {
    const database = new DatabaseSync(path, { readOnly: true, timeout: 1_000 });
    try {
      const [fault] = database
        .prepare('pragma quick_check(1)')
        .all()
        .map((row) => String(Object.values(row)[0]));
      if (fault !== 'ok') return { status: 'fail', detail: `${path} is damaged: ${fault}; restore it from a backup` };
    } finally {
      database.close();
    }
  } catch (error) {
    return { status: 'fail', detail: `${path} cannot be opened: ${sentenceOf(error)}` };
  }
  return { status: 'ok', detail: `embedded, in ${path}` };
}

async function checkBus(config: NexusConfig): Promise<SetupCheck[]> {
  const check = async (): Promise<Finding | null> => {
    const kind = busKind(config);
    if (kind.kind !== 'redis') return null; // that of Postgres is looked at as the database
    await openAndClose(kind);
    return { status: 'ok', detail: `Redis at ${new URL(kind.url).host} answers` };
  };
  const found = await check().catch((error: unknown) => ({ status: 'fail', detail: sentenceOf(error) }) as const);
  return found === null ? [] : [{ name: 'bus', ...found }];
}

async function openAndClose(kind: ReturnType<typeof busKind>): Promise<void> {
  const bus = await openBusOf(kind, () => undefined);
  await bus.close();
}

/** Policies and agents together: the short forms of an agent are held against the same engine. */
async function checkPolicies(config: NexusConfig): Promise<SetupCheck[]> {
  const engine = { current: createPolicyEngine({ sources: [], clock: systemClock, memoEntries: 1 }) };
  const policies = await tried('policies', async () => {
    const { sources, unread } = await loadPolicyFolder(config);
    engine.current = createPolicyEngine({ sources, clock: systemClock, memoEntries: 1 });
    return folderFinding(config.policiesDir, sources.length, 'policy file', unread);
  });
  const agents = await tried('agents', async () => {
    const { definitions, unread } = await loadAgentFolder(config);
    for (const { name, policy } of definitions) {
      try {
        if (policy !== undefined) engine.current.check(policy);
      } catch (error) {
        throw new NexusError('config_invalid', `the policy of agent ${name}: ${sentenceOf(error)}`);
      }
    }
    return folderFinding(config.agentsDir, definitions.length, 'agent', unread);
  });
  return [policies, agents];
}

function folderFinding(folder: string, count: number, noun: string, unread: readonly UnreadEntry[]): Finding {
  const found = `${count} ${noun}${count === 1 ? '' : 's'} in ${folder}`;
  if (unread.length === 0) return { status: 'ok', detail: found };
  const skipped = unread.map(({ name, why }) => `${name} (${why})`).join(', ');
  return { status: unread.some(({ suspicious }) => suspicious) ? 'warn' : 'ok', detail: `${found}; not read: ${skipped}` };
}

async function checkSeed(folder: string): Promise<Finding> {
  await requireFolder(folder, 'workspaceSeed (NEXUS_WORKSPACE_SEED)');
  return { status: 'ok', detail: folder };
}

function checkProviders(config: NexusConfig): Promise<SetupCheck>[] {
  const { openai, anthropic, compatible } = config.providers;
  const named = [
    ...(openai === undefined ? [] : [{ ...openai, name: 'openai', dialect: 'openai' as const, keyNeeded: true, models: [] }]),
    ...(anthropic === undefined
      ? []
      : [
          {
            ...anthropic,
            name: 'anthropic',
            dialect: 'anthropic' as const,
            baseUrl: withVersion(anthropic.baseUrl),
            keyNeeded: true,
            models: [],
          },
        ]),
    ...compatible.map((server) => ({ ...server, dialect: 'openai' as const, keyNeeded: false, models: server.models.map(({ id }) => id) })),
  ];
  if (named.length > 0) return named.map((provider) => tried(provider.name, () => checkProvider(provider, config)));
  const off = config.sim.enabled === 'off';
  const detail = off
    ? 'none is configured and the simulator is off'
    : 'none is configured: the simulator answers (set OPENAI_API_KEY or ANTHROPIC_API_KEY)';
  return [Promise.resolve({ name: 'providers', status: off ? 'fail' : 'warn', detail })];
}

interface ProviderToCheck {
  readonly name: string;
  readonly baseUrl: string;
  readonly apiKey?: string | undefined;
  readonly proxy?: boolean | undefined;
  readonly dialect: 'openai' | 'anthropic';
  readonly keyNeeded: boolean;
  readonly models: readonly string[];
}

async function checkProvider(provider: ProviderToCheck, config: NexusConfig): Promise<Finding> {
  const { name, baseUrl, apiKey, dialect, keyNeeded, models } = provider;
  if (keyNeeded && apiKey === undefined) return { status: 'fail', detail: `no API key is set for ${baseUrl}` };
  const proxy = proxyFor(provider, config.proxy);
  const way = proxy === undefined ? '' : ` through the proxy ${new URL(proxy).host}`;
  const reach = { ...(apiKey === undefined ? {} : { apiKey }), ...(proxy === undefined ? {} : { proxy }) };
  let listed: readonly string[];
  try {
    listed = await listProviderModels({ name, baseUrl, dialect, clock: systemClock, timeoutMs, ...reach });
  } catch (error) {
    const withoutList = error instanceof NexusError && error.details?.status === 404;
    if (withoutList)
      return {
        status: 'warn',
        detail: `${baseUrl} answers${way}, but has no list of models; check that the address ends with the version`,
      };
    throw error;
  }
  const missing = models.filter((model) => !listed.includes(model) && !listed.includes(`${model}:latest`));
  if (missing.length > 0 && listed.length > 0) {
    return {
      status: 'warn',
      detail: `${baseUrl} answers${way}, but does not list ${missing.join(', ')}; it lists ${listed.slice(0, 8).join(', ')}`,
    };
  }
  return { status: 'ok', detail: `${baseUrl} answers${way} with ${listed.length} models` };
}
