import type { Agent, AgentDefinition, Page } from '@nexus-agent/protocol';
import { NexusError, toTimestamp } from '#core';
import type { Principal } from '#identity';
import type { ModelService } from '#llm';
import { type AgentVersionRow, type PageRequest, viewPage } from '#storage';
import type { ToolService } from '#tools';
import type { AgentCatalog } from './agent-catalog.ts';
import { type KnownNames, notesOnAgent, notesOnModels } from './agent-notes.ts';

/** Agents as people administer them. */
export interface Agents {
  list(principal: Principal, page: PageRequest): Promise<Page<Agent>>;
  /** The current version, or the one named. Throws `not_found`. */
  get(principal: Principal, name: string, version?: string): Promise<Agent>;
  /** What comes back has `warnings` where the definition names what there is not. */
  put(principal: Principal, definition: AgentDefinition): Promise<Agent>;
  /** Deletes an agent that was stored. Throws `not_found`, and `conflict` while a run of it lives or for one from a file. */
  remove(principal: Principal, name: string): Promise<void>;
}

interface AgentParts {
  readonly catalog: AgentCatalog;
  readonly tools: Pick<ToolService, 'list'>;
  readonly llm: Pick<ModelService, 'resolve' | 'list'>;
}

export function createAgents({ catalog, tools, llm }: AgentParts): Agents {
  async function knownTo({ tenantId }: Principal): Promise<KnownNames> {
    const [agents, known] = await Promise.all([catalog.names(tenantId), tools.list(tenantId)]);
    return { agents, tools: known.map(({ name }) => name) };
  }

  return {
    list: async (principal, page) => viewPage(await catalog.list(principal.tenantId, page), agentView),
    get: async (principal, name, version) => agentView(await catalog.get(principal.tenantId, name, version)),
    remove: (principal, name) => catalog.remove(principal.tenantId, name),
    async put(principal, definition) {
      const row = await catalog.put(principal.tenantId, definition);
      const [known, ofModels] = await Promise.all([knownTo(principal).catch(unlisted), notesOnModels(row.definition, llm)]);
      const warnings = [...ofModels, ...(known === null ? [unchecked] : notesOnAgent(row.definition, known))];
      return { ...agentView(row), ...(warnings.length === 0 ? {} : { warnings }) };
    },
  };
}

function agentView(row: AgentVersionRow): Agent {
  return { name: row.name, version: row.version, createdAt: toTimestamp(row.createdAt), source: row.source, definition: row.definition };
}

const unchecked = 'the tools cannot be listed at the moment, and whether there are those that it names was not looked at';

/** It is stored by then, and names are only checked to be told. */
function unlisted(error: unknown): null {
  if (error instanceof NexusError && error.code === 'unavailable') return null;
  throw error;
}
