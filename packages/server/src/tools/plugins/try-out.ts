import { type ErrorInfo, reservedName } from '@nexus-agent/protocol';
import { explainFaults, findSchemaFaults, NexusError } from '#core';
import type { ToolDescriptor } from '#tools/contract';
import type { WasmHostCalls, WasmSandbox } from '#tools/sandbox';
import type { PluginPackage } from './package.ts';
import { grantsOf } from './plugin-tools.ts';

const refuse = async (): Promise<never> => {
  throw new NexusError('internal', 'nothing is asked while a plugin is tried out');
};
const noHost: WasmHostCalls = { openFile: refuse, listFolder: refuse, fetch: refuse };

export interface TryOutParts {
  readonly sandbox: WasmSandbox;
  /** What the tenant has already. */
  readonly others: readonly ToolDescriptor[];
  readonly signal?: AbortSignal;
}

/**
 * Sees whether a plugin could run: its schemas are ones, its names are free, and each module compiles within its limits, wants nothing that
 * its tool does not ask for and has the function that it names. No code of it runs, and a program is not started. Throws `invalid_request`
 * and `conflict`.
 */
export async function tryOutPlugin({ manifest, files }: PluginPackage, { sandbox, others, signal }: TryOutParts): Promise<void> {
  const names = new Set<string>();
  for (const tool of manifest.tools) {
    if (names.has(tool.name)) throw new NexusError('invalid_request', `two tools of the plugin are named ${tool.name}`);
    names.add(tool.name);
    const reserved = reservedName(tool.name);
    if (reserved !== null) throw new NexusError('invalid_request', `${tool.name}: ${reserved}`);
    const other = others.find(({ name, source }) => name === tool.name && source !== `plugin:${manifest.name}`);
    if (other !== undefined)
      throw new NexusError(
        'conflict',
        `there is a tool ${tool.name} already, of ${other.source ?? 'program'}; remove it or rename this one`,
      );
    requireSchemas(tool);
    if (tool.module === undefined) continue;
    const bytes = files.get(tool.module);
    const sha256 = manifest.files[tool.module];
    if (bytes === undefined || sha256 === undefined) throw new NexusError('invalid_request', `there is no module ${tool.module}`);
    const result = await sandbox.run({
      ...{ module: { sha256, bytes }, name: tool.name, input: null, isCheck: true, grants: grantsOf(tool), host: noHost },
      ...(tool.entry === undefined ? {} : { entry: tool.entry }),
      ...(signal === undefined ? {} : { signal }),
      limits: Object.fromEntries(Object.entries(tool.limits).filter(([, value]) => value !== undefined)),
    });
    if (result.type === 'error') throw tryOutError(tool.name, result.error);
  }
}

function tryOutError(tool: string, { code, message, retryable }: ErrorInfo): NexusError {
  // What is our own trouble stays so; everything else is a fault of the plugin.
  if (retryable === true) return new NexusError('sandbox_unavailable', `${tool}: ${message}`);
  return code === 'cancelled' ? new NexusError('cancelled', message) : new NexusError('invalid_request', `${tool}: ${message}`);
}

function requireSchemas(tool: PluginPackage['manifest']['tools'][number]): void {
  for (const field of ['inputSchema', 'outputSchema'] as const) {
    const schema = tool[field];
    if (schema === undefined) continue;
    const faults = findSchemaFaults(schema);
    if (faults.length > 0)
      throw new NexusError('invalid_request', `${tool.name}.${field}: is no JSON Schema that is taken: ${explainFaults(faults, field)}`);
  }
  if (tool.inputSchema.type !== 'object')
    throw new NexusError('invalid_request', `${tool.name}.inputSchema.type: expected "object", for arguments have names`);
}
