import type { Agent, AgentDefinition, Page } from '@nexus-agent/protocol';
import { toTimestamp } from '#core';
import type { Principal } from '#identity';
import { type AgentVersionRow, type PageRequest, viewPage } from '#storage';
import type { AgentCatalog } from './agent-catalog.ts';

/** Agents as people administer them. */
export interface Agents {
  list(principal: Principal, page: PageRequest): Promise<Page<Agent>>;
  /** The current version, or the one named. Throws `not_found`. */
  get(principal: Principal, name: string, version?: string): Promise<Agent>;
  put(principal: Principal, definition: AgentDefinition): Promise<Agent>;
  /** Deletes an agent that was stored. Throws `not_found`, and `conflict` while a run of it lives or for one from a file. */
  remove(principal: Principal, name: string): Promise<void>;
}

export function createAgents({ catalog }: { readonly catalog: AgentCatalog }): Agents {
  return {
    list: async (principal, page) => viewPage(await catalog.list(principal.tenantId, page), agentView),
    get: async (principal, name, version) => agentView(await catalog.get(principal.tenantId, name, version)),
    remove: (principal, name) => catalog.remove(principal.tenantId, name),
    put: async (principal, definition) => agentView(await catalog.put(principal.tenantId, definition)),
  };
}

function agentView(row: AgentVersionRow): Agent {
  return { name: row.name, version: row.version, createdAt: toTimestamp(row.createdAt), source: row.source, definition: row.definition };
}
