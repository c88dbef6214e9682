import { LRUCache } from 'lru-cache';
import { describeTool, type Tool, type ToolDescriptor, type ToolSource } from '#tools/contract';
import { soundTools } from './check-tools.ts';

export interface CataloguedTool {
  readonly tool: Tool;
  readonly descriptor: ToolDescriptor;
}

/** The tools of one tenant. */
export interface TenantTools {
  readonly descriptors: readonly ToolDescriptor[];
  find(name: string): CataloguedTool | undefined;
}

export interface ToolCatalogue {
  /** Asks the sources. Rejects where one of them cannot say which tools it has: a tool that is not listed would seem not to be. */
  load(tenantId: string): Promise<TenantTools>;
  /** What was last loaded, if it is still known. */
  peek(tenantId: string): TenantTools | undefined;
}

/** Descriptors of tenants that are kept, in characters of JSON. */
const maxKeptChars = 16 * 1024 * 1024;

interface Loaded {
  readonly lists: readonly (readonly Tool[])[];
  readonly tools: TenantTools;
}

interface Described extends CataloguedTool {
  readonly chars: number;
}

export interface CatalogueOptions {
  readonly sources: readonly ToolSource[];
  /** Hears, once for each state of a tenant's tools, what was left out of it and why. */
  readonly onLeftOut?: (tenantId: string, faults: readonly string[]) => void;
}

/**
 * Joins the tools of all sources, in the order of the sources. A tool object is described once, whoever has it. One that is not sound,
 * or has the name of another before it, is left out: whoever adds a tool takes none away from others.
 */
export function createToolCatalogue({ sources, onLeftOut }: CatalogueOptions): ToolCatalogue {
  const described = new WeakMap<Tool, Described>();
  const tenants = new LRUCache<string, Loaded>({ maxSize: maxKeptChars });

  const describe = (tool: Tool): Described => {
    let known = described.get(tool);
    if (known === undefined) {
      const descriptor = descriptorOf(tool);
      known = { tool, descriptor, chars: JSON.stringify(descriptor).length };
      described.set(tool, known);
    }
    return known;
  };

  return {
    async load(tenantId) {
      const lists = await Promise.all(sources.map((source) => source.tools(tenantId)));
      const known = tenants.get(tenantId);
      if (known?.lists.every((list, index) => list === lists[index])) return known.tools;
      const { sound, faults } = soundTools(lists.flat());
      if (faults.length > 0) onLeftOut?.(tenantId, faults);
      const entries = sound.map(describe);
      const byName = new Map(entries.map((entry) => [entry.descriptor.name, entry]));
      const tools: TenantTools = { descriptors: entries.map(({ descriptor }) => descriptor), find: (name) => byName.get(name) };
      tenants.set(tenantId, { lists, tools }, { size: entries.reduce((sum, { chars }) => sum + chars, 1) });
      return tools;
    },
    peek: (tenantId) => tenants.get(tenantId)?.tools,
  };
}

function descriptorOf(tool: Tool): ToolDescriptor {
  const { name, description, inputSchema, outputSchema, effects, permissions, timeoutMs } = tool;
  const { maxCostMicroUsd, callsTools, rejoinable, asks, kind, source, serverMark, tier } = tool;
  return describeTool({
    name,
    description,
    inputSchema,
    ...(outputSchema === undefined ? {} : { outputSchema }),
    effects,
    permissions,
    timeoutMs,
    ...(maxCostMicroUsd === undefined ? {} : { maxCostMicroUsd }),
    ...(callsTools === undefined ? {} : { callsTools }),
    ...(rejoinable === undefined ? {} : { rejoinable }),
    ...(asks === undefined ? {} : { asks }),
    ...(kind === undefined ? {} : { kind }),
    ...(source === undefined ? {} : { source }),
    ...(serverMark === undefined ? {} : { serverMark }),
    ...(tier === undefined ? {} : { tier }),
  });
}
