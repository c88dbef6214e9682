import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { NexusConfig } from '#apps/config';
import { type Clock, systemClock, systemTimers } from '#core';
import type { Logger } from '#telemetry';
import { openOwnFolder, type PluginPackage, type Tool } from '#tools';
import { createPluginPrograms, type PluginPrograms } from '#tools/sources';
import { openJail } from './jail.ts';
import { programLimits } from './mcp-servers.ts';

export interface PluginTrialOptions {
  readonly config: NexusConfig;
  readonly version: string;
}

export interface PluginTrial {
  /** Its tools, as a server would have them. Throws what makes it one that could not be started. */
  toolsOf(plugin: PluginPackage): readonly Tool[];
  close(): Promise<void>;
}

interface PluginProgramParts {
  readonly config: NexusConfig;
  readonly version: string;
  readonly clock: Clock;
  readonly logger: Pick<Logger, 'warn'>;
  readonly closers: (() => Promise<void> | void)[];
}

/** What runs plugins that are programs, as this process does. No program starts before it is called. Closed by `closers`. */
export function openPluginPrograms({ config, version, clock, logger, closers }: PluginProgramParts): PluginPrograms {
  const { allowPrivate: _allowPrivate, oauth: _oauth, stdio, ...settings } = config.mcpClient;
  const { jail, limits } = openJail(config);
  const root = join(config.dataDir, 'plugins');
  const open = () =>
    openOwnFolder({
      ...{ root, name: randomBytes(12).toString('hex'), timers: systemTimers },
      onError: (error) => logger.warn({ err: error }, 'the folder of plugins cannot be kept tidy'),
    });
  // What a process that was killed left there goes also where nobody calls a program any more.
  const early = existsSync(root)
    ? open().catch((error: unknown) => {
        logger.warn({ err: error }, 'the folder of plugins cannot be opened');
        return undefined;
      })
    : undefined;
  const programs = createPluginPrograms({
    ...settings,
    ...{ clock, timers: systemTimers, version, jail, tenants: config.plugins.programs.tenants },
    jailLimits: programLimits(limits, stdio),
    openFolder: async () => (await early) ?? open(),
  });
  closers.push(async () => {
    await programs.close();
    await (await early)?.close();
    await jail.close();
  });
  return programs;
}

/** Runs programs for their author, in a folder that goes with it: who has them here may run them. */
export async function openTrial({ config, version }: PluginTrialOptions): Promise<PluginTrial> {
  const author = 'local';
  const dataDir = await mkdtemp(join(tmpdir(), 'nexus-plugin-'));
  const closers: (() => Promise<void> | void)[] = [() => rm(dataDir, { recursive: true, force: true })];
  const own = { ...config, dataDir, plugins: { ...config.plugins, programs: { tenants: [author] } } };
  const programs = openPluginPrograms({ config: own, version, clock: systemClock, logger: { warn: () => undefined }, closers });
  return {
    toolsOf({ manifest, digest, files }) {
      programs.check(author, manifest);
      return programs.toolsOf({ tenantId: author, manifest, digest, files });
    },
    async close() {
      for (const close of closers.reverse()) await close();
    },
  };
}
