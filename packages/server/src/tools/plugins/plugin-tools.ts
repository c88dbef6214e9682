import { createSchemaValidator, NexusError } from '#core';
import { checkArguments, readingFiles, type Tool, type ToolContext, type ToolResult } from '#tools/contract';
import type { OpenedPath, WasmGrants, WasmHostCalls, WasmModule, WasmSandbox } from '#tools/sandbox';
import { parseWorkspacePath, type Workspaces } from '#tools/workspace';
import type { PluginManifest, PluginToolManifest } from './manifest.ts';

export interface PluginToolParts {
  readonly sandbox: WasmSandbox;
  readonly workspaces: Workspaces;
  /** What fetches for a plugin that may do so, under the policy and the limits that hold for it; null where nothing does. */
  readonly fetchTool: Tool | null;
}

const maxListed = 10_000;
const maxFileBytes = 16 * 1024 * 1024;

export function grantsOf({ permissions }: Pick<PluginToolManifest, 'permissions'>): WasmGrants {
  return {
    files: permissions.includes('fs.write') ? 'write' : permissions.includes('fs.read') ? 'read' : 'none',
    http: permissions.includes('net.egress'),
    clock: permissions.includes('clock'),
    random: permissions.includes('random'),
  };
}

/** The tools of a plugin. A call runs the modules that are given here, whatever is installed meanwhile. */
export function createPluginTools(
  manifest: PluginManifest,
  modules: ReadonlyMap<string, WasmModule>,
  parts: PluginToolParts,
): readonly Tool[] {
  return manifest.tools.map((tool) => {
    const module = modules.get(tool.module ?? '');
    if (module === undefined) throw new NexusError('config_invalid', `the plugin ${manifest.name} has no module ${tool.module ?? ''}`);
    return pluginTool(manifest.name, tool, module, parts);
  });
}

function pluginTool(plugin: string, tool: PluginToolManifest, module: WasmModule, parts: PluginToolParts): Tool {
  const { name, description, inputSchema, outputSchema, effects, permissions, entry, limits } = tool;
  return {
    ...{ name, description, inputSchema, effects, permissions },
    ...(outputSchema === undefined ? {} : { outputSchema }),
    source: `plugin:${plugin}`,
    tier: 'T1',
    sharesFolder: true,
    // What the host does for it takes time too.
    timeoutMs: Math.max(60_000, parts.sandbox.longestMs) + (permissions.includes('net.egress') ? 60_000 : 0),
    async execute(input, context): Promise<ToolResult> {
      const { tenantId, sessionId, runId, signal } = context;
      const result = await parts.sandbox.run({
        ...{ module, name, input, limits: withoutAbsent(limits), signal },
        ...(entry === undefined ? {} : { entry }),
        grants: grantsOf(tool),
        host: hostOf(context, parts, limits.maxFileBytes ?? maxFileBytes),
        holder: { tenantId, sessionId, runId },
        onLog: (text) => context.onOutput(`${text}\n`),
      });
      context.onWait(result.waitedMs);
      if (result.type === 'error') return { type: 'error', error: result.error };
      for (const { path, content } of result.writes) await context.files.write(path, content, signal);
      return { type: 'ok', output: result.value, costMicroUsd: 0 };
    },
  };
}

/** Limits that are said; the others are those of the server. */
function withoutAbsent<T extends object>(limits: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  // Safe: what is undefined is gone.
  return Object.fromEntries(Object.entries(limits).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}

const schemas = createSchemaValidator();

/** What a plugin reaches of the world: the files of its session and what `http_fetch` may reach, each time asked of policy. */
function hostOf(context: ToolContext, { workspaces, fetchTool }: PluginToolParts, maxBytes: number): WasmHostCalls {
  const { workspace } = context;
  const reading = readingFiles(context);

  async function isFolder(path: string): Promise<boolean> {
    try {
      for await (const _item of workspaces.walk(workspace, path, { recursive: false })) break;
      return true;
    } catch {
      return false; // and what it is then was said by whoever tried to open it
    }
  }

  return {
    async openFile(path): Promise<OpenedPath> {
      parseWorkspacePath(path);
      if (await isFolder(path)) return { type: 'folder' };
      await reading.require(path);
      try {
        return await workspaces.withFile(workspace, path, async ({ handle, sizeBytes }) => {
          if (sizeBytes > maxBytes)
            throw new NexusError('payload_too_large', `${JSON.stringify(path)} has ${sizeBytes} bytes; ${maxBytes} may be read`);
          return { type: 'file', content: await handle.readFile() };
        });
      } catch (error) {
        if (error instanceof NexusError && error.code === 'not_found') return { type: 'nothing' };
        throw error;
      }
    },
    async listFolder(path, signal) {
      if (path !== '') parseWorkspacePath(path);
      const entries: { name: string; type: 'file' | 'folder' }[] = [];
      for await (const item of workspaces.walk(workspace, path, { recursive: false, signal })) {
        if (item.type === 'file' || item.type === 'folder') entries.push({ name: item.path.split('/').at(-1) ?? '', type: item.type });
        if (entries.length >= maxListed) break;
      }
      return entries;
    },
    async fetch(request, signal) {
      if (fetchTool === null) throw new NexusError('unavailable', 'nothing can be fetched here', { retryable: false });
      // What a person agreed to for a plugin says nothing of secrets.
      if (Object.hasOwn(request as object, 'secret')) throw new NexusError('policy_denied', 'plugins name no secrets');
      const checked = checkArguments(schemas, fetchTool, request);
      if (checked.type === 'error') throw new NexusError(checked.error.code, checked.error.message);
      // Within the call of the plugin: its tenant, its session, its policy.
      const result = await fetchTool.execute(checked.input, { ...context, signal: AbortSignal.any([signal, context.signal]) });
      if (result.type === 'error') throw new NexusError(result.error.code, result.error.message);
      if (result.type === 'suspended') throw new NexusError('internal', 'http_fetch calls no tools');
      return typeof result.output === 'string' ? result.output : JSON.stringify(result.output);
    },
  };
}
