import type { Page, Plugin, PluginInstallRequest } from '@nexus-agent/protocol';
import { compare, valid } from 'semver';
import { type Clock, NexusError, toTimestamp } from '#core';
import type { Principal } from '#identity';
import { type PageRequest, type ToolSourceHead, type ToolSourceRow, type ToolSourceStore, viewPage } from '#storage';
import {
  bytesOfRow,
  createPluginKeys,
  digestOfRow,
  fromInstalled,
  type InstalledPlugin,
  maxTenantPluginBytes,
  openPackage,
  type PluginKeys,
  type PluginPackage,
  type PluginTrust,
  refusalOfPlugin,
  toInstalled,
  versionOfRow,
} from '#tools';
import { changesOf } from './plugin-changes.ts';
import { createTrustedKeys, signerOf, type TrustedKeys } from './plugin-keys.ts';

/** Plugins as people administer them. */
export interface Plugins {
  list(principal: Principal, page: PageRequest): Promise<Page<Plugin>>;
  /**
   * Shows a plugin, or with its digest accepted installs it, in the place of another version. Throws `invalid_request` and
   * `config_invalid` for what is not as it says, `policy_denied` where nobody trusted has signed it, its key was revoked or the tenant may
   * have no programs, `quota_exceeded` where there is no room for it, and `conflict` where the digest is another than was shown, something else was installed meanwhile, or a newer version is.
   */
  install(principal: Principal, request: PluginInstallRequest, signal: AbortSignal): Promise<Plugin>;
  /** Throws `not_found`. Calls that run end as they began. */
  remove(principal: Principal, name: string): Promise<void>;
}

export interface PluginsParts {
  readonly store: ToolSourceStore;
  readonly clock: Pick<Clock, 'now'>;
  /** Public keys of those whose plugins may be installed without more ado, by any tenant. */
  readonly trustedKeys: readonly string[];
  /** Whether its modules can run at all and its tools fit beside the others. Throws what is wrong. */
  readonly tryOut: (tenantId: string, plugin: PluginPackage, signal: AbortSignal) => Promise<void>;
  readonly onChange: (tenantId: string) => void;
}

export interface PluginServices {
  readonly plugins: Plugins;
  readonly pluginKeys: TrustedKeys;
}

export function createPlugins(parts: PluginsParts): PluginServices {
  const { store, clock, trustedKeys, tryOut, onChange } = parts;
  const keysOf = async ({ tenantId }: Principal) => createPluginKeys(trustedKeys, await store.toolSourceHeads(tenantId));

  async function installed({ tenantId }: Principal, name: string) {
    const row = await store.getToolSource(tenantId, 'plugin', name);
    const plugin = row === null ? null : fromInstalled(row.content);
    return row === null || plugin === null ? null : { plugin, digest: digestOfRow(row.version) };
  }

  const plugins: Plugins = {
    async list(principal, page) {
      const { tenantId } = principal;
      const [keys, rows] = await Promise.all([keysOf(principal), store.listToolSources(tenantId, 'plugin', page)]);
      const signers = new Map<string | null, string | null>();
      const views = viewPage(rows, (row) => viewOfRow(row, keys));
      for (const { signedBy } of views.data) if (!signers.has(signedBy)) signers.set(signedBy, await signerOf(store, tenantId, signedBy));
      return { ...views, data: views.data.map((view) => ({ ...view, signer: signers.get(view.signedBy) ?? null })) };
    },

    async install(principal, request, signal) {
      const { tenantId } = principal;
      const plugin = await openPackage(Buffer.from(request.package, 'base64'));
      await tryOut(tenantId, plugin, signal);
      const { manifest, digest, signedBy } = plugin;
      const keys = await keysOf(principal);
      const trust = keys.trustOf(signedBy);
      const isTrusted = trust === 'trusted';
      const before = await installed(principal, manifest.name);
      const replaces = before === null || before.digest === digest ? undefined : replacedBy(before, plugin);
      const view = (createdAt: number | null) =>
        viewOf(
          { ...plugin, isTrusted, bytes: unpackedBytes(plugin) },
          { digest, keys, createdAt, ...(replaces === undefined ? {} : { replaces }) },
        );
      const signer = await signerOf(store, tenantId, signedBy);
      if (request.accept === undefined) return { ...view(null), signer };
      if (request.accept !== digest)
        throw new NexusError(
          'conflict',
          `this plugin is ${digest}, which is not the one that was accepted; look at it again and accept that`,
        );
      requireTaken(request, { name: manifest.name, version: manifest.version, signedBy, trust, before, replaces });
      const bytes = unpackedBytes(plugin);
      requireBytesLeft(await store.toolSourceHeads(tenantId), manifest.name, bytes);
      const createdAt = clock.now();
      await store.putToolSource({
        ...{ tenantId, kind: 'plugin', name: manifest.name, createdAt },
        version: versionOfRow(digest, { isTrusted, signedBy, bytes }),
        content: toInstalled(plugin, isTrusted),
      });
      onChange(tenantId);
      return { ...view(createdAt), signer };
    },

    async remove({ tenantId }, name) {
      const wasThere = await store.deleteToolSource(tenantId, 'plugin', name);
      onChange(tenantId);
      if (!wasThere) throw new NexusError('not_found', `there is no plugin ${JSON.stringify(name)}`);
    },
  };
  return { plugins, pluginKeys: createTrustedKeys({ store, clock, trustedKeys, onChange }) };
}

interface Taking {
  readonly name: string;
  readonly version: string;
  readonly signedBy: string | null;
  readonly trust: PluginTrust;
  readonly before: { readonly digest: string } | null;
  readonly replaces: Plugin['replaces'];
}

/** Throws why a plugin that was accepted is not taken all the same. */
function requireTaken(request: PluginInstallRequest, { name, version, signedBy, trust, before, replaces }: Taking): void {
  if (trust === 'revoked')
    throw new NexusError('policy_denied', `the plugin is signed by ${signedBy ?? ''}, which was revoked; nothing that it signed is taken`);
  if (trust !== 'trusted' && !request.allowUnsigned) throw new NexusError('policy_denied', untrusted(signedBy));
  if (request.replaces !== undefined && request.replaces !== (before?.digest ?? ''))
    throw new NexusError('conflict', `what is installed as ${name} is not what it was when the plugin was shown; look at it again`);
  if (replaces?.isNewer === true && !request.allowDowngrade)
    throw new NexusError(
      'conflict',
      `${name} ${replaces.version} is installed, and ${version} is older: an old version may have faults that were mended; allow the downgrade (--allow-downgrade) if you want it`,
    );
}

/** Throws `quota_exceeded` where the plugins of the tenant would have more than a process holds for it. */
function requireBytesLeft(heads: readonly ToolSourceHead[], name: string, bytes: number): void {
  const others = heads.filter((head) => head.kind === 'plugin' && head.name !== name);
  const used = others.reduce((sum, { version }) => sum + bytesOfRow(version), 0);
  if (used + bytes <= maxTenantPluginBytes) return;
  throw new NexusError(
    'quota_exceeded',
    `the plugins of the tenant may have ${maxTenantPluginBytes} bytes together; the others have ${used}, and this one ${bytes}: remove some`,
  );
}

function untrusted(signedBy: string | null): string {
  const who =
    signedBy === null
      ? 'nobody has signed the plugin'
      : `the plugin is signed by ${signedBy}, which is neither among plugins.trustedKeys nor among the keys of the tenant`;
  return `${who}; trust its key, or allow it unsigned`;
}

function replacedBy(before: { readonly plugin: InstalledPlugin; readonly digest: string }, after: PluginPackage): Plugin['replaces'] {
  const { version } = before.plugin.manifest;
  const [was, is] = [valid(version), valid(after.manifest.version)];
  // Where either is no version that can be compared, nobody can say that it is older.
  const isNewer = was !== null && is !== null && compare(was, is) > 0;
  return { version, digest: before.digest, isNewer, changes: changesOf(before.plugin, after) };
}

function unpackedBytes({ files }: PluginPackage): number {
  return [...files.values()].reduce((sum, { length }) => sum + length, 0);
}

function viewOfRow(row: ToolSourceRow, keys: PluginKeys): Plugin {
  const plugin = fromInstalled(row.content);
  const digest = digestOfRow(row.version);
  if (plugin !== null) return viewOf(plugin, { digest, keys, createdAt: row.createdAt });
  return {
    ...{ name: row.name, version: '', description: 'cannot be read; install it again', digest },
    ...{ tier: 'T1', sizeBytes: 0, signedBy: null, signer: null, trust: 'unsigned', trusted: false },
    ...{ refused: 'what is kept of it cannot be read', installed: true, installedAt: toTimestamp(row.createdAt), program: null, tools: [] },
  };
}

interface Seen {
  readonly digest: string;
  readonly keys: PluginKeys;
  readonly createdAt: number | null;
  readonly replaces?: Plugin['replaces'];
}

function viewOf(
  plugin: Pick<InstalledPlugin, 'manifest' | 'signedBy' | 'isTrusted' | 'bytes'>,
  { digest, keys, createdAt, replaces }: Seen,
): Plugin {
  const { name, version, description, tier, server, tools } = plugin.manifest;
  return {
    ...{ name, version, description, tier, digest },
    sizeBytes: plugin.bytes,
    signedBy: plugin.signedBy,
    signer: null,
    trust: keys.trustOf(plugin.signedBy),
    trusted: plugin.isTrusted,
    refused: refusalOfPlugin(plugin, keys),
    installed: createdAt !== null,
    installedAt: createdAt === null ? null : toTimestamp(createdAt),
    program: server === undefined ? null : { command: server.command, args: [...server.args] },
    tools: tools.map((tool) => ({
      name: tool.name,
      description: tool.description,
      effects: tool.effects,
      permissions: [...tool.permissions],
    })),
    ...(replaces === undefined ? {} : { replaces }),
  };
}
