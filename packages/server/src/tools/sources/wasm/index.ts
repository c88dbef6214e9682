import type { TenantId } from '@nexus-agent/protocol';
import { LRUCache } from 'lru-cache';
import { z } from 'zod';
import { type Bus, openTopic } from '#bus';
import { type Clock, NexusError } from '#core';
import type { ToolSourceStore } from '#storage';
import type { Tool, ToolSource } from '#tools/contract';
import {
  createPluginKeys,
  createPluginTools,
  digestOfRow,
  fromInstalled,
  type InstalledPlugin,
  maxTenantPluginBytes,
  type PluginKeys,
  type PluginToolParts,
  pluginKeyKind,
  refusalOfPlugin,
} from '#tools/plugins';
import type { PluginPrograms } from '../mcp/index.ts';

export interface PluginSourceOptions extends PluginToolParts {
  readonly store: Pick<ToolSourceStore, 'toolSourceHeads' | 'getToolSource'>;
  readonly clock: Pick<Clock, 'monotonic'>;
  /** Whose plugins all tenants may have. */
  readonly trustedKeys: readonly string[];
  /** What runs plugins of tier T2. Owned by the caller. */
  readonly programs: Pick<PluginPrograms, 'toolsOf' | 'keepOnly'>;
  readonly bus: Bus;
  /** A node learns of what another one installed within this time. */
  readonly refreshMs?: number;
  /** Hears of a plugin that cannot be used. */
  readonly onFault: (fault: { readonly tenantId: string; readonly plugin: string; readonly why: string }) => void;
}

export interface PluginSource extends ToolSource {
  /** What is installed, or trusted, changed: the next call looks, and programs that are no longer wanted end, on all nodes. */
  changed(tenantId: string): void;
  close(): Promise<void>;
}

interface LoadedPlugin {
  readonly name: string;
  readonly version: string;
  readonly tools: readonly Tool[];
  readonly bytes: number;
  readonly plugin: Pick<InstalledPlugin, 'signedBy' | 'isTrusted'> | null;
}

interface LoadedTenant {
  readonly plugins: readonly LoadedPlugin[];
  readonly tools: readonly Tool[];
  readonly keys: PluginKeys;
  /** Of what is known of keys. */
  readonly keysMark: string;
}

/** Of all tenants; those of one fit in any case. */
const maxKeptBytes = 2 * maxTenantPluginBytes;
const Changed = z.object({ tenantId: z.string() });

/**
 * The tools of the plugins that a tenant has installed. One that is put or removed is there or gone for the next call; a call that began
 * keeps what it began with.
 */
export function createPluginSource(options: PluginSourceOptions): PluginSource {
  const { store, clock, refreshMs = 1_000, onFault, trustedKeys, programs, bus } = options;
  const nothing: LoadedTenant = { plugins: [], tools: [], keys: createPluginKeys(trustedKeys, []), keysMark: '' };
  const tenants = new LRUCache<string, LoadedTenant>({ maxSize: maxKeptBytes });
  const checkedAt = new LRUCache<string, number>({ max: 10_000 });
  const loading = new Map<string, Promise<LoadedTenant>>();
  const background = new Set<Promise<void>>();
  const news = openTopic(bus, 'plugins', Changed);

  async function load(tenantId: string, name: string, version: string): Promise<LoadedPlugin> {
    const row = await store.getToolSource(tenantId as TenantId, 'plugin', name); // a tenant of the caller's
    const plugin = row === null ? null : fromInstalled(row.content);
    if (plugin === null) {
      // It may have gone since it was listed; what cannot be read is somebody's business.
      if (row !== null) onFault({ tenantId, plugin: name, why: 'what is kept of it cannot be read; install it again' });
      return { name, version, tools: [], bytes: 0, plugin: null };
    }
    const digest = digestOfRow(row?.version ?? version);
    const { manifest, modules, signedBy, isTrusted, bytes } = plugin;
    const made =
      manifest.tier === 'T2'
        ? programs.toolsOf({ tenantId, manifest, digest, files: contentsOf(modules) })
        : createPluginTools(manifest, modules, options);
    const about = { signedBy, isTrusted };
    return {
      name,
      version: row?.version ?? version,
      tools: made.map((tool) => whileTrusted(tool, tenantId, name, about)),
      bytes,
      plugin: about,
    };
  }

  /** Asked at the start of each call, so that a key that is trusted no more ends nothing but the next ones. */
  function whileTrusted(tool: Tool, tenantId: string, name: string, about: Pick<InstalledPlugin, 'signedBy' | 'isTrusted'>): Tool {
    return {
      ...tool,
      async execute(input, context) {
        const why = refusalOfPlugin(about, (await current(tenantId)).keys);
        if (why !== null) throw new NexusError('policy_denied', `the plugin ${name} is refused: ${why}`);
        return tool.execute(input, context);
      },
    };
  }

  async function refresh(tenantId: string): Promise<LoadedTenant> {
    const all = await store.toolSourceHeads(tenantId as TenantId); // a tenant of the caller's
    const heads = all.filter(({ kind }) => kind === 'plugin');
    const keys = all.filter(({ kind }) => kind === pluginKeyKind);
    const keysMark = keys.map(({ name, version }) => `${name} ${version}`).join('\n');
    const known = tenants.get(tenantId) ?? nothing;
    const isSame =
      heads.length === known.plugins.length && heads.every(({ name, version }, index) => fits(known.plugins[index], name, version));
    let loaded = known;
    if (!isSame) {
      const plugins: LoadedPlugin[] = [];
      let held = 0;
      for (const { name, version } of heads) {
        const found = known.plugins.find((plugin) => plugin.plugin !== null && fits(plugin, name, version));
        const next = found ?? (await load(tenantId, name, version));
        const hasRoom = held + next.bytes <= maxTenantPluginBytes;
        if (!hasRoom)
          onFault({ tenantId, plugin: name, why: `the plugins of the tenant have more than ${maxTenantPluginBytes} bytes; remove some` });
        plugins.push(hasRoom ? next : { ...next, tools: [], bytes: 0, plugin: null });
        held += hasRoom ? next.bytes : 0;
      }
      loaded = { ...loaded, plugins, tools: plugins.flatMap(({ tools }) => tools) };
    }
    return keysMark === loaded.keysMark ? loaded : { ...loaded, keysMark, keys: createPluginKeys(trustedKeys, keys) };
  }

  function keep(tenantId: string, current: LoadedTenant, askedAt: number): void {
    tenants.set(tenantId, current, { size: current.plugins.reduce((sum, { bytes }) => sum + bytes, 1_000) });
    checkedAt.set(tenantId, askedAt);
    programs.keepOnly(
      tenantId,
      current.plugins
        .filter(({ plugin }) => plugin !== null && refusalOfPlugin(plugin, current.keys) === null)
        .map(({ name, version }) => ({ name, digest: digestOfRow(version) })),
    );
  }

  async function current(tenantId: string): Promise<LoadedTenant> {
    const at = checkedAt.get(tenantId);
    const known = tenants.get(tenantId); // it may have had to go for others
    if (known !== undefined && at !== undefined && clock.monotonic() - at < refreshMs) return known;
    const running = loading.get(tenantId);
    if (running !== undefined) return running;
    const askedAt = clock.monotonic();
    const isCurrent = () => loading.get(tenantId) === started;
    const started: Promise<LoadedTenant> = refresh(tenantId)
      .then((loaded) => {
        if (isCurrent()) keep(tenantId, loaded, askedAt);
        return loaded;
      })
      .finally(() => {
        if (isCurrent()) loading.delete(tenantId);
      });
    loading.set(tenantId, started);
    return started;
  }

  function forget(tenantId: string): void {
    const wasKnown = checkedAt.delete(tenantId);
    // What is being looked up may have been asked for before the change.
    const wasLoading = loading.delete(tenantId);
    if (!wasKnown && !wasLoading) return;
    // Nobody may ask again for long, and the program of a plugin that was removed is to end now.
    const work = current(tenantId)
      .then(() => undefined)
      .catch(() => undefined) // whoever asks next is told
      .finally(() => background.delete(work));
    background.add(work);
  }

  const endNews = news.subscribe(({ tenantId }) => forget(tenantId));

  return {
    tools: async (tenantId) => (await current(tenantId)).tools,
    changed(tenantId) {
      forget(tenantId);
      news.publish({ tenantId });
    },
    async close() {
      endNews();
      await Promise.all(background);
    },
  };
}

function contentsOf(modules: InstalledPlugin['modules']): ReadonlyMap<string, Uint8Array> {
  return new Map([...modules].map(([name, { bytes }]) => [name, bytes]));
}

function fits(plugin: LoadedPlugin | undefined, name: string, version: string): boolean {
  return plugin?.name === name && plugin.version === version;
}
