import { isTerminal, type RunId, type TenantId } from '@nexus-agent/protocol';
import type { NexusConfig } from '#apps/config';
import { type Clock, systemTimers } from '#core';
import type { Store } from '#storage';
import type { Logger, Metrics } from '#telemetry';
import type { JailLimits, OwnListeners } from '#tools';
import { createMcpServers, createProgramStates, type McpServersOfNode } from '#tools/sources';
import { egressOptions } from './egress.ts';
import { openJail } from './jail.ts';
import type { OpenedFiles } from './session-files.ts';
import { tokenSeal } from './token-seal.ts';
import { trafficOf } from './tool-counts.ts';

/** A program that lives longer is started anew. */
const longestMs = 14 * 86_400_000;
/** Of what it says to stderr, the last is kept. */
const stderrBytes = 4_096;

/** What a program that is an MCP server may take. */
export function programLimits(
  limits: JailLimits,
  { memoryBytes, cpuMs, processes }: Pick<JailLimits, 'memoryBytes' | 'cpuMs' | 'processes'>,
): JailLimits {
  return { ...limits, wallMs: longestMs, memoryBytes, cpuMs, processes, outputBytes: stderrBytes };
}

interface McpServerParts {
  readonly config: NexusConfig;
  readonly version: string;
  readonly store: Store;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly own: OwnListeners;
  readonly files: Pick<OpenedFiles, 'blobs'>;
  readonly closers: (() => Promise<void> | void)[];
}

/** The MCP servers of all tenants, as this process reaches them. Closed by `closers`. */
export function openMcpServers({ config, version, store, clock, logger, metrics, own, files, closers }: McpServerParts): McpServersOfNode {
  const { allowPrivate, oauth, ...settings } = config.mcpClient;
  const { jail, limits } = openJail(config);
  const servers = createMcpServers({
    ...{ store, clock, timers: systemTimers, version },
    ...settings,
    loginMs: oauth.loginMs,
    publicUrl: oauth.publicUrl,
    seal: tokenSeal(config),
    jail,
    jailLimits: programLimits(limits, settings.stdio),
    ...egressOptions(allowPrivate, 'mcpClient.allowPrivate'),
    isOwnListener: own.isOwn,
    traffic: trafficOf(metrics, 'mcp'),
    states: createProgramStates(files.blobs),
    async isRunOver(tenantId, runId) {
      const run = await store.getRun(tenantId as TenantId, runId as RunId); // as the call was made with
      return run === null || isTerminal(run.status);
    },
    onNotice: ({ error, ...about }, message) => logger.warn({ ...about, ...(error === undefined ? {} : { err: error }) }, message),
  });
  closers.push(async () => {
    await servers.close();
    await jail.close();
  });
  return servers;
}
