import { constants, existsSync } from 'node:fs';
import { access } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { AgentDefinition, DefinitionKind } from '@nexus-agent/protocol';
import { type NexusConfig, secretsOfConfig } from '#apps/config';
import { definitionsFingerprint, type UnreadEntry } from '#control';
import { createIdSource, NexusError, redactText, maskAddress as shownAddress, systemClock, systemTimers } from '#core';
import { keySecretFingerprint, missingKeySecretError } from '#identity';
import { ledgerRules } from '#ledger';
import { listProviderModels } from '#llm/providers';
import { createPolicyEngine, type PolicyEngine } from '#policy';
import type { DefinitionFile, Store } from '#storage';
import { openStore } from '#storage/drivers';
import type { Logger } from '#telemetry';
import { agentFolder, parseAgents } from './agent-folder.ts';
import { trustAuthorities } from './authorities.ts';
import { busKind, openBusOf } from './bus-kind.ts';
import { makeDataFolder, readFolderKeySecret } from './data-folder.ts';
import { requireFolder } from './definition-folder.ts';
import { freeBytes, spaceFinding } from './disk-space.ts';
import { openJail } from './jail.ts';
import { setUpModels, withVersion } from './models.ts';
import { policyFolder } from './policy-folder.ts';
import { makePrivate } from './private-files.ts';
import { proxyFor } from './proxy.ts';
import { fileStoreKind, folderOfBlobs, openS3Blobs } from './session-files.ts';

/** `warn` is worth knowing; only `fail` keeps Nexus Agent from working. */
export interface SetupCheck {
  readonly name: string;
  readonly status: 'ok' | 'warn' | 'fail';
  readonly detail: string;
}

const timeoutMs = 5_000;

/**
 * Tries all that a start needs, as a start does, and says what is wrong: folders, database, bus, agents, policies and providers.
 * Changes nothing but that the data folder is made, and a blob in a bucket; the database is not migrated. Takes a few seconds at most.
 */
export async function checkSetup(config: NexusConfig): Promise<SetupCheck[]> {
  // Before anything is connected to.
  const authorities = config.tls.ca.length === 0 ? [] : [await tried('authorities', () => checkAuthorities(config))];
  const shared = await openShared(config);
  try {
    const groups = await Promise.all([
      tried('data folder', () => checkDataFolder(config)),
      tried('database', () => checkDatabase(config, shared)),
      checkBus(config),
      checkDefinitions(config, shared),
      tried('session files', () => checkFiles(config)),
      config.workspaceSeed === undefined ? [] : tried('workspace seed', () => checkSeed(config.workspaceSeed ?? '')),
      tried('jails', () => checkJails(config)),
      ...checkProviders(config),
      tried('models', () => checkModels(config)),
    ]);
    return withoutSecrets([...authorities, ...groups.flat()], config);
  } finally {
    if (shared.type === 'open') await shared.store.close();
  }
}

/** What is well is told in our own words; what is not, in those of others too. */
function withoutSecrets(checks: readonly SetupCheck[], config: NexusConfig): SetupCheck[] {
  const known = secretsOfConfig(config);
  return checks.map((check) => ({ ...check, detail: check.status === 'fail' ? known.inErrors(check.detail) : known.inText(check.detail) }));
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

async function checkAuthorities(config: NexusConfig): Promise<Finding> {
  await trustAuthorities(config);
  return { status: 'ok', detail: `trusted besides the usual ones: ${config.tls.ca.join(', ')}` };
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
  const { notes } = await makePrivate(dataDir);
  const space = spaceFinding(dataDir, await freeBytes(dataDir));
  if (notes.length === 0 || space.status === 'fail') return space;
  return { status: 'warn', detail: `${space.detail}; ${notes.join('; ')}` };
}

/** Opened for reading alone: a start would bring its schema up to date. */
async function checkDatabase({ databaseUrl, dataDir }: NexusConfig, shared: Shared): Promise<Finding> {
  const schema = shared.type === 'unread' && isAboutSchema(shared.error) ? shared.error : undefined;
  const found = await lookAtDatabase({ databaseUrl, dataDir });
  if (found.status !== 'ok' || schema === undefined) return found;
  const status = schema.code === 'schema_too_new' ? 'fail' : 'warn';
  return { status, detail: `${found.detail}; ${schema.message}` };
}

/** A start brings an old schema up to date, and refuses a new one. */
function isAboutSchema(error: unknown): error is NexusError {
  return error instanceof NexusError && (error.code === 'schema_too_new' || error.message.startsWith('the schema of the database'));
}

async function lookAtDatabase({ databaseUrl, dataDir }: Pick<NexusConfig, 'databaseUrl' | 'dataDir'>): Promise<Finding> {
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

/** What a server must do is tried on it: a small blob, always the same, is written and read. */
async function checkFiles(config: NexusConfig): Promise<Finding> {
  const kind = fileStoreKind(config);
  if (kind === 'database') return { status: 'ok', detail: 'kept in the database' };
  if (kind === 'folder') {
    const detail = `kept in ${folderOfBlobs(config)}`;
    if (!config.databaseUrl?.startsWith('postgres')) return { status: 'ok', detail };
    return { status: 'warn', detail: `${detail}, where other machines do not find them; see tools.files.store` };
  }
  const blobs = openS3Blobs(config, { clock: systemClock, timers: systemTimers });
  try {
    await blobs.check(AbortSignal.timeout(timeoutMs));
  } finally {
    await blobs.close();
  }
  const { bucket, endpoint = '' } = config.tools.files.s3;
  return { status: 'ok', detail: `kept in the bucket ${bucket} at ${new URL(endpoint).host}` };
}

/** Something is run in one. Only the tools that need them fail without. */
async function checkJails(config: NexusConfig): Promise<Finding> {
  const { jail } = openJail(config);
  try {
    const refusal = await jail.refusal();
    if (refusal !== null) return { status: 'warn', detail: `shell and code_python are refused: ${refusal}` };
    return { status: 'ok', detail: `processes can be jailed${jail.tier === 'T3' ? ', with gVisor as their kernel' : ''}` };
  } finally {
    await jail.close();
  }
}

async function openAndClose(kind: ReturnType<typeof busKind>): Promise<void> {
  const bus = await openBusOf(kind, { outage: { failed: () => undefined, worked: () => undefined }, onError: () => undefined });
  await bus.close();
}

/** The short forms of agents are held against the same engine as the policies, and both kinds against what is active on all nodes. */
async function checkDefinitions(config: NexusConfig, shared: Shared): Promise<SetupCheck[]> {
  const policy = createPolicyEngine({ clock: systemClock, memoEntries: 1 });
  const policies = await tried('policies', async () => {
    const folder = policyFolder(config);
    const { files, unread } = await folder.read();
    policy.prepare(files);
    const finding = folderFinding(config.policiesDir, files.length, 'policy file', unread);
    return compared(finding, { kind: 'policies', files, path: folder.path }, config, shared);
  });
  const agents = await tried('agents', async () => {
    const folder = agentFolder(config);
    const { files, unread } = await folder.read();
    for (const definition of await parseAgents(files, folder.path)) checkAgentPolicy(policy, definition);
    const finding = folderFinding(config.agentsDir, files.length, 'agent', unread);
    return compared(finding, { kind: 'agents', files, path: folder.path }, config, shared);
  });
  return [policies, agents, await tried('key secret', () => checkKeySecret(config, shared))];
}

/** The database as other nodes have left it. `none`: it is made at the first start. `unread`: it cannot be asked. */
type Shared =
  | { readonly type: 'open'; readonly store: Store }
  | { readonly type: 'none' }
  | { readonly type: 'unread'; readonly error: unknown };

async function openShared({ databaseUrl, dataDir }: NexusConfig): Promise<Shared> {
  if (databaseUrl === undefined && !existsSync(join(dataDir, 'nexus.db'))) return { type: 'none' };
  if (databaseUrl === 'sqlite::memory:') return { type: 'none' };
  const common = { ledgerRules, clock: systemClock, timers: systemTimers, ids: createIdSource(systemClock), asIs: true, timeoutMs };
  try {
    return {
      type: 'open',
      store: await openStore({ ...common, ...(databaseUrl === undefined ? { dataDir } : { url: databaseUrl, maxConnections: 1 }) }),
    };
  } catch (error) {
    return hasNoSchema(error) ? { type: 'none' } : { type: 'unread', error };
  }
}

/** Nothing has ever started on the database. */
function hasNoSchema(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  return /no such table: schema_migrations|"schema_migrations" does not exist/.test(error.message) || hasNoSchema(error.cause);
}

/** What could not be looked at is not well. */
const notCompared = 'not held against what is active, as the database cannot be read (see there)';

/** What of the folder will decide. */
async function compared(
  finding: Finding,
  { kind, files, path }: { readonly kind: DefinitionKind; readonly files: readonly DefinitionFile[]; readonly path: string },
  { databaseUrl, definitions }: Pick<NexusConfig, 'databaseUrl' | 'definitions'>,
  shared: Shared,
): Promise<Finding> {
  if (shared.type === 'unread') return { status: 'warn', detail: `${finding.detail}; ${notCompared}` };
  const byHand = definitions.import === 'manual';
  const makesActive = `nexus definitions import ${kind} makes it active`;
  const head = shared.type === 'none' ? undefined : (await shared.store.definitionHeads()).find((each) => each.kind === kind);
  if (shared.type === 'none' || head === undefined) {
    if (!byHand || files.length === 0) return finding;
    return { status: 'warn', detail: `${finding.detail}; never imported, and nothing is by itself (definitions.import): ${makesActive}` };
  }
  const active = `version ${head.version}, imported from ${head.origin}`;
  const fingerprint = definitionsFingerprint(files);
  if (head.fingerprint === fingerprint) return { ...finding, detail: `${finding.detail}; active as version ${head.version}` };
  if (files.length === 0) return { ...finding, detail: `${finding.detail}; ${active}, decides` };
  const known = await shared.store.findDefinitions(kind, fingerprint);
  // As a start decides it: see `openDefinitions`.
  const isOwn = databaseUrl === undefined && head.origin === `${hostname()}:${path}`;
  const takesOver = !byHand && (known === null || isOwn);
  const what = known === null ? 'never imported' : `it is version ${known.version}`;
  const differs = takesOver
    ? `${what}: a start, or a server that runs, takes it over in the place of ${active}`
    : `${what}, and ${active}, decides; ${makesActive}${known === null ? '' : ' again'}`;
  return { status: 'warn', detail: `${finding.detail}; ${differs}` };
}

async function checkKeySecret({ auth, dataDir }: NexusConfig, shared: Shared): Promise<Finding> {
  const adopted = await readFolderKeySecret(dataDir);
  const own = auth.keySecret === undefined ? null : keySecretFingerprint(Buffer.from(auth.keySecret));
  if (shared.type === 'unread') return { status: 'warn', detail: 'not looked at, as the database cannot be read (see there)' };
  const brought = adopted === undefined ? [] : [keySecretFingerprint(adopted)];
  if (shared.type === 'open') {
    const missing = await shared.store.missingKeySecret(own === null ? brought : [...brought, own], await shared.store.now());
    if (missing !== null) throw missingKeySecretError(missing, own); // as a start does
  }
  const secrets = shared.type === 'open' ? await shared.store.listKeySecrets() : [];
  const other = secrets.find(({ origin, fingerprint }) => origin === 'configured' && fingerprint !== own);
  if (other !== undefined) {
    return {
      status: 'warn',
      detail: `other nodes of this database were given another one (fingerprint ${other.fingerprint}); give all nodes the same auth.keySecret (NEXUS_KEY_SECRET)`,
    };
  }
  return { status: 'ok', detail: own === null ? 'kept in the database' : `configured, fingerprint ${own}` };
}

function checkAgentPolicy(engine: PolicyEngine, { name, policy }: AgentDefinition): void {
  try {
    if (policy !== undefined) engine.check(policy);
  } catch (error) {
    throw new NexusError('config_invalid', `the policy of agent ${name}: ${sentenceOf(error)}`);
  }
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
    ...compatible.map((server) => ({
      ...server,
      dialect: 'openai' as const,
      keyNeeded: false,
      models: (server.models ?? []).map(({ id }) => id),
    })),
  ];
  if (named.length > 0) return named.map((provider) => tried(provider.name, () => checkProvider(provider, config)));
  const off = config.sim.enabled === 'off';
  const detail = off
    ? 'none is configured and the simulator is off'
    : 'none is configured: the simulator answers (set OPENAI_API_KEY or ANTHROPIC_API_KEY)';
  return [Promise.resolve({ name: 'providers', status: off ? 'fail' : 'warn', detail })];
}

/** Which models the agents get, as a start resolves them: what is passed over, and what has no price. */
async function checkModels(config: NexusConfig): Promise<Finding> {
  const { llm, close } = await setUpModels(config, systemClock, silent);
  try {
    const chosen = await llm.resolve(['default']);
    const folder = agentFolder(config);
    const definitions = await folder
      .read()
      .then(({ files }) => parseAgents(files, folder.path))
      .catch(() => []); // what is wrong with them is told apart
    const notes: string[] = [];
    for (const { name, models } of definitions) {
      const served = await Promise.all(
        models.map((ref) =>
          llm.resolve([ref]).then(
            () => true,
            () => false,
          ),
        ),
      );
      const missing = models.filter((_, index) => served[index] === false);
      if (missing.length === models.length)
        notes.push(`agent ${name} has no model that is served (${missing.join(', ')}); add \`default\` to its list`);
      else if (missing.length > 0) notes.push(`agent ${name} passes over ${missing.join(', ')}`);
    }
    const names = chosen.map(({ provider, model }) => `${provider}/${model}`);
    const priceless = chosen.filter(({ price }) => price === null).map(({ provider, model }) => `${provider}/${model}`);
    for (const name of priceless)
      notes.push(`${name} has no known price: state one under \`prices\`, or its calls are refused (price_unknown)`);
    const isBad = priceless.length > 0 || notes.some((note) => note.includes('no model that is served'));
    return { status: isBad ? 'warn' : 'ok', detail: [`by default ${names.join(', then ')}`, ...notes].join('; ') };
  } finally {
    await close();
  }
}

const silent: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silent,
};

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
  if (keyNeeded && apiKey === undefined) return { status: 'fail', detail: `no API key is set for ${shownAddress(baseUrl)}` };
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
        detail: `${shownAddress(baseUrl)} answers${way}, but has no list of models; check that the address ends with the version`,
      };
    throw error;
  }
  const missing = models.filter((model) => !listed.includes(model) && !listed.includes(`${model}:latest`));
  if (missing.length > 0 && listed.length > 0) {
    return {
      status: 'warn',
      detail: `${shownAddress(baseUrl)} answers${way}, but does not list ${missing.join(', ')}; it lists ${listed.slice(0, 8).join(', ')}`,
    };
  }
  return { status: 'ok', detail: `${shownAddress(baseUrl)} answers${way} with ${listed.length} models` };
}
