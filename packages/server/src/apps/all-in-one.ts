import { hostname } from 'node:os';
import type { Duplex } from 'node:stream';
import { TenantId } from '@nexus-agent/protocol';
import { type Api, type Bound, createApi, isLoopbackHost } from '#api';
import { type NexusConfig, secretsOfConfig } from '#apps/config';
import { createAdmission, createReservationSweeper } from '#budget';
import type { Bus } from '#bus';
import {
  createAdministration,
  createAgentCatalog,
  createAgentServers,
  createAgents,
  createApprovals,
  createArtifacts,
  createBudgets,
  createFiles,
  createModels,
  createNodes,
  createPlugins,
  createRetention,
  createServersOfTenants,
  createToolSources,
  createTools,
  createToolWorkers,
  openDefinitions,
} from '#control';
import {
  type Clock,
  createIdSource,
  createSchemaValidator,
  type IdSource,
  NexusError,
  type SecretValues,
  systemClock,
  systemTimers,
} from '#core';
import { createKeys, type KeySecrets, openKeySecrets } from '#identity';
import { ledgerRules } from '#ledger';
import { InputCounts, type ModelService } from '#llm';
import { createPolicyEngine, operatorTenant } from '#policy';
import { createOrchestrator, createStreamHub, type Orchestrator } from '#runs';
import { createSharedClock, type Store } from '#storage';
import { openStore } from '#storage/drivers';
import { createLogger, createMetrics, createTracer, type Logger } from '#telemetry';
import { createOwnListeners, type OwnListeners, type Tool, type ToolService } from '#tools';
import { agentFolder } from './agent-folder.ts';
import { followAgentServers } from './agent-servers.ts';
import { trustAuthorities } from './authorities.ts';
import { builtInAgent, defaultAgentName, greeting } from './built-in-agent.ts';
import { busKind } from './bus-kind.ts';
import { logCommits } from './commit-log.ts';
import { makeDataFolder, readFolderKeySecret } from './data-folder.ts';
import { requireFolder } from './definition-folder.ts';
import { prepareAgents, preparePolicies, tellModels } from './definition-notes.ts';
import { requireFreePort } from './free-port.ts';
import { createInvariantWatch, type InvariantWatch } from './invariants.ts';
import { tellUncaught } from './last-words.ts';
import { createLocalToken, publishLocalToken } from './local-token.ts';
import { openMcpServers } from './mcp-servers.ts';
import { setUpModels } from './models.ts';
import { createStoreOutages, type StoreOutages } from './outages.ts';
import { policyFolder } from './policy-folder.ts';
import {
  clearedOfSecrets,
  closeInTurn,
  keepFollowing,
  keepPrivate,
  openConfiguredBus,
  openDatabase,
  storeOptions,
} from './process-parts.ts';
import { proxyFor } from './proxy.ts';
import { openRemoteTools } from './remote-tools.ts';
import { type OpenedFiles, openFiles } from './session-files.ts';
import { openLongTexts, openTools } from './tools.ts';
import { startWarmUp, type WarmUpStep } from './warm-up.ts';

export interface AllInOneOptions {
  readonly config: NexusConfig;
  readonly version: string;
  readonly logger?: Logger;
  readonly clock?: Clock;
  /** What is worth a warning of how it was configured, as sentences; they go to the log. */
  readonly notes?: readonly string[];
  /** Tools besides the built-in ones: for embedding, and for tests. */
  readonly tools?: readonly Tool[];
  /** Models instead of the configured providers: for embedding, and for tests. */
  readonly models?: { readonly llm: ModelService; readonly defaultModels: readonly string[] };
  /**
   * It serves one command that only looks: folders of policies and agents that are not those in force are left alone, and what is in
   * force decides.
   */
  readonly onlyLooks?: boolean;
  /** It answers at no address, only what {@link AllInOne.accept} is given. */
  readonly unbound?: boolean;
  /** The process is this server and nothing else: an error that nobody caught is told in the log and ends it. */
  readonly ownsProcess?: boolean;
  /** Aborted while it starts: what was opened is closed in good order, and the start rejects with its reason. */
  readonly signal?: AbortSignal;
  /** Stands between the engine and its store, for instance to observe commits: for embedding, and for tests. */
  readonly wrapStore?: (store: Store) => Store;
}

export interface AllInOne {
  /** An address that nobody answers at where the server is {@link AllInOneOptions.unbound}. */
  readonly url: string;
  readonly port: number;
  /** Serves a connection that was made within this process. */
  accept(socket: Duplex): void;
  /** What a client in this process presents as its key to be the local operator, where that needs one. */
  readonly localToken?: string;
  readonly config: NexusConfig;
  readonly orchestrator: Orchestrator;
  readonly store: Store;
  readonly simulated: boolean;
  /** Reads the folders of agents and policies now; see `DefinitionsOfNode`. */
  reload(): Promise<void>;
  /** Stops taking work, lets live work finish or hands it over within `drainMs`, and closes everything. Idempotent. */
  close(): Promise<void>;
}

/** Starts the whole platform in this process and resolves when it is ready. Leaves nothing open when it throws. */
export async function startAllInOne(options: AllInOneOptions): Promise<AllInOne> {
  const { config, version } = options;
  const clock = createSharedClock(options.clock ?? systemClock);
  const known = secretsOfConfig(config);
  const closers: (() => Promise<void> | void)[] = [];
  let closing: Promise<void> | undefined;
  const closeAll = (logger?: Logger) => closeInTurn(closers.splice(0).reverse(), logger);
  try {
    const log = options.logger ?? createLogger({ ...config.log, clock, secrets: known });
    const outages = createStoreOutages({ logger: log, clock });
    const { logger } = outages;
    for (const note of options.notes ?? []) logger.warn({}, note);
    const ids = createIdSource(clock);
    let liveRuns = () => 0;
    if (options.ownsProcess === true)
      closers.push(tellUncaught({ logger, ids, exit: (code) => process.exit(code), liveRuns: () => liveRuns() }));
    const goOn = () => options.signal?.throwIfAborted();
    await trustAuthorities(config);
    await makeDataFolder(config.dataDir);
    await keepPrivate(config.dataDir, logger);
    const folders = { policies: policyFolder(config), agents: agentFolder(config) };
    const [adopted] = await Promise.all([
      readFolderKeySecret(config.dataDir),
      folders.policies.read(),
      folders.agents.read(),
      config.workspaceSeed === undefined ? undefined : requireFolder(config.workspaceSeed, 'workspaceSeed (NEXUS_WORKSPACE_SEED)'),
    ]);
    const broken = createInvariantWatch({ logger, clock });
    const unwatched = await openDatabase(config, { clock, ids, logger, onBroken: broken.onBroken, signal: options.signal });
    const opened = outages.watch(unwatched);
    let stopLooking: () => void = () => undefined;
    closers.push(async () => {
      await opened.close();
      stopLooking();
    });
    goOn();
    await clock.follow(() => opened.now());
    closers.push(keepFollowing(clock, opened, logger));
    const { keySecret } = config.auth;
    const secrets = await openKeySecrets({
      store: opened,
      clock,
      ...(keySecret === undefined ? {} : { configured: keySecret }),
      ...(adopted === undefined ? {} : { adopted }),
      ...(options.onlyLooks === true ? { onMissing: (error: NexusError) => logger.warn({}, error.message) } : {}),
    });
    if (secrets.forgotten.length > 0) {
      logger.warn(
        { forgotten: secrets.forgotten, used: secrets.current.fingerprint },
        'other nodes of this database were given another auth.keySecret (NEXUS_KEY_SECRET), under which there is no key: give all nodes the same',
      );
    }
    const store = logCommits(options.wrapStore?.(opened) ?? opened, logger);
    const files = await openFiles({ config, store, clock, timers: systemTimers, logger });
    closers.push(() => files.close());
    const bus = await openConfiguredBus(config, { logger, clock });
    closers.push(() => bus.close());
    const configured = options.models === undefined ? await setUpModels(config, clock, logger, known) : null;
    if (configured !== null) closers.push(() => configured.close());
    const models = options.models ?? (configured === null ? null : { llm: configured.llm, defaultModels: ['default'] });
    if (models === null) throw new NexusError('internal', 'there are no models');

    const own = createOwnListeners();
    own.add(config.port); // before it is bound, since runs go on before; 0 is no port that anybody answers at
    if (configured !== null && configured.simulatorPort !== null) own.add(configured.simulatorPort);
    const remote = await openRemoteTools({ config, clock, logger, known, given: options.tools ?? [] });
    if (remote !== undefined) closers.push(() => remote.close());
    const app = assemble({
      ...{ options, config, clock, ids, logger, store, files, bus, secrets, known, models, own, closers, broken, remote },
    });
    liveRuns = () => app.orchestrator.liveRuns;
    goOn();
    if (options.unbound !== true) await requireFreePort(config);
    const definitions = await openDefinitions({
      ...{ store: opened, clock, logger, policy: app.policy },
      timers: systemTimers,
      nodes: createNodes({ store: opened, clock, logger, secrets, node: { id: app.workerId, name: `${hostname()}/${process.pid}` } }),
      machine: hostname(),
      alone: config.databaseUrl === undefined,
      importing: options.onlyLooks === true && config.definitions.import === 'auto' ? 'own' : config.definitions.import,
      pollMs: config.definitions.pollMs,
      kinds: {
        policies: { folder: folders.policies, prepare: (files, about) => preparePolicies(app, files, about, logger) },
        agents: { folder: folders.agents, prepare: (files, about) => prepareAgents({ ...app, llm: models.llm }, files, about, logger) },
      },
    });
    closers.push(() => definitions.close());
    const localToken = config.auth.local === 'token' && isLoopbackHost(config.host) ? createLocalToken() : undefined;
    if (localToken !== undefined) known.add([localToken]);
    const api: Api = await createApi({
      services: { ...app.services, definitions },
      greeting,
      ready: async () => {
        const ready = await app.orchestrator.ready();
        return ready.ready ? definitions.readiness() : ready;
      },
      config,
      logger,
      metrics: app.metrics,
      ids,
      secrets: known,
      clock,
      timers: systemTimers,
      version,
      ...(localToken === undefined ? {} : { localToken }),
    });
    // Closed in this order: no new requests while live runs finish, then what the runs needed.
    closers.push(async () => {
      logger.info({ drainMs: config.drainMs }, 'draining');
      const drained = app.orchestrator.drain(config.drainMs, () => {
        stopLooking = giveUpWhenAway(unwatched, outages);
      });
      await allOf([drained, api.close(drained)]);
      logger.info({}, 'drained');
    });
    goOn();
    await app.orchestrator.start();
    const announce = async ({ port, hosts }: Pick<Bound, 'port' | 'hosts'>) => {
      own.add(port);
      // Before anything is answered: who sees that the server is ready finds the token.
      if (localToken !== undefined) closers.push(await publishLocalToken({ token: localToken, port, hosts }, config, logger));
    };
    const { url, port } = options.unbound === true ? api.open() : await api.listen(announce);
    goOn();
    logger.info({ version, url, ...factsOf(config), ...definitions.facts() }, 'ready');
    const told = tellModels(models, logger);
    closers.unshift(() => told); // ends when the connections of the providers do
    if (options.ownsProcess === true)
      closers.push(startWarmUp({ steps: app.warmUp, timers: systemTimers, logger, isBusy: () => app.orchestrator.liveRuns > 0 }));
    return {
      ...{ url, port },
      accept: (socket) => api.accept(socket),
      ...(localToken === undefined ? {} : { localToken }),
      config,
      orchestrator: app.orchestrator,
      store,
      simulated: configured?.simulated ?? false,
      reload: () => definitions.reload(),
      close: () => {
        closing ??= closeAll(logger);
        return closing;
      },
    };
  } catch (error) {
    await closeAll().catch(() => undefined); // the first error says more
    if (options.signal?.aborted === true && error === options.signal.reason) throw error;
    throw clearedOfSecrets(error, known);
  }
}

/** Waits for all, then throws the first failure. */
async function allOf(works: readonly Promise<unknown>[]): Promise<void> {
  for (const each of await Promise.allSettled(works)) if (each.status === 'rejected') throw each.reason;
}

/** How often a process that ends looks whether its database says something. */
const lookMs = 250;

/** Nobody drives anything here any more: what is left to tell a database that says nothing is not waited for. */
function giveUpWhenAway(store: Pick<Store, 'giveUp'>, outages: Pick<StoreOutages, 'isAway'>): () => void {
  return systemTimers.every(lookMs, () => {
    if (outages.isAway()) store.giveUp();
  });
}

interface Parts {
  readonly options: AllInOneOptions;
  readonly config: NexusConfig;
  readonly clock: Clock;
  readonly ids: IdSource;
  readonly logger: Logger;
  readonly store: Store;
  readonly files: OpenedFiles;
  readonly bus: Bus;
  readonly secrets: KeySecrets;
  /** The secrets of the configuration, which nothing that is written or shown may hold. */
  readonly known: SecretValues;
  readonly models: { readonly llm: ModelService; readonly defaultModels: readonly string[] };
  readonly own: OwnListeners;
  readonly closers: (() => Promise<void> | void)[];
  readonly broken: InvariantWatch;
  /** The agent core of another process. */
  readonly remote: ToolService | undefined;
}

/** Joins what was opened into the engine. */
function assemble({
  options,
  config,
  clock,
  ids,
  logger,
  store: unheard,
  files,
  bus,
  secrets,
  known,
  models,
  own,
  closers,
  broken,
  remote,
}: Parts) {
  const admission = createAdmission({ clock, timers: systemTimers, settings: config.budget });
  const store = admission.observe(unheard);
  const metrics = createMetrics(clock, { version: options.version, database: store.dialect });
  closers.push(() => metrics.close());
  metrics.observeStore(store);
  broken.count(metrics);
  const tracer = createTracer({
    serviceName: 'nexus-agent',
    serviceVersion: options.version,
    secrets: known,
    clock,
    logger,
    ...(config.otlp.endpoint === undefined ? {} : { endpoint: config.otlp.endpoint, headers: config.otlp.headers }),
  });
  closers.push(() => tracer.close(config.otlp.closeTimeoutMs));
  const { version } = options;
  const mcp = openMcpServers({ version, config, store, clock, logger, metrics, own, files, closers });
  // Workers connect here and sources are put here, wherever tools run.
  const opened = openTools({
    ...{
      given: options.tools ?? [],
      sources: [mcp.source],
      version,
      config,
      clock,
      ids,
      store,
      bus,
      logger,
      metrics,
      files,
      known,
      own,
      closers,
      remote,
    },
  });
  const { desk, plugins, service: tools } = opened;
  metrics.observeNames({ models: () => models.llm.list(), tools: () => tools.list('default') }, [
    ...models.defaultModels,
    ...Object.keys(config.prices),
  ]);
  const hub = createStreamHub({
    bus,
    clock,
    timers: systemTimers,
    settings: { ...config.runs.stream, coalesceMs: config.runs.deltaCoalesceMs },
  });
  closers.push(() => hub.close());
  const sweeper = createReservationSweeper({ store, clock, timers: systemTimers, logger, intervalMs: config.budget.sweepMs });
  sweeper.start();
  closers.push(() => sweeper.stop());

  const workerId = ids.next<string>('worker');
  const retention = createRetention({
    ...{ store, clock, logger, metrics, timers: systemTimers, settings: config.retention, owner: workerId },
    removeFiles: files.removeFormer,
    removeContent: files.blobs.removeContent,
  });
  retention.start();
  closers.push(() => retention.stop());

  const policy = createPolicyEngine({
    ...{ clock, memoEntries: config.policy.memoEntries, agentsPermit: config.policy.agentsPermit },
    ...(config.policy.tenants.allow === undefined ? {} : { tenantsAllow: config.policy.tenants.allow }),
  });
  const engine = {
    store,
    hub,
    secrets: known,
    clock,
    timers: systemTimers,
    ids,
    policy,
    llm: models.llm,
    inputCounts: new InputCounts(),
    tools,
    schemas: createSchemaValidator(),
    logger,
    tracer,
    metrics,
    admission,
    longTexts: openLongTexts({ config, files, ids, known, logger }),
    workerId,
    settings: config.runs,
  };
  const catalog = createAgentCatalog({ store, clock, policy, builtIn: [builtInAgent(models.defaultModels)] });
  const orchestrator = createOrchestrator({
    engine,
    bus,
    agents: catalog,
    defaultAgent: defaultAgentName,
    dispatch: config.runs,
    onRemoved: retention.wake,
  });
  const administration = createAdministration({ engine });
  const agentServers = followAgentServers({
    ...{ mcp: mcp.administration, timers: systemTimers, logger, onlyLooks: options.onlyLooks === true },
  });
  closers.push(() => agentServers.close());
  const services = {
    administration,
    sessions: orchestrator.sessions,
    runs: orchestrator.runs,
    approvals: createApprovals({ engine, wake: orchestrator.wake, checkApprovedCall: orchestrator.checkApprovedCall }),
    agents: createAgents({
      catalog,
      servers: createAgentServers({ mcp: mcp.administration, administration }),
      tools,
      llm: models.llm,
      policy,
    }),
    files: createFiles({ store, blobs: files.blobs }),
    artifacts: createArtifacts({ store, blobs: files.blobs }),
    tools: createTools({ engine, agents: catalog }),
    toolWorkers: createToolWorkers({ desk, store, tools, clock }),
    ...createPlugins({ store, clock, trustedKeys: config.plugins.trustedKeys, ...plugins }),
    mcpServers: createServersOfTenants(mcp.administration, catalog),
    toolSources: createToolSources({ store, clock, tools, kinds: opened.kinds, onChanged: opened.onSourcesChanged }),
    models: createModels({ llm: models.llm }),
    budgets: createBudgets({ store, agents: catalog, clock }),
    retention,
    keys: createKeys({ store, clock, ids, secrets }),
  };
  /** Whether a key was ever made for it, which is all that makes a tenant. */
  const isTenant = async (name: string) => {
    const tenant = TenantId.safeParse(name);
    return tenant.success && (tenant.data === operatorTenant || (await store.listKeys(tenant.data, { limit: 1 })).items.length > 0);
  };
  const warmUp: WarmUpStep[] = [{ name: 'policy', run: (pause) => policy.warm(pause) }];
  return { orchestrator, services, metrics, policy, catalog, tools, agentServers, workerId, isTenant, warmUp };
}

/** What a process runs on, for its log: names and hosts, no credentials. */
function factsOf(config: NexusConfig) {
  const { openai, anthropic, compatible } = config.providers;
  const named = [
    ...(anthropic?.apiKey === undefined ? [] : [{ name: 'anthropic', ...anthropic }]),
    ...(openai?.apiKey === undefined ? [] : [{ name: 'openai', ...openai }]),
    ...compatible,
  ];
  const providers = named.map((provider) => {
    const proxy = proxyFor(provider, config.proxy);
    return `${provider.name} at ${new URL(provider.baseUrl).host}${proxy === undefined ? '' : ` through ${new URL(proxy).host}`}`;
  });
  const { databaseUrl, dataDir } = config;
  return {
    database: databaseUrl?.startsWith('postgres') ? `Postgres at ${new URL(databaseUrl).host}` : `embedded in ${databaseUrl ?? dataDir}`,
    bus: busKind(config).kind,
    providers,
  };
}

/** Brings the schema of the configured database up to date. */
export async function migrateStore(config: NexusConfig): Promise<void> {
  await makeDataFolder(config.dataDir);
  const store = await openStore({
    ...storeOptions(config),
    ledgerRules,
    clock: systemClock,
    timers: systemTimers,
    ids: createIdSource(systemClock),
  }).catch((error: unknown) => {
    throw clearedOfSecrets(error, secretsOfConfig(config));
  });
  await store.close();
}
