import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Api, createApi } from '#api';
import type { NexusConfig } from '#apps/config';
import { createReservationSweeper } from '#budget';
import type { Bus } from '#bus';
import { openBus } from '#bus/drivers';
import { createAgentCatalog, createAgents, createApprovals, createBudgets, createModels, createTools } from '#control';
import { type Clock, createIdSource, createSchemaValidator, type IdSource, NexusError, systemClock, systemTimers } from '#core';
import { createKeys } from '#identity';
import { ledgerRules } from '#ledger';
import type { ModelService } from '#llm';
import { createPolicyEngine, loadPolicyFolder } from '#policy';
import { createOrchestrator, createStreamHub, type Orchestrator } from '#runs';
import { createSharedClock, type SharedClock, type Store } from '#storage';
import { explainDataDir, openStore } from '#storage/drivers';
import { createLogger, createMetrics, createTracer, type Logger } from '#telemetry';
import { createFixedSource, createSandbox, createSessionFolders, createToolService, createWorkspaces, type Tool } from '#tools';
import { createBuiltinTools } from '#tools/sources';
import { loadAgentFolder } from './agent-folder.ts';
import { builtInAgent, defaultAgentName, greeting } from './built-in-agent.ts';
import { egressOptions } from './egress.ts';
import { setUpModels } from './models.ts';

export interface AllInOneOptions {
  readonly config: NexusConfig;
  readonly version: string;
  readonly logger?: Logger;
  readonly clock?: Clock;
  /** Tools besides the built-in ones: for embedding, and for tests. */
  readonly tools?: readonly Tool[];
  /** Models instead of the configured providers: for embedding, and for tests. */
  readonly models?: { readonly llm: ModelService; readonly defaultModels: readonly string[] };
  /** Stands between the engine and its store, for instance to observe commits: for embedding, and for tests. */
  readonly wrapStore?: (store: Store) => Store;
}

export interface AllInOne {
  readonly url: string;
  readonly port: number;
  readonly config: NexusConfig;
  readonly orchestrator: Orchestrator;
  readonly store: Store;
  readonly simulated: boolean;
  /** Stops taking work, lets live work finish or hands it over within `drainMs`, and closes everything. Idempotent. */
  close(): Promise<void>;
}

/** Starts the whole platform in this process and resolves when it is ready. Leaves nothing open when it throws. */
export async function startAllInOne(options: AllInOneOptions): Promise<AllInOne> {
  const { config, version } = options;
  const clock = createSharedClock(options.clock ?? systemClock);
  const closers: (() => Promise<void> | void)[] = [];
  let closing: Promise<void> | undefined;
  const closeAll = async () => {
    const failures: unknown[] = [];
    for (const close of closers.splice(0).reverse()) {
      try {
        await close();
      } catch (error) {
        failures.push(error); // what is left must be closed all the same
      }
    }
    if (failures.length > 0) throw new AggregateError(failures, 'not everything could be closed');
  };
  try {
    const logger =
      options.logger ??
      createLogger({ level: config.log.level, clock, ...(config.log.pretty === undefined ? {} : { pretty: config.log.pretty }) });
    const ids = createIdSource(clock);
    await makeDataDir(config.dataDir);

    const opened = await openStore({
      ...storeOptions(config),
      ledgerRules,
      clock,
      timers: systemTimers,
      ids,
      transaction: config.transaction,
      onNotice: (message) => logger.warn({}, message),
    }).catch((error: unknown) => {
      logger.error({ err: error }, 'the database could not be opened');
      throw error;
    });
    closers.push(() => opened.close());
    await clock.follow(() => opened.now());
    closers.push(keepFollowing(clock, opened, logger));
    const store = options.wrapStore?.(opened) ?? opened;
    const bus = await openBus({ ...busKind(config), onError: (error) => logger.warn({ err: error }, 'the bus lost its server') });
    closers.push(() => bus.close());
    const [policySources, agentDefinitions, pepper] = await Promise.all([
      loadPolicies(config),
      loadAgentFolder(config.agentsDir),
      readPepper(config.dataDir),
    ]);
    const configured = options.models === undefined ? await setUpModels(config, clock) : null;
    if (configured !== null) closers.push(() => configured.close());
    const models = options.models ?? configured;
    if (models === null) throw new NexusError('internal', 'there are no models');

    const app = assemble({ options, config, clock, ids, logger, store, bus, policySources, agentDefinitions, pepper, models, closers });
    const api: Api = await createApi({
      services: app.services,
      greeting,
      ready: () => app.orchestrator.ready(),
      config,
      logger,
      metrics: app.metrics,
      ids,
      clock,
      timers: systemTimers,
      version,
    });
    // Closed in this order: no new requests while live runs finish, then what the runs needed.
    closers.push(async () => {
      const apiClosed = api.close();
      await app.orchestrator.drain(config.drainMs);
      await apiClosed;
    });
    await app.orchestrator.start();
    const address = await api.listen();
    return {
      ...address,
      config,
      orchestrator: app.orchestrator,
      store,
      simulated: configured?.simulated ?? false,
      close: () => {
        closing ??= closeAll();
        return closing;
      },
    };
  } catch (error) {
    await closeAll().catch(() => undefined); // the first error says more
    throw error;
  }
}

interface Parts {
  readonly options: AllInOneOptions;
  readonly config: NexusConfig;
  readonly clock: Clock;
  readonly ids: IdSource;
  readonly logger: Logger;
  readonly store: Store;
  readonly bus: Bus;
  readonly policySources: Awaited<ReturnType<typeof loadPolicyFolder>>;
  readonly agentDefinitions: Awaited<ReturnType<typeof loadAgentFolder>>;
  readonly pepper: Uint8Array;
  readonly models: { readonly llm: ModelService; readonly defaultModels: readonly string[] };
  readonly closers: (() => Promise<void> | void)[];
}

/** Joins what was opened into the engine. */
function assemble({ options, config, clock, ids, logger, store, bus, policySources, agentDefinitions, pepper, models, closers }: Parts) {
  const metrics = createMetrics(clock);
  closers.push(() => metrics.close());
  metrics.observeApprovalsWaiting(
    async () => (await store.listApprovals(defaultTenant, { status: 'pending' }, { limit: 1_000 })).items.length,
  );
  const tracer = createTracer({
    serviceName: 'nexus-agent',
    serviceVersion: options.version,
    clock,
    logger,
    ...(config.otlp.endpoint === undefined ? {} : { endpoint: config.otlp.endpoint, headers: config.otlp.headers }),
  });
  closers.push(() => tracer.close(config.otlp.closeTimeoutMs));
  const sandbox = createSandbox({ clock, timers: systemTimers, ...sandboxOptions(config) });
  closers.push(() => sandbox.close());
  const builtin = createBuiltinTools({
    sandbox,
    workspaces: createWorkspaces({ limits: workspaceLimits(config) }),
    http: { ...config.httpFetch, ...egressOptions(config.httpFetch.allowPrivate) },
  });
  const tools = createToolService({
    sources: [createFixedSource([...builtin, ...(options.tools ?? [])])],
    clock,
    timers: systemTimers,
    workspaceOf: createSessionFolders({
      root: join(config.dataDir, 'workspaces'),
      seedFrom: config.workspaceSeed,
      maxSeedBytes: config.workspace.maxSeedBytes,
      maxSeedFiles: config.workspace.maxSeedFiles,
    }),
    ...config.tools,
    onFault: (fault) => logger.error({ ...fault }, 'a tool failed inside'),
  });
  closers.push(() => tools.close());
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

  const policy = createPolicyEngine({ sources: policySources, clock, memoEntries: config.policy.memoEntries });
  const engine = {
    store,
    hub,
    clock,
    timers: systemTimers,
    ids,
    policy,
    llm: models.llm,
    tools,
    schemas: createSchemaValidator(),
    logger,
    tracer,
    metrics,
    workerId: ids.next<string>('worker'),
    settings: config.runs,
  };
  const catalog = createAgentCatalog({
    store,
    clock,
    policy,
    shared: [
      { definition: builtInAgent(models.defaultModels), source: 'built-in' as const },
      ...agentDefinitions.map((definition) => ({ definition, source: 'file' as const })),
    ],
  });
  const orchestrator = createOrchestrator({
    engine,
    bus,
    agents: catalog,
    defaultAgent: defaultAgentName,
    dispatch: config.runs,
  });
  const services = {
    sessions: orchestrator.sessions,
    runs: orchestrator.runs,
    approvals: createApprovals({ engine, wake: orchestrator.wake }),
    agents: createAgents({ catalog }),
    tools: createTools({ engine, agents: catalog }),
    models: createModels({ llm: models.llm }),
    budgets: createBudgets({ store, clock }),
    keys: createKeys({ store, clock, ids, pepper }),
  };
  return { orchestrator, services, metrics };
}

/** How often the clock of this process is compared with the database's. */
const followMs = 15_000;

/** Keeps the clock right for as long as the store is open; the result ends that. */
function keepFollowing(clock: SharedClock, store: Store, logger: Logger): () => Promise<void> {
  let reading = Promise.resolve();
  const cancel = systemTimers.every(followMs, () => {
    reading = clock
      .follow(() => store.now())
      .catch((error: unknown) => logger.warn({ err: error }, 'the clock could not be compared with that of the database'));
  });
  return async () => {
    cancel();
    await reading;
  };
}

async function makeDataDir(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw explainDataDir(error, path);
  }
}

function storeOptions({ databaseUrl, dataDir, sqlite, postgres, storage }: NexusConfig) {
  const place = databaseUrl === undefined ? { dataDir } : { url: databaseUrl };
  return { ...place, ...sqlite, ...postgres, ...storage };
}

function sandboxOptions({ sandbox }: NexusConfig) {
  const { maxThreads, maxQueued, idleMs, ...limits } = sandbox;
  return { limits, maxQueued, idleMs, ...(maxThreads === undefined ? {} : { maxThreads }) };
}

function workspaceLimits({ workspace }: NexusConfig) {
  const { maxBytes, maxFiles, maxFileBytes, maxVisited } = workspace;
  return { maxWorkspaceBytes: maxBytes, maxWorkspaceFiles: maxFiles, maxFileBytes, maxVisited };
}

const defaultTenant = 'default' as Parameters<Store['listApprovals']>[0]; // the tenant of the local operator

function busKind(config: NexusConfig): { readonly kind: 'memory' } | { readonly kind: 'postgres' | 'redis'; readonly url: string } {
  const wanted =
    config.bus === 'auto'
      ? config.redisUrl !== undefined
        ? 'redis'
        : config.databaseUrl !== undefined
          ? 'postgres'
          : 'memory'
      : config.bus;
  if (wanted === 'memory') return { kind: 'memory' };
  const url = wanted === 'redis' ? config.redisUrl : config.databaseUrl;
  if (url === undefined) throw new NexusError('config_invalid', `bus: ${wanted} needs ${wanted === 'redis' ? 'redisUrl' : 'databaseUrl'}`);
  return { kind: wanted, url };
}

/** The operator's policies. Only the folder's default place may be missing: one that was named and is not there must not mean fewer rules. */
async function loadPolicies(config: NexusConfig): ReturnType<typeof loadPolicyFolder> {
  if (config.policiesDir === `${config.dataDir}/policies` && !existsSync(config.policiesDir)) return [];
  return loadPolicyFolder(config.policiesDir);
}

/** The secret under which API keys are hashed: made once, readable by this user only. */
async function readPepper(dataDir: string): Promise<Uint8Array> {
  const path = join(dataDir, 'key-secret');
  try {
    const file = await open(path, 'wx', 0o600);
    try {
      const fresh = randomBytes(32);
      await file.writeFile(fresh);
      await file.sync();
      return fresh;
    } finally {
      await file.close();
    }
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw explainDataDir(error, dataDir);
    const stored = await readFile(path);
    if (stored.length !== 32)
      throw new NexusError('config_invalid', `${path} is damaged: it must hold 32 bytes. Without it existing API keys cannot be checked`);
    return stored;
  }
}

/** Brings the schema of the configured database up to date. */
export async function migrateStore(config: NexusConfig): Promise<void> {
  await makeDataDir(config.dataDir);
  const store = await openStore({
    ...storeOptions(config),
    ledgerRules,
    clock: systemClock,
    timers: systemTimers,
    ids: createIdSource(systemClock),
  });
  await store.close();
}
