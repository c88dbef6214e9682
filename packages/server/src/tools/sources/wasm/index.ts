import type { TenantId } from '@nexus-agent/protocol';
import { LRUCache } from 'lru-cache';
import type { Clock } from '#core';
import type { ToolSourceStore } from '#storage';
import type { Tool, ToolSource } from '#tools/contract';
import { createPluginTools, fromInstalled, type PluginToolParts } from '#tools/plugins';

export interface PluginSourceOptions extends PluginToolParts {
  readonly store: Pick<ToolSourceStore, 'toolSourceHeads' | 'getToolSource'>;
  readonly clock: Pick<Clock, 'monotonic'>;
  /** A node learns of what another one installed within this time. */
  readonly refreshMs?: number;
  /** Hears of a plugin that cannot be used. */
  readonly onFault: (fault: { readonly tenantId: string; readonly plugin: string; readonly why: string }) => void;
}

export interface PluginSource extends ToolSource {
  /** What is installed changed: the next call looks. */
  forget(tenantId: string): void;
}

interface LoadedPlugin {
  readonly name: string;
  readonly version: string;
  readonly tools: readonly Tool[];
  readonly bytes: number;
}

interface LoadedTenant {
  readonly plugins: readonly LoadedPlugin[];
  readonly tools: readonly Tool[];
}

const maxKeptBytes = 128 * 1024 * 1024;
const nothing: LoadedTenant = { plugins: [], tools: [] };

/**
 * The tools of the plugins that a tenant has installed. One that is put or removed is there or gone for the next call; a call that began
 * keeps what it began with.
 */
export function createPluginSource(options: PluginSourceOptions): PluginSource {
  const { store, clock, refreshMs = 1_000, onFault } = options;
  const tenants = new LRUCache<string, LoadedTenant>({ maxSize: maxKeptBytes });
  const checkedAt = new LRUCache<string, number>({ max: 10_000 });
  const loading = new Map<string, Promise<readonly Tool[]>>();

  async function load(tenantId: string, name: string, version: string): Promise<LoadedPlugin> {
    const row = await store.getToolSource(tenantId as TenantId, 'plugin', name); // a tenant of the caller's
    const plugin = row === null ? null : fromInstalled(row.content);
    if (plugin === null) {
      // It may have gone since it was listed; what cannot be read is somebody's business.
      if (row !== null) onFault({ tenantId, plugin: name, why: 'what is kept of it cannot be read; install it again' });
      return { name, version, tools: [], bytes: 0 };
    }
    return {
      name,
      version: row?.version ?? version,
      tools: createPluginTools(plugin.manifest, plugin.modules, options),
      bytes: plugin.bytes,
    };
  }

  async function refresh(tenantId: string): Promise<LoadedTenant> {
    const heads = (await store.toolSourceHeads(tenantId as TenantId)).filter(({ kind }) => kind === 'plugin'); // a tenant of the caller's
    const known = tenants.get(tenantId) ?? nothing;
    const isSame =
      heads.length === known.plugins.length && heads.every(({ name, version }, index) => fits(known.plugins[index], name, version));
    let current = known;
    if (!isSame) {
      const plugins: LoadedPlugin[] = [];
      for (const { name, version } of heads) {
        plugins.push(known.plugins.find((plugin) => fits(plugin, name, version)) ?? (await load(tenantId, name, version)));
      }
      current = { plugins, tools: plugins.flatMap(({ tools }) => tools) };
    }
    return current;
  }

  function keep(tenantId: string, current: LoadedTenant, askedAt: number): void {
    if (current.plugins.length === 0) tenants.delete(tenantId);
    else tenants.set(tenantId, current, { size: current.plugins.reduce((sum, { bytes }) => sum + bytes, 1_000) });
    checkedAt.set(tenantId, askedAt);
  }

  return {
    forget(tenantId) {
      checkedAt.delete(tenantId);
      // What is being looked up may have been asked for before the change.
      loading.delete(tenantId);
    },
    async tools(tenantId) {
      const at = checkedAt.get(tenantId);
      if (at !== undefined && clock.monotonic() - at < refreshMs) return (tenants.get(tenantId) ?? nothing).tools;
      const running = loading.get(tenantId);
      if (running !== undefined) return running;
      const askedAt = clock.monotonic();
      const isCurrent = () => loading.get(tenantId) === started;
      const started: Promise<readonly Tool[]> = refresh(tenantId)
        .then((current) => {
          if (isCurrent()) keep(tenantId, current, askedAt);
          return current.tools;
        })
        .finally(() => {
          if (isCurrent()) loading.delete(tenantId);
        });
      loading.set(tenantId, started);
      return started;
    },
  };
}

function fits(plugin: LoadedPlugin | undefined, name: string, version: string): boolean {
  return plugin?.name === name && plugin.version === version;
}
