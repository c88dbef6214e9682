import type { Agent, AgentDefinition, Page } from '@nexus-agent/protocol';
import { NexusError, toTimestamp } from '#core';
import type { Principal } from '#identity';
import type { ModelService } from '#llm';
import type { PolicyEngine } from '#policy';
import type { AgentVersionRow, PageRequest } from '#storage';
import type { ToolDescriptor, ToolService } from '#tools';
import type { AgentCatalog } from './agent-catalog.ts';
import { type KnownNames, notesOnAgent, notesOnGrants, notesOnModels } from './agent-notes.ts';
import type { AgentServers } from './agent-servers.ts';

/** Agents as people administer them. */
export interface Agents {
  list(principal: Principal, page: PageRequest): Promise<Page<Agent>>;
  /** The current version, or the one named. Throws `not_found`. */
  get(principal: Principal, name: string, version?: string): Promise<Agent>;
  /**
   * Adds the MCP servers that it declares and the tenant does not have. What comes back has `warnings` where the definition names what there
   * is not. Throws what {@link AgentServers.ensure} throws; then nothing is stored.
   */
  put(principal: Principal, definition: AgentDefinition, signal: AbortSignal): Promise<Agent>;
  /** Deletes an agent that was stored. Throws `not_found`, and `conflict` while a run of it lives or for one from a file. */
  remove(principal: Principal, name: string): Promise<void>;
}

interface AgentParts {
  readonly catalog: AgentCatalog;
  readonly servers: AgentServers;
  readonly tools: Pick<ToolService, 'list'>;
  readonly llm: Pick<ModelService, 'resolve' | 'list'>;
  readonly policy: Pick<PolicyEngine, 'allowsNothing'>;
}

export function createAgents({ catalog, servers, tools, llm, policy }: AgentParts): Agents {
  async function knownTo({ tenantId }: Principal): Promise<Pick<KnownNames, 'agents'> & { readonly tools: readonly ToolDescriptor[] }> {
    const [agents, known] = await Promise.all([catalog.names(tenantId), tools.list(tenantId)]);
    return { agents, tools: known };
  }

  async function notesOf(principal: Principal, row: AgentVersionRow): Promise<readonly string[]> {
    const known = await knownTo(principal).catch(unlisted);
    if (known === null) return [unchecked];
    const names = known.tools.map(({ name }) => name);
    return [...notesOnAgent(row.definition, { ...known, tools: names }), ...notesOnGrants(row, known.tools, policy)];
  }

  async function agentView({ tenantId, name, version, createdAt, source, definition }: AgentVersionRow): Promise<Agent> {
    const standing = await servers.standing(tenantId, definition);
    return { name, version, createdAt: toTimestamp(createdAt), source, definition, ...standing };
  }

  return {
    async list(principal, page) {
      const { items, nextCursor } = await catalog.list(principal.tenantId, page);
      return { data: await Promise.all(items.map(agentView)), nextCursor };
    },
    get: async (principal, name, version) => agentView(await catalog.get(principal.tenantId, name, version)),
    remove: (principal, name) => catalog.remove(principal.tenantId, name),
    async put(principal, definition, signal) {
      catalog.check(definition);
      const ofServers = await servers.ensure(principal, definition, signal);
      const row = await catalog.put(principal.tenantId, definition);
      const [ofTools, ofModels] = await Promise.all([notesOf(principal, row), notesOnModels(row.definition, llm)]);
      const warnings = [...ofServers, ...ofModels, ...ofTools];
      return { ...(await agentView(row)), ...(warnings.length === 0 ? {} : { warnings }) };
    },
  };
}

const unchecked = 'the tools cannot be listed at the moment, and whether there are those that it names was not looked at';

/** It is stored by then, and names are only checked to be told. */
function unlisted(error: unknown): null {
  if (error instanceof NexusError && error.code === 'unavailable') return null;
  throw error;
}
