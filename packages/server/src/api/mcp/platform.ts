import type { Tool } from '@modelcontextprotocol/server';
import type { Agent, ToolInfo } from '@nexus-agent/protocol';
import type { ApiServices } from '#api/contract';
import { NexusError, unknownTool } from '#core';
import { agentTool, createAgentTools } from './agent-tools.ts';
import { callDirectly, directTool } from './direct-tools.ts';
import { agentToolName, exposedName } from './names.ts';
import { createResources } from './resources.ts';
import { resultOfRefusal } from './results.ts';
import type { Sdk } from './sdk.ts';
import { createSeats } from './seats.ts';
import type { McpCaller, McpSurface } from './surface.ts';

export interface PlatformSurfaceParts {
  readonly services: ApiServices;
  readonly version: string;
  /** Whose tools are offered to clients whose address names no agent. */
  readonly agent: string;
  /** How long a client may take over a question that it is asked within a call. */
  readonly questionMs: number;
}

/** How many agents a page of tools has. */
const agentsPerPage = 100;

const instructions = [
  'Tools run under the policy and the budget of a session; one that is refused says why and what would be right.',
  'A tool agent_<name> gives a task to an agent, which works in steps of its own: it may take minutes, and tells its progress.',
].join(' ');

/** This platform as an MCP server: the tools of an agent, the agents themselves, and what sessions hold. */
export function createPlatformSurface({ services, version, agent, questionMs }: PlatformSurfaceParts, sdk: Sdk): McpSurface {
  const seats = createSeats(services, agent);
  const agentTools = createAgentTools({ services, sdk, questionMs });

  const offeredTo = async (caller: McpCaller) => services.tools.offered(caller.principal, await seats.agentOf(caller));

  /** The agent that is meant by the name of a tool. */
  async function agentNamed({ principal }: McpCaller, name: string, tools: ReadonlySet<string>): Promise<Agent | null> {
    if (!name.startsWith('agent_')) return null;
    const fits = (found: Agent) => agentToolName(found.name, tools) === name;
    const direct = await services.agents.get(principal, name.slice('agent_'.length)).catch(noneThere);
    if (direct !== null && fits(direct)) return direct;
    // Only a name that had to be changed is found by looking through all.
    for (let cursor: string | undefined; ; ) {
      const page = await services.agents.list(principal, { limit: agentsPerPage, ...(cursor === undefined ? {} : { cursor }) });
      const found = page.data.find(fits);
      if (found !== undefined || page.nextCursor === null) return found ?? null;
      cursor = page.nextCursor;
    }
  }

  /** Names with its agents: most callers ask for one of them. */
  async function unknown({ principal }: McpCaller, name: string, offered: readonly ToolInfo[]): Promise<NexusError> {
    const tools = new Set(offered.map((each) => exposedName(each.name)));
    const { data } = await services.agents.list(principal, { limit: agentsPerPage });
    return unknownTool(name, [...tools, ...data.map((each) => agentToolName(each.name, tools))], 'tools/list gives');
  }

  return {
    info: { name: 'nexus-agent', title: 'Nexus Agent', version },
    instructions,
    capabilities: { tools: {}, resources: {} },
    handlers: {
      async 'tools/list'(params, { caller }) {
        const offered = await offeredTo(caller);
        const names = new Set(offered.map(({ name }) => exposedName(name)));
        const cursor = params?.cursor;
        const page = await services.agents.list(caller.principal, { limit: agentsPerPage, ...(cursor === undefined ? {} : { cursor }) });
        // Those of the agent itself are few: all of them come with the first page.
        const own: Tool[] = cursor === undefined ? offered.map(directTool) : [];
        const agents = page.data.map((each) => agentTool(agentToolName(each.name, names), each));
        return { tools: [...own, ...agents], ...(page.nextCursor === null ? {} : { nextCursor: page.nextCursor }) };
      },
      async 'tools/call'({ name, arguments: args = {} }, call) {
        const { caller } = call;
        const offered = await offeredTo(caller);
        const tool = offered.find((each) => exposedName(each.name) === name);
        const meant = tool === undefined ? await agentNamed(caller, name, new Set(offered.map((each) => exposedName(each.name)))) : null;
        if (tool === undefined && meant === null) throw await unknown(caller, name, offered);
        try {
          if (meant !== null) return await agentTools.call(call, meant.name, args);
          return await callDirectly({ tools: services.tools, seats }, call, tool?.name ?? name, args);
        } catch (error) {
          return resultOfRefusal(error);
        }
      },
      ...createResources(services, sdk),
    },
  };
}

function noneThere(error: unknown): null {
  if (error instanceof NexusError && error.code === 'not_found') return null;
  throw error;
}
