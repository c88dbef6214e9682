import { join } from 'node:path';
import { execPath } from 'node:process';
import type { McpServerDefinition, TenantId } from '@nexus-agent/protocol';
import { LRUCache } from 'lru-cache';
import { canonicalJson, NexusError } from '#core';
import type { Tool, ToolResult } from '#tools/contract';
import type { OwnFolder } from '#tools/files';
import type { PluginManifest, PluginServer } from '#tools/plugins';
import type { JailLimits } from '#tools/sandbox';
import type { McpConnection } from './connection.ts';
import { createMcpConnections, type McpConnectionsOptions } from './connections.ts';
import type { ListedTool } from './pins.ts';
import { createPluginFolders } from './plugin-folders.ts';
import { createReach, type Reach, type ReachOptions } from './reach.ts';
import { toolsOfServer } from './server-tool.ts';

export interface PluginProgramsOptions
  extends Omit<ReachOptions, 'secrets' | 'stdio' | 'isOwnListener' | 'traffic' | 'store' | 'seal'>,
    Omit<McpConnectionsOptions, 'timers' | 'clock'> {
  /** Whose plugins may be programs. */
  readonly tenants: readonly string[];
  /** Where plugins are unpacked: a folder of this process alone. Opened with the first one. */
  readonly openFolder: () => Promise<OwnFolder>;
}

/** A plugin of tier T2 as it was accepted. */
export interface ProgramPlugin {
  readonly tenantId: string;
  readonly manifest: PluginManifest;
  readonly digest: string;
  readonly files: ReadonlyMap<string, Uint8Array>;
}

/** Plugins that are programs: MCP servers over their standard input and output, each in a jail of its own for each tenant. */
export interface PluginPrograms {
  /** Throws `policy_denied` where the tenant may have none, and `invalid_request` for what could never be started. */
  check(tenantId: string, manifest: PluginManifest): void;
  /** The tools of one, as its manifest has them. Its program is started by the first call. */
  toolsOf(plugin: ProgramPlugin): readonly Tool[];
  /** Of the tenant's programs, ends all but these once their calls have ended. */
  keepOnly(tenantId: string, plugins: readonly { readonly name: string; readonly digest: string }[]): void;
  /** Ends all of them, and removes their files. */
  close(): Promise<void>;
}

/** Nobody logs in to a program. */
const noLogins: Pick<ReachOptions, 'store' | 'seal'> = {
  store: { getMcpGrant: async () => null, swapMcpGrant: async () => false, deleteMcpGrant: async () => false },
  seal: async () => {
    throw new NexusError('internal', 'a program has no login');
  },
};

/** Fetch what they run; jails have no network. */
const fetching = /(^|\/)(npx|bunx|uvx|pipx|pnpx|npm|yarn|pnpm)$/;
const maxTenants = 10_000;

export function createPluginPrograms(options: PluginProgramsOptions): PluginPrograms {
  const { tenants, openFolder, jailLimits } = options;
  const connections = createMcpConnections(options);
  const folders = createPluginFolders(openFolder);
  const current = new LRUCache<string, ReadonlySet<string>>({ max: maxTenants });

  function check(tenantId: string, { name, server }: PluginManifest): void {
    if (!tenants.includes(tenantId))
      throw new NexusError(
        'policy_denied',
        `the plugin ${name} is a program, and plugins of this tenant may not be programs; the operator grants that with plugins.programs.tenants`,
      );
    if (server !== undefined && fetching.test(server.command))
      throw new NexusError(
        'invalid_request',
        `${server.command} fetches what it runs, and a program in a jail has no network: put all that it needs into the package, and start it with node`,
      );
    if (server !== undefined) reachOf(server, []).check(tenantId, definitionOf(server, { command: server.command, readOnly: [] }));
  }

  /** What starts it: with these paths of the machine and no others, and without secrets. */
  function reachOf(server: PluginServer, readOnly: readonly string[]): Reach {
    const stdio = { mode: 'jailed', tenants, readOnly } as const;
    return createReach({ ...options, ...noLogins, secrets: [], stdio, jailLimits: within(jailLimits, server.limits) });
  }

  /** Starts the program. Its files are held until its conversation is closed. */
  async function open(plugin: ProgramPlugin, server: PluginServer, signal: AbortSignal): Promise<McpConnection> {
    const { tenantId, manifest, digest, files } = plugin;
    check(tenantId, manifest);
    const own = server.command.startsWith('./') ? server.command.slice(2) : null;
    const unpacked = await folders.hold(digest, files, own);
    const command = own === null ? (server.command === 'node' ? execPath : server.command) : join(unpacked.path, own);
    const granted = [unpacked.path, ...(command === execPath ? [execPath] : [])];
    const reach = reachOf(server, granted);
    let connection: McpConnection | undefined;
    /** What it lists now is not known any more: the next call starts it anew, and looks. */
    const onToolsChanged = () => {
      if (connection !== undefined) connections.drop(connection);
    };
    try {
      const definition = definitionOf(server, { command, cwd: unpacked.path, readOnly: granted });
      const opened = await reach.open({ tenantId: tenantId as TenantId, name: manifest.name, definition }, onToolsChanged, signal);
      try {
        requireHonest(manifest, await opened.listTools(signal));
      } catch (error) {
        await opened.close();
        throw error;
      }
      connection = { ...opened, close: () => opened.close().finally(unpacked.release) };
      return connection;
    } catch (error) {
      await unpacked.release();
      throw error;
    }
  }

  return {
    check,
    toolsOf(plugin) {
      const { tenantId, manifest, digest } = plugin;
      const { name, server, tools } = manifest;
      if (server === undefined) throw new NexusError('config_invalid', `the plugin ${name} has no program`);
      const key = { tenantId, name, version: digest };
      const isCurrent = () => current.get(tenantId)?.has(idOf(name, digest)) ?? true;
      const made = toolsOfServer(
        {
          server: {
            ...{ tenantId: tenantId as TenantId, name, version: digest, createdAt: 0, pins: [], pending: [] }, // a tenant of the caller's
            definition: definitionOf(server, { command: server.command, readOnly: [] }),
            offers: { resources: false, prompts: false },
          },
          destination: { host: 'stdio', context: null, secrets: [] },
          drop: connections.drop,
          asking: null,
          tier: options.jail.tier,
          isGranted: () => false,
          isAsApproved: () => true, // or the conversation would not have begun
          converse: (signal, work) =>
            connections.use(
              key,
              (during) => open(plugin, server, during),
              signal,
              async (connection, isFresh) => {
                try {
                  return await work(connection, isFresh);
                } finally {
                  // A call that began before its plugin was replaced may come late: it leaves no program behind.
                  if (!isCurrent()) connections.drop(connection);
                }
              },
            ),
        },
        tools.map(({ name: tool, effects, description, inputSchema }) => ({
          ...{ name: tool, effects },
          listed: { name: tool, description, inputSchema },
        })),
      );
      return made.map((tool, index) => ofPlugin(tool, name, tools[index]?.outputSchema));
    },
    keepOnly(tenantId, plugins) {
      if (plugins.length === 0 && !current.has(tenantId)) return;
      current.set(tenantId, new Set(plugins.map(({ name, digest }) => idOf(name, digest))));
      connections.keepOnly(
        tenantId,
        plugins.map(({ name, digest }) => ({ name, version: digest })),
      );
    },
    async close() {
      await connections.close();
      await folders.close();
    },
  };
}

function idOf(name: string, digest: string): string {
  return `${name} ${digest}`;
}

/** The same tool under the name of the plugin; with a schema for its results it gives values, not text. */
function ofPlugin(tool: Tool, plugin: string, outputSchema: Readonly<Record<string, unknown>> | undefined): Tool {
  const source = `plugin:${plugin}`;
  if (outputSchema === undefined) return { ...tool, source };
  return {
    ...{ ...tool, source, outputSchema },
    execute: async (input, context) => parsed(await tool.execute(input, context)),
  };
}

function parsed(result: ToolResult): ToolResult {
  if (result.type !== 'ok' || typeof result.output !== 'string') return result;
  try {
    return { ...result, output: JSON.parse(result.output) };
  } catch {
    return result; // and then it is no value of its schema, which whoever checks says
  }
}

function definitionOf(
  { args, env, timeoutMs }: PluginServer,
  place: { readonly command: string; readonly cwd?: string; readonly readOnly: string[] },
): McpServerDefinition {
  return {
    ...{ transport: { type: 'stdio', args, env, ...place }, timeoutMs },
    ...{ allow: ['*'], deny: [], effects: {}, trustHints: false },
  };
}

/** What a program asks for, up to what the server gives. */
function within(given: JailLimits, asked: PluginServer['limits']): JailLimits {
  const least = (most: number, wanted: number | undefined) => Math.min(most, wanted ?? most);
  return {
    ...given,
    memoryBytes: least(given.memoryBytes, asked.memoryBytes),
    cpuMs: least(given.cpuMs, asked.cpuMs),
    processes: least(given.processes, asked.processes),
  };
}

/** Throws `conflict` where the program lists other tools than its manifest, which is what a person accepted. */
function requireHonest({ name: plugin, tools }: PluginManifest, listed: readonly ListedTool[]): void {
  const lie = (what: string) =>
    new NexusError(
      'conflict',
      `the program of the plugin ${plugin} ${what}; it is not used until it lists what its manifest says: install a version that does`,
    );
  const known = new Map<string, ListedTool>();
  for (const tool of listed) {
    if (known.has(tool.name)) throw lie(`lists the tool ${shown(tool.name)} twice`);
    known.set(tool.name, tool);
  }
  for (const { name, description, inputSchema, outputSchema } of tools) {
    const found = known.get(name);
    if (found === undefined) throw lie(`does not list the tool ${name}`);
    known.delete(name);
    if ((found.description ?? '') !== description) throw lie(`describes the tool ${name} otherwise than its manifest`);
    if (canonicalJson(found.inputSchema) !== canonicalJson(inputSchema))
      throw lie(`lists another inputSchema of the tool ${name} than its manifest`);
    if (found.outputSchema !== undefined && canonicalJson(found.outputSchema) !== canonicalJson(outputSchema ?? null))
      throw lie(`lists another outputSchema of the tool ${name} than its manifest`);
  }
  const [more] = known.keys();
  if (more !== undefined) throw lie(`lists the tool ${shown(more)}, which its manifest does not have`);
}

function shown(name: string): string {
  return JSON.stringify(name.slice(0, 100));
}
