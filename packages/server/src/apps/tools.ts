import type { NexusConfig } from '#apps/config';
import { type Clock, type SecretValues, systemTimers, type WaitObserver } from '#core';
import type { Logger, Metrics, TurnQueue } from '#telemetry';
import { createFixedSource, createSandbox, createToolService, type OwnListeners, type Tool, type ToolService } from '#tools';
import { createBuiltinTools } from '#tools/sources';
import { egressOptions } from './egress.ts';
import type { OpenedFiles } from './session-files.ts';

export interface ToolParts {
  readonly config: NexusConfig;
  /** Tools of the program that this server is a part of. */
  readonly given: readonly Tool[];
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly files: OpenedFiles;
  readonly known: SecretValues;
  readonly own: OwnListeners;
  readonly closers: (() => Promise<void> | void)[];
}

/** The agent core of this process: where tools come from, what they run in, and the service over them. Closed by `closers`. */
export function openTools({ config, given, clock, logger, metrics, files, known, own, closers }: ToolParts): ToolService {
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
  const { files: _files, remote: _remote, ...limits } = config.tools;
  const service = createToolService({
    sources: [createFixedSource(given, builtin)],
    clock,
    timers: systemTimers,
    folders: files.folders,
    secrets: known,
    ...limits,
    onLeftOut: (tenantId, faults) => logger.warn({ tenantId, faults: faults.slice(0, 20) }, 'tools were left out of the list of a tenant'),
    onFault: (fault) => logger.error({ ...fault }, 'a tool failed inside'),
  });
  closers.push(() => service.close());
  return service;
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
