import type { NexusConfig } from '#apps/config';
import type { Bus } from '#bus';
import { type Clock, type IdSource, type SecretValues, systemTimers, type WaitObserver } from '#core';
import type { Store } from '#storage';
import type { Logger, Metrics, TurnQueue } from '#telemetry';
import {
  createFixedSource,
  createSandbox,
  createToolService,
  type OwnListeners,
  type Tool,
  type ToolService,
  type ToolSource,
  type WorkerDesk,
} from '#tools';
import { createBuiltinTools, createSourceHeads, createWorkers } from '#tools/sources';
import { egressOptions } from './egress.ts';
import type { OpenedFiles } from './session-files.ts';

export interface ToolParts {
  readonly config: NexusConfig;
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
}

export interface OpenedTools {
  readonly service: ToolService;
  readonly desk: WorkerDesk;
}

/** The agent core of this process: where tools come from, what they run in, and the service over them. Closed by `closers`. */
export function openTools(parts: ToolParts): OpenedTools {
  const { config, given, sources, clock, ids, store, bus, logger, metrics, files, known, own, closers } = parts;
  const sandbox = createSandbox({ clock, timers: systemTimers, observer: turnsOf(metrics, 'sandbox'), ...sandboxOptions(config) });
  closers.push(() => sandbox.close());
  const builtin = createBuiltinTools({
    sandbox,
    workspaces: files.workspaces,
    http: {
      ...{ clock, timers: systemTimers, observer: turnsOf(metrics, 'http_fetch') },
      ...config.httpFetch,
      ...egressOptions(config.httpFetch.allowPrivate),
      isOwnListener: own.isOwn,
    },
  });
  const { files: _files, workers: ofWorkers, ...limits } = config.tools;
  const heads = createSourceHeads({ store, clock });
  const workers = createWorkers({
    ...{ store, clock, ids, bus, heads, timers: systemTimers, settings: ofWorkers, nodeId: ids.next<string>('worker') },
    onError: (error) => logger.warn({ err: error }, 'what is kept of tool workers could not be read or written; it is tried again'),
  });
  closers.push(() => workers.desk.close());
  const service = createToolService({
    sources: [createFixedSource(given, builtin), workers.source, ...sources],
    clock,
    timers: systemTimers,
    folders: files.folders,
    secrets: known,
    ...limits,
    onLeftOut: (tenantId, faults) => logger.warn({ tenantId, faults: faults.slice(0, 20) }, 'tools were left out of the list of a tenant'),
    onFault: (fault) => logger.error({ ...fault }, 'a tool failed inside'),
  });
  closers.push(() => service.close());
  return { service, desk: workers.desk };
}

function turnsOf(metrics: Metrics, queue: TurnQueue): WaitObserver {
  return {
    depth: (waiting) => metrics.turnsWaiting(queue, waiting),
    ended: (outcome, waitedMs) => metrics.turnEnded({ queue, outcome, waitedMs }),
  };
}

function sandboxOptions({ sandbox }: NexusConfig) {
  const { maxThreads, spareThreads, maxQueued, maxWaitMs, idleMs, ...limits } = sandbox;
  return { limits, spareThreads, maxQueued, maxWaitMs, idleMs, ...(maxThreads === undefined ? {} : { maxThreads }) };
}
