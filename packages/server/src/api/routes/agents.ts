import { Agent, AgentDefinition, page } from '@nexus-agent/protocol';
import { z } from 'zod';
import { pageQuery, pageRequest, type Route, route } from '#api/contract';

const tag = 'agents';

export function agentRoutes(): Route[] {
  return [
    route({
      method: 'GET',
      path: '/v1/agents',
      operationId: 'listAgents',
      summary: 'List agents in their current versions',
      tag,
      scope: 'runs',
      query: pageQuery,
      responses: { 200: { description: 'A page of agents', schema: page(Agent) } },
      handle: async ({ services, principal, query }) => ({ status: 200, body: await services.agents.list(principal, pageRequest(query)) }),
    }),
    route({
      method: 'POST',
      path: '/v1/agents',
      operationId: 'putAgent',
      summary: 'Store an agent definition and make it the current version of its name; the same content is the same version',
      tag,
      scope: 'admin',
      asks: { action: 'admin.agents', part: 'agents' },
      body: AgentDefinition,
      bodySize: 'definition',
      responses: { 201: { description: 'The agent', schema: Agent } },
      handle: async ({ services, principal, body, signal }) => ({
        status: 201,
        body: await services.agents.put(principal, body, signal()),
      }),
    }),
    route({
      method: 'GET',
      path: '/v1/agents/{agent}',
      operationId: 'getAgent',
      summary: 'Show an agent, in its current or a given version',
      tag,
      scope: 'runs',
      params: { agent: 'name' },
      query: z.strictObject({ version: z.string().min(1).max(100).optional() }),
      responses: { 200: { description: 'The agent', schema: Agent } },
      handle: async ({ services, principal, params, query }) => ({
        status: 200,
        body: await services.agents.get(principal, params.agent ?? '', ...(query.version === undefined ? [] : [query.version])),
      }),
    }),
    route({
      method: 'DELETE',
      path: '/v1/agents/{agent}',
      operationId: 'deleteAgent',
      summary: 'Delete an agent that was stored; its versions that runs and sessions name stay for them',
      tag,
      scope: 'admin',
      asks: { action: 'admin.agents', part: 'agents' },
      params: { agent: 'name' },
      responses: { 204: { description: 'Deleted' } },
      async handle({ services, principal, params }) {
        await services.agents.remove(principal, params.agent ?? '');
        return { status: 204 };
      },
    }),
  ];
}
