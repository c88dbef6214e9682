import type { Page, Plugin, PluginInstallRequest, TenantId } from '@nexus-agent/protocol';
import { type Clock, NexusError, toTimestamp } from '#core';
import type { Principal } from '#identity';
import { type PageRequest, type ToolSourceRow, type ToolSourceStore, viewPage } from '#storage';
import { fromInstalled, type InstalledPlugin, openPackage, type PluginPackage, toInstalled } from '#tools';

/** Plugins as people administer them. */
export interface Plugins {
  list(principal: Principal, page: PageRequest): Promise<Page<Plugin>>;
  /**
   * Shows a plugin, or with its digest accepted installs it, in the place of another version. Throws `invalid_request` and
   * `config_invalid` for what is not as it says, `policy_denied` where nobody trusted has signed it, and `conflict` where the digest is
   * another than was shown.
   */
  install(principal: Principal, request: PluginInstallRequest, signal: AbortSignal): Promise<Plugin>;
  /** Throws `not_found`. Calls that run end as they began. */
  remove(principal: Principal, name: string): Promise<void>;
}

export interface PluginsParts {
  readonly store: Pick<ToolSourceStore, 'putToolSource' | 'listToolSources' | 'deleteToolSource'>;
  readonly clock: Pick<Clock, 'now'>;
  /** Public keys of those whose plugins may be installed without more ado. */
  readonly trustedKeys: readonly string[];
  /** Whether its modules can run at all and its tools fit beside the others. Throws what is wrong. */
  readonly tryOut: (tenantId: string, plugin: PluginPackage, signal: AbortSignal) => Promise<void>;
  readonly onChange: (tenantId: string) => void;
}

export function createPlugins({ store, clock, trustedKeys, tryOut, onChange }: PluginsParts): Plugins {
  const isTrusted = (key: string | null) => key !== null && trustedKeys.includes(key);

  return {
    list: async ({ tenantId }, page) => viewPage(await store.listToolSources(tenantId, 'plugin', page), viewOfRow),

    async install({ tenantId }, { package: packed, accept, allowUnsigned }, signal) {
      const plugin = await openPackage(Buffer.from(packed, 'base64'));
      await tryOut(tenantId, plugin, signal);
      const { manifest, digest, signedBy } = plugin;
      const trusted = isTrusted(signedBy);
      if (accept === undefined) return viewOf({ manifest, signedBy, isTrusted: trusted }, digest, null);
      if (accept !== digest)
        throw new NexusError(
          'conflict',
          `this plugin is ${digest}, which is not the one that was accepted; look at it again and accept that`,
        );
      if (!trusted && !allowUnsigned) throw new NexusError('policy_denied', untrusted(signedBy));
      const createdAt = clock.now();
      const content = toInstalled(plugin, trusted);
      await store.putToolSource({
        tenantId: tenantId as TenantId,
        kind: 'plugin',
        name: manifest.name,
        version: digest,
        content,
        createdAt,
      });
      onChange(tenantId);
      return viewOf({ manifest, signedBy, isTrusted: trusted }, digest, createdAt);
    },

    async remove({ tenantId }, name) {
      const wasThere = await store.deleteToolSource(tenantId, 'plugin', name);
      onChange(tenantId);
      if (!wasThere) throw new NexusError('not_found', `there is no plugin ${JSON.stringify(name)}`);
    },
  };
}

function untrusted(signedBy: string | null): string {
  const who =
    signedBy === null ? 'nobody has signed the plugin' : `the plugin is signed by ${signedBy}, which is not among plugins.trustedKeys`;
  return `${who}; trust its key, or allow it unsigned`;
}

function viewOfRow(row: ToolSourceRow): Plugin {
  const plugin = fromInstalled(row.content);
  if (plugin !== null) return viewOf(plugin, row.version, row.createdAt);
  const installedAt = toTimestamp(row.createdAt);
  return {
    name: row.name,
    version: '',
    description: 'cannot be read; install it again',
    digest: row.version,
    signedBy: null,
    trusted: false,
    installed: true,
    installedAt,
    tools: [],
  };
}

function viewOf(plugin: Pick<InstalledPlugin, 'manifest' | 'signedBy' | 'isTrusted'>, digest: string, createdAt: number | null): Plugin {
  const { name, version, description, tools } = plugin.manifest;
  return {
    ...{ name, version, description, digest },
    signedBy: plugin.signedBy,
    trusted: plugin.isTrusted,
    installed: createdAt !== null,
    installedAt: createdAt === null ? null : toTimestamp(createdAt),
    tools: tools.map((tool) => ({
      name: tool.name,
      description: tool.description,
      effects: tool.effects,
      permissions: [...tool.permissions],
    })),
  };
}
