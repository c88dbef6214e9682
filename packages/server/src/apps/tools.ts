import type { HttpToolSource } from '@nexus-agent/protocol';
import type { NexusConfig } from '#apps/config';
import type { Bus } from '#bus';
import type { ToolSourceRules } from '#control';
import { type Clock, type IdSource, type SecretValues, systemTimers } from '#core';
import type { Store, ToolSourceKind, ToolSourceRow } from '#storage';
import type { Logger, Metrics } from '#telemetry';
import {
  createFixedSource,
  createLongTexts,
  createSandbox,
  createToolService,
  createWasmSandbox,
  type LongTexts,
  type OwnListeners,
  type PluginPackage,
  type Tool,
  type ToolService,
  type ToolSource,
  tryOutPlugin,
  type WorkerDesk,
} from '#tools';
import {
  createBuiltinTools,
  createFollowedSources,
  createHttpApis,
  createPluginSource,
  createProgramStates,
  createSourceHeads,
  createWorkers,
} from '#tools/sources';
import { egressOptions } from './egress.ts';
import { openJail } from './jail.ts';
import { openPluginPrograms } from './plugin-programs.ts';
import { withCallsHere } from './remote-tools.ts';
import { fileStoreKind, type OpenedFiles } from './session-files.ts';
import { countedCall, trafficOf, turnsOf } from './tool-counts.ts';
import { createEdgeSecrets, createToolSecrets } from './tool-secrets.ts';

export interface ToolParts {
  readonly config: NexusConfig;
  readonly version: string;
  /** Tools of the program that this server is a part of. */
  readonly given: readonly Tool[];
  /** What else tools come from, after those that are built in and given. */
  readonly sources: readonly ToolSource[];
  readonly clock: Clock;
  readonly ids: IdSource;
  readonly store: Store;
  readonly bus: Bus;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly files: OpenedFiles;
  readonly known: SecretValues;
  readonly own: OwnListeners;
  readonly closers: (() => Promise<void> | void)[];
  /** The agent core of another process, where tools run. */
  readonly remote?: ToolService | undefined;
}

export interface OpenedTools {
  readonly service: ToolService;
  readonly desk: WorkerDesk;
  /** What installing plugins needs of what runs them. */
  readonly plugins: {
    tryOut(tenantId: string, plugin: PluginPackage, signal: AbortSignal): Promise<void>;
    onChange(tenantId: string): void;
  };
  /** What may be put of each kind of source. */
  readonly kinds: Partial<Record<ToolSourceKind, ToolSourceRules>>;
  /** Told that this process changed what a tenant's tools come from. */
  readonly onSourcesChanged: (tenantId: string) => void;
}

/** The agent core of this process: where tools come from, what they run in, and the service over them. Closed by `closers`. */
export function openTools(parts: ToolParts): OpenedTools {
  const { config, version, given, sources, clock, ids, store, bus, logger, metrics, files, known, own, closers, remote } = parts;
  const sandbox = createSandbox({ clock, timers: systemTimers, observer: turnsOf(metrics, 'sandbox'), ...sandboxOptions(config) });
  closers.push(() => sandbox.close());
  const { jail, limits: jailLimits, turns: jailTurns, network } = openJail(config);
  closers.push(() => jail.close());
  const egress = {
    ...config.httpFetch,
    ...egressOptions(config.httpFetch.allowPrivate),
    isOwnListener: own.isOwn,
  };
  const secrets = createEdgeSecrets(config);
  const builtin = createBuiltinTools({
    sandbox,
    workspaces: files.workspaces,
    clock,
    timers: systemTimers,
    states: createProgramStates(files.blobs),
    artifacts: { store, blobs: files.blobs, maxOutputChars: config.tools.maxOutputChars },
    http: { ...egress, secrets, observer: turnsOf(metrics, 'http_fetch'), traffic: trafficOf(metrics, 'http_fetch') },
    jailed: {
      ...{ jail, clock, timers: systemTimers, limits: jailLimits, observer: turnsOf(metrics, 'jail'), ...jailTurns },
      network: { ...network, secrets, egress: { ...egress, traffic: trafficOf(metrics, 'jail') } },
    },
  });
  const http = createHttpApis({
    ...egress,
    clock,
    timers: systemTimers,
    observer: turnsOf(metrics, 'http_tools'),
    traffic: trafficOf(metrics, 'http_tools'),
    secrets: createToolSecrets(config),
    known,
  });
  const modules = createWasmSandbox({ clock, timers: systemTimers, observer: turnsOf(metrics, 'plugins'), ...moduleOptions(config) });
  closers.push(() => modules.close());
  metrics.observePools(() => [
    { pool: 'sandbox', ...sandbox.load() },
    { pool: 'plugins', ...modules.load() },
    { pool: 'jail', busy: jail.alive(), idle: 0 },
  ]);
  const programs = openPluginPrograms({ config, version, clock, logger, closers });
  const plugins = createPluginSource({
    ...{ store, clock, bus, programs, sandbox: modules, workspaces: files.workspaces, trustedKeys: config.plugins.trustedKeys },
    fetchTool: builtin.find(({ name }) => name === 'http_fetch') ?? null,
    onFault: (fault) => logger.warn(fault, 'a plugin cannot be used'),
  });
  closers.push(() => plugins.close());
  const { files: _files, remote: _remote, workers: ofWorkers, artifacts: _artifacts, ...limits } = config.tools;
  const heads = createSourceHeads({ store, clock, bus });
  closers.push(() => heads.close());
  const workers = createWorkers({
    ...{ store, clock, ids, bus, heads, timers: systemTimers, settings: ofWorkers, nodeId: ids.next<string>('worker') },
    onError: (error) => logger.warn({ err: error }, 'what is kept of tool workers could not be read or written; it is tried again'),
    onLost: (about, message) => logger.warn(about, message),
  });
  closers.push(() => workers.desk.close());
  const ofHttp = createFollowedSources<Tool>({
    ...{ kind: 'http', heads, store },
    build: (row) => http.build(row).catch((error: unknown) => withoutTools(logger, row, error)),
  });
  const settings = {
    clock,
    timers: systemTimers,
    folders: files.folders,
    secrets: known,
    ...limits,
    ...keepingOf(config, files, () => ids.next<string>('artifact')),
    turns: turnsOf(metrics, 'tools'),
    onEnd: (call: Parameters<typeof countedCall>[0]) => {
      const counted = countedCall(call);
      if (counted !== null) metrics.toolExecuted(counted);
    },
    onFault: (fault: object) => logger.error({ ...fault }, 'a tool failed inside'),
  };
  const service = createToolService({
    ...settings,
    sources: [createFixedSource(given, builtin), workers.source, { tools: ofHttp }, plugins, ...sources],
    onLeftOut: (tenantId, faults) => logger.warn({ tenantId, faults: faults.slice(0, 20) }, 'tools were left out of the list of a tenant'),
  });
  closers.push(() => service.close());
  const toWorkers = remote === undefined ? undefined : createToolService({ ...settings, sources: [workers.source] });
  if (toWorkers !== undefined) closers.push(() => toWorkers.close());
  return {
    service: remote === undefined || toWorkers === undefined ? service : withCallsHere(remote, toWorkers),
    desk: workers.desk,
    kinds: { http: rulesOfHttp(http) },
    onSourcesChanged: heads.changed,
    plugins: {
      async tryOut(tenantId, plugin, signal) {
        if (plugin.manifest.tier === 'T2') programs.check(tenantId, plugin.manifest);
        await tryOutPlugin(plugin, { sandbox: modules, others: await service.list(tenantId), signal });
      },
      onChange: plugins.changed,
    },
  };
}

/** Keeps what clients give as the results of tools are kept. */
export function openLongTexts({
  config,
  files,
  ids,
  known,
  logger,
}: Pick<ToolParts, 'config' | 'files' | 'ids' | 'known' | 'logger'>): LongTexts {
  return createLongTexts({
    ...{ maxOutputChars: config.tools.maxOutputChars, secrets: known, timers: systemTimers },
    artifacts: keepingOf(config, files, () => ids.next<string>('artifact')).artifacts,
    onFault: (error) => logger.error({ err: error }, 'what a client gave could not be kept'),
  });
}

/** What is kept of results that are too long: no more than where it is kept takes. */
function keepingOf(
  config: NexusConfig,
  { blobs }: Pick<OpenedFiles, 'blobs'>,
  nextId: () => string,
): { readonly artifacts?: { readonly blobs: OpenedFiles['blobs']; readonly nextId: () => string; readonly maxBytes: number } } {
  const { artifacts, files } = config.tools;
  const maxBytes = fileStoreKind(config) === 'database' ? Math.min(artifacts.maxBytes, files.database.maxBlobBytes) : artifacts.maxBytes;
  return maxBytes === 0 ? {} : { artifacts: { blobs, nextId, maxBytes } };
}

/** One whose tools cannot be made has none, and the others keep theirs. */
function withoutTools(logger: Logger, { tenantId, kind, name }: ToolSourceRow, error: unknown): readonly Tool[] {
  logger.error({ tenantId, kind, name, err: error }, 'the tools of a source cannot be made');
  return [];
}

function rulesOfHttp(http: ReturnType<typeof createHttpApis>): ToolSourceRules {
  return {
    describe(definition) {
      const { name, tools } = definition as HttpToolSource; // the schema of the route has let it through
      return { name, tools: tools.map((tool) => tool.name) };
    },
    check: (tenantId, definition) => http.check(tenantId, definition as HttpToolSource), // as above
  };
}

function moduleOptions({ sandbox, plugins }: NexusConfig) {
  const { maxThreads, spareThreads, maxQueued, maxWaitMs, idleMs } = sandbox;
  const { fuel, wallMs, memoryBytes, maxOutputBytes } = plugins;
  const limits = { fuel, wallMs, memoryBytes, maxOutputBytes };
  return { limits, spareThreads, maxQueued, maxWaitMs, idleMs, ...(maxThreads === undefined ? {} : { maxThreads }) };
}

function sandboxOptions({ sandbox }: NexusConfig) {
  const { maxThreads, spareThreads, maxQueued, maxWaitMs, idleMs, jail: _jail, ...limits } = sandbox;
  return { limits, spareThreads, maxQueued, maxWaitMs, idleMs, ...(maxThreads === undefined ? {} : { maxThreads }) };
}
