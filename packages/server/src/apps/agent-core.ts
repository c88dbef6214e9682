import type { TenantId } from '@nexus-agent/protocol';
import { isLoopbackHost } from '#api';
import { type NexusConfig, secretsOfConfig } from '#apps/config';
import { type Clock, createIdSource, NexusError, type SecretValues, settlesWithin, systemClock, systemTimers } from '#core';
import { operatorTenant } from '#policy';
import { createSharedClock, type Store } from '#storage';
import { createLogger, createMetrics, type Logger } from '#telemetry';
import { createOwnListeners, type Tool } from '#tools';
import { keepAgentCoreToken } from './agent-core-token.ts';
import { trustAuthorities } from './authorities.ts';
import { startCoreWatch } from './core-watch.ts';
import { makeDataFolder } from './data-folder.ts';
import { requireFolder } from './definition-folder.ts';
import { createInvariantWatch } from './invariants.ts';
import { tellUncaught } from './last-words.ts';
import { openMcpServers } from './mcp-servers.ts';
import { createStoreOutages } from './outages.ts';
import { clearedOfSecrets, closeInTurn, keepFollowing, keepPrivate, openConfiguredBus, openDatabase } from './process-parts.ts';
import { readPem } from './remote-tools.ts';
import { openFiles } from './session-files.ts';
import { openTools } from './tools.ts';

export interface AgentCoreOptions {
  readonly config: NexusConfig;
  readonly version: string;
  readonly logger?: Logger;
  readonly clock?: Clock;
  /** What is worth a warning of how it was configured, as sentences; they go to the log. */
  readonly notes?: readonly string[];
  /** Tools besides the built-in ones: for embedding, and for tests. */
  readonly tools?: readonly Tool[];
  /** The process is this server and nothing else: an error that nobody caught is told in the log and ends it. */
  readonly ownsProcess?: boolean;
  /** Aborted while it starts: what was opened is closed in good order, and the start rejects with its reason. */
  readonly signal?: AbortSignal;
}

export interface AgentCore {
  /** `host:port`, as `tools.remote.address` of its callers has it. */
  readonly address: string;
  readonly port: number;
  /** Where its health and metrics are told. */
  readonly watchUrl: string;
  /** Takes no calls any more, lets those under way finish within `drainMs`, and closes everything. Idempotent. */
  close(): Promise<void>;
}

/** Starts the agent core alone, served over gRPC, and resolves when it is ready. Leaves nothing open when it throws. */
export async function startAgentCore(options: AgentCoreOptions): Promise<AgentCore> {
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
    if (options.ownsProcess === true) closers.push(tellUncaught({ logger, ids, exit: (code) => process.exit(code), liveRuns: () => 0 }));
    const goOn = () => options.signal?.throwIfAborted();
    await trustAuthorities(config);
    await makeDataFolder(config.dataDir);
    await keepPrivate(config.dataDir, logger);
    if (config.workspaceSeed !== undefined) await requireFolder(config.workspaceSeed, 'workspaceSeed (NEXUS_WORKSPACE_SEED)');
    const access = await accessOf(config, known, logger);
    const broken = createInvariantWatch({ logger, clock });
    const store = outages.watch(await openDatabase(config, { clock, ids, logger, onBroken: broken.onBroken, signal: options.signal }));
    closers.push(() => store.close());
    goOn();
    await clock.follow(() => store.now());
    closers.push(keepFollowing(clock, store, logger));
    const metrics = createMetrics(clock, { version, database: store.dialect });
    closers.push(() => metrics.close());
    metrics.observeStore(store);
    broken.count(metrics);
    const files = await openFiles({ config, store, clock, timers: systemTimers, logger });
    closers.push(() => files.close());
    const own = createOwnListeners();
    own.add(config.grpc.port);
    const state = { isOpen: false };
    const watch = await startCoreWatch({
      ...watchOf(config, access),
      ...{ version, timers: systemTimers, scrape: () => metrics.scrape() },
      unready: async () => (state.isOpen ? answersOf(store) : 'this process starts, or is draining'),
      onTrouble: (error, message) => logger.warn({ err: error }, message),
    });
    own.add(watch.port);
    closers.push(() => watch.close()); // last of what is reached from outside: who watches sees it drain
    const bus = await openConfiguredBus(config, { logger, clock });
    closers.push(() => bus.close());
    const mcp = openMcpServers({ version, config, store, clock, logger, metrics, own, files, closers });
    const { service } = openTools({
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
      },
    });
    metrics.observeNames({ models: async () => [], tools: () => service.list(operatorTenant) });
    goOn();
    const { startToolServer } = await import('#tools/wire');
    const { tls: _tls, token: _token, metrics: _metrics, ...limits } = config.grpc;
    const server = await startToolServer({
      ...{ ...limits, ...access, service, timers: systemTimers },
      onTrouble: (error, message) => logger.warn({ err: error }, message),
    });
    closers.push(async () => {
      state.isOpen = false;
      logger.info({ drainMs: config.drainMs, calls: server.running() }, 'draining');
      await server.close(config.drainMs);
      logger.info({}, 'drained');
    });
    goOn();
    own.add(server.port);
    const address = `${config.grpc.host}:${server.port}`;
    state.isOpen = true;
    logger.info({ version, address, tls: access.tls !== undefined, watch: watch.url }, 'ready');
    return {
      ...{ address, port: server.port, watchUrl: watch.url },
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

const answersWithinMs = 2_000;

/** Who asks whether it is ready has less patience than whoever wants work done. */
async function answersOf(store: Store): Promise<string | undefined> {
  // Any tenant does: the question is whether the database answers.
  const answered = store.listSessions(operatorTenant as TenantId, { limit: 1 }).then(
    () => true,
    () => false,
  );
  const inTime = await settlesWithin(systemTimers, answered, answersWithinMs);
  return inTime && (await answered) ? undefined : 'the database does not answer';
}

/** Where health and metrics are told, and who may read them. */
function watchOf({ grpc }: NexusConfig, access: Access) {
  const { host, port = grpc.port === 0 ? 0 : grpc.port + 1, token } = grpc.metrics;
  if (port > 65_535)
    throw new NexusError('config_invalid', 'grpc.metrics.port (NEXUS_GRPC_METRICS_PORT): there is none after grpc.port; set it');
  return { host, port, token: token ?? access.token, tls: access.tls };
}

interface Access {
  readonly token?: string;
  readonly tls?: { readonly cert: Buffer; readonly key: Buffer; readonly clientCa?: Buffer };
}

/** Who may call: whoever calls runs tools of any tenant, so nobody does without a token or a certificate. */
async function accessOf(config: NexusConfig, known: SecretValues, logger: Logger): Promise<Access> {
  const { host, token, tls, metrics } = config.grpc;
  const [cert, key, clientCa] = await Promise.all([
    readPem('grpc.tls.cert', tls.cert),
    readPem('grpc.tls.key', tls.key),
    readPem('grpc.tls.clientCa', tls.clientCa),
  ]);
  if ((cert === undefined) !== (key === undefined) || (clientCa !== undefined && cert === undefined))
    throw new NexusError(
      'config_invalid',
      'grpc.tls.cert and grpc.tls.key belong together, and grpc.tls.clientCa needs both: one of them is missing',
    );
  if (!isLoopbackHost(metrics.host) && (metrics.token ?? token) === undefined && clientCa === undefined)
    throw new NexusError(
      'config_invalid',
      `grpc.metrics.host ${metrics.host} can be reached from other machines: set grpc.metrics.token (NEXUS_GRPC_METRICS_TOKEN), or grpc.tls with a clientCa`,
    );
  if (!isLoopbackHost(host)) {
    if (token === undefined && clientCa === undefined)
      throw new NexusError(
        'config_invalid',
        `grpc.host ${host} can be reached from other machines: set grpc.token (NEXUS_GRPC_TOKEN), or grpc.tls with a clientCa`,
      );
    if (cert === undefined)
      logger.warn({ host }, 'the agent core is served without TLS: its token, and what tools are given and give, can be read on the way');
  }
  const made = token ?? (clientCa === undefined ? await keepAgentCoreToken(config) : undefined);
  if (made !== undefined) known.add([made]);
  return {
    ...(made === undefined ? {} : { token: made }),
    ...(cert === undefined || key === undefined ? {} : { tls: { cert, key, ...(clientCa === undefined ? {} : { clientCa }) } }),
  };
}
