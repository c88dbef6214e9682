import type { Agent, AgentDefinition, McpServer, Page, TenantId } from '@nexus-agent/protocol';
import { NexusError } from '#core';
import type { Principal } from '#identity';
import type { PageRequest } from '#storage';
import { type McpAdministration, readDeclaredServers } from '#tools';
import type { Administration } from './administration.ts';
import type { AgentCatalog } from './agent-catalog.ts';

/** The MCP servers that agents declare. */
export interface AgentServers {
  /**
   * Adds those that the tenant does not have, for which policy is asked as it is by who adds them by themselves. Gives what is worth a
   * warning. Throws `invalid_request` for what cannot be taken, `policy_denied`, and `conflict` where the tenant has another of the name;
   * then nothing was added.
   */
  ensure(principal: Principal, definition: AgentDefinition, signal: AbortSignal): Promise<readonly string[]>;
  standing(tenantId: TenantId, definition: AgentDefinition): Promise<Pick<Agent, 'mcpServers'>>;
}

export interface AgentServersParts {
  readonly mcp: Pick<McpAdministration, 'ensure' | 'standing'>;
  readonly administration: Administration;
}

export function createAgentServers({ mcp, administration }: AgentServersParts): AgentServers {
  return {
    async ensure(principal, { name: agent, mcpServers }, signal) {
      const { servers, notes } = readDeclaredServers(mcpServers);
      const enabled = servers.filter(({ isDisabled }) => !isDisabled);
      const states = await mcp.standing(principal.tenantId, enabled);
      // One that is there as it is declared is shared: naming its tools would give the agent no less.
      const wanted = enabled.filter((_, index) => ['absent', 'differs'].includes(states[index]?.state ?? 'absent'));
      for (const { name, place, definition } of wanted) {
        const question = { action: 'admin.tools', part: 'tools' } as const;
        await administration.ask(principal, question, { server: name, ...definition }).catch((error: unknown) => {
          if (!(error instanceof NexusError) || error.code !== 'policy_denied') throw error;
          // The same words whether there is none or another: who may not see the servers need not learn which there are.
          const message = `${place}: there is no such MCP server, and to add one is for who may administer tools: ${error.message}`;
          throw new NexusError('policy_denied', message, {
            ...(error.details === undefined ? {} : { details: error.details }),
            cause: error,
          });
        });
      }
      const unseen = states.filter(({ state }) => state === 'unapproved').map(({ name }) => noTools(name));
      const added = await mcp.ensure(principal.tenantId, wanted, agent, signal);
      return [
        ...notes,
        ...unseen,
        ...added.flatMap(({ name, fault }) => (fault === undefined ? [] : [`${noTools(name)} (it was not reached: ${fault})`])),
      ];
    },
    async standing(tenantId, { mcpServers }) {
      if (mcpServers === undefined) return {};
      return { mcpServers: [...(await mcp.standing(tenantId, readDeclaredServers(mcpServers).servers))] };
    },
  };
}

function noTools(server: string): string {
  return `the MCP server ${server} has no tools until a person approves it: nexus mcp approve ${server}`;
}

/** Agents that are looked through for who declares a server. */
const maxAgents = 1_000;
const pageSize = 100;

/** MCP servers as people administer them: lists say which agents declare each. */
export function createServersOfTenants(mcp: McpAdministration, catalog: Pick<AgentCatalog, 'list'>): McpAdministration {
  async function declarers(tenantId: TenantId): Promise<ReadonlyMap<string, readonly string[]>> {
    const found = new Map<string, string[]>();
    let request: PageRequest | undefined = { limit: pageSize };
    for (let seen = 0; request !== undefined && seen < maxAgents; seen += pageSize) {
      const { items, nextCursor } = await catalog.list(tenantId, request);
      for (const { name, definition } of items)
        for (const server of readDeclaredServers(definition.mcpServers).servers)
          found.set(server.name, [...(found.get(server.name) ?? []), name]);
      request = nextCursor === null ? undefined : { limit: pageSize, cursor: nextCursor };
    }
    return found;
  }

  return {
    ...mcp,
    async list(tenantId, page): Promise<Page<McpServer>> {
      const [{ data, nextCursor }, agents] = await Promise.all([mcp.list(tenantId, page), declarers(tenantId)]);
      return { data: data.map((server) => ({ ...server, declaredBy: [...(agents.get(server.name) ?? [])] })), nextCursor };
    },
  };
}
