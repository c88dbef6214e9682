import { type AgentDefinition, AgentDefinition as AgentDefinitionSchema, type TenantId } from '@nexus-agent/protocol';
import { type Clock, canonicalJson, derivedId, NexusError } from '#core';
import type { PolicyEngine } from '#policy';
import type { AgentVersionRow, PageOf, PageRequest, Store } from '#storage';

/** The version of a definition: an id that depends only on its content. */
function agentVersion(definition: AgentDefinition): string {
  return derivedId<string>('agentVersion', canonicalJson(definition));
}

/**
 * Agents by name. Those from files and the built-in ones serve every tenant; one put by API belongs to its tenant and
 * hides a shared one of the same name. Versions are immutable and kept in memory once read.
 */
export function createAgentCatalog(options: {
  store: Store;
  clock: Clock;
  policy: PolicyEngine;
  shared: readonly { definition: AgentDefinition; source: 'file' | 'built-in' }[];
}) {
  const { store, clock, policy } = options;
  const shared = new Map(
    options.shared.map(({ definition, source }) => [definition.name, { definition, source, version: agentVersion(definition) }]),
  );
  const versions = new Map<string, AgentVersionRow>();
  const stored = new Set<string>();
  for (const { definition } of options.shared) if (definition.policy !== undefined) policy.check(definition.policy);

  function remember(row: AgentVersionRow): AgentVersionRow {
    if (versions.size > 2_000) versions.clear();
    versions.set(`${row.tenantId}/${row.name}/${row.version}`, row);
    return row;
  }

  /** A shared agent becomes a stored version of the tenant when it is first used, so that runs can be read after the file changed. */
  async function adopt(tenantId: TenantId, name: string): Promise<AgentVersionRow | null> {
    const found = shared.get(name);
    if (found === undefined) return null;
    const row: AgentVersionRow = {
      tenantId,
      name,
      version: found.version,
      source: found.source,
      definition: found.definition,
      createdAt: clock.now(),
    };
    const key = `${tenantId}/${name}/${found.version}`;
    if (!stored.has(key)) {
      await store.putAgent(row);
      stored.add(key);
    }
    return remember(row);
  }

  return {
    /** The current version, or the one named. Throws `not_found`. */
    async get(tenantId: TenantId, name: string, version?: string): Promise<AgentVersionRow> {
      const known = version === undefined ? undefined : versions.get(`${tenantId}/${name}/${version}`);
      if (known !== undefined) return known;
      const own = await store.getAgent(tenantId, name, version);
      if (own !== null && (version !== undefined || own.source === 'api')) return remember(own);
      const fromFile = version === undefined || shared.get(name)?.version === version ? await adopt(tenantId, name) : null;
      const row = fromFile ?? own;
      if (row === null) {
        throw new NexusError(
          'not_found',
          `there is no agent "${name}"${version === undefined ? '' : ` of version ${version}`}; known are ${[...shared.keys()].join(', ') || 'none'}`,
        );
      }
      return row;
    },
    async put(tenantId: TenantId, definition: AgentDefinition): Promise<AgentVersionRow> {
      const parsed = AgentDefinitionSchema.parse(definition);
      if (parsed.policy !== undefined) policy.check(parsed.policy);
      const row: AgentVersionRow = {
        tenantId,
        name: parsed.name,
        version: agentVersion(parsed),
        source: 'api',
        definition: parsed,
        createdAt: clock.now(),
      };
      await store.putAgent(row);
      return remember(row);
    },
    async list(tenantId: TenantId, page: PageRequest): Promise<PageOf<AgentVersionRow>> {
      await Promise.all([...shared.keys()].map((name) => adopt(tenantId, name)));
      return store.listAgents(tenantId, page);
    },
  };
}

export type AgentCatalog = ReturnType<typeof createAgentCatalog>;
