import { resolve } from 'node:path';
import type { ErrorInfo } from '@nexus-agent/protocol';
import type { PluginPackage, Tool, ToolContext } from '#tools';
import { type CliContext, loadConfig, parseJsonOption } from '../context.ts';
import { exitCodeOf, exitCodes, UsageError } from '../exit-codes.ts';
import { readPluginFolder } from './plugin-folder.ts';

interface TestFlags {
  readonly input: string;
  readonly files?: string;
}

/** Runs a tool of a plugin here, as a server would. */
export async function tryTool(context: CliContext, { input, files }: TestFlags, folder = '', name = ''): Promise<number> {
  const [{ checkArguments, checkPackage, outputFault }, { createSchemaValidator }] = await Promise.all([import('#tools'), import('#core')]);
  const plugin = await checkPackage((await readPluginFolder(folder)).files);
  const trial = await (plugin.manifest.tier === 'T2' ? openProgram(context, plugin) : openModules(plugin));
  try {
    const tool = trial.tools.find((one) => one.name === name);
    if (tool === undefined)
      throw new UsageError(
        `${plugin.manifest.name} has no tool ${name}; it has ${plugin.manifest.tools.map((one) => one.name).join(', ')}`,
      );
    const schemas = createSchemaValidator();
    const checked = checkArguments(schemas, tool, parseJsonOption(input, '--input'));
    const result = checked.type === 'error' ? checked : await tool.execute(checked.input, localCall(context, files));
    if (result.type === 'ok') {
      const unfit = outputFault(schemas, tool, result.output);
      if (unfit !== null) return failed(context, { code: 'tool_failed', message: unfit.message });
      context.print(result.output, () => JSON.stringify(result.output, null, 2));
      return exitCodes.ok;
    }
    if (result.type === 'suspended') throw new TypeError('a plugin calls no tools');
    return failed(context, result.error);
  } finally {
    await trial.close();
  }
}

function failed(context: CliContext, { code, message }: Pick<ErrorInfo, 'code' | 'message'>): number {
  context.note(`${context.err('red', 'error:')} ${message} (${code})`);
  return exitCodeOf(code);
}

interface Trial {
  readonly tools: readonly Tool[];
  close(): Promise<void>;
}

async function openModules(plugin: PluginPackage): Promise<Trial> {
  const [{ createPluginTools, createWasmSandbox, createWorkspaces, tryOutPlugin }, { systemClock, systemTimers }] = await Promise.all([
    import('#tools'),
    import('#core'),
  ]);
  const sandbox = createWasmSandbox({ clock: systemClock, timers: systemTimers });
  try {
    await tryOutPlugin(plugin, { sandbox, others: [] });
    const modules = new Map(
      [...plugin.files].map(([file, bytes]) => [file, { sha256: plugin.manifest.files[file] ?? '', bytes }] as const),
    );
    const tools = createPluginTools(plugin.manifest, modules, { sandbox, workspaces: createWorkspaces(), fetchTool: null });
    return { tools, close: () => sandbox.close() };
  } catch (error) {
    await sandbox.close();
    throw error;
  }
}

async function openProgram(context: CliContext, plugin: PluginPackage): Promise<Trial> {
  const [apps, config] = await Promise.all([context.io.loadApps(), loadConfig(context)]);
  const trial = await apps.openPluginTrial({ config, version: context.io.version });
  try {
    return { tools: trial.toolsOf(plugin), close: trial.close };
  } catch (error) {
    await trial.close();
    throw error;
  }
}

/** A call with nobody behind it: what it writes is told. */
function localCall(context: CliContext, files: string | undefined): ToolContext {
  const local = 'local';
  return {
    ...{ tenantId: local, sessionId: local, runId: local, callId: local, attempt: 1, idempotencyKey: local },
    signal: new AbortController().signal,
    workspace: files === undefined ? '' : resolve(files),
    files: {
      async write(path, content) {
        context.note(`would write ${content.length} bytes to ${path}`);
        return { created: true };
      },
      remove: async (path) => context.note(`would delete ${path}`),
      move: async (path, to) => context.note(`would move ${path} to ${to}`),
    },
    authorize: async () => ({ allowed: true, always: true }),
    onOutput: (text) => context.note(text.trimEnd()),
    onWait: () => undefined,
  };
}
