import { McpApproveRequest, McpServer, McpServerDefinition, McpServerInspection, McpServerName, page } from '@nexus-agent/protocol';
import { pageQuery, pageRequest, type Route, route } from '#api/contract';
import { NexusError } from '#core';

const tag = 'mcp-servers';
const reads = { action: 'admin.read', part: 'tools' } as const;
const changes = { action: 'admin.tools', part: 'tools' } as const;

export function mcpServerRoutes(): Route[] {
  return [
    route({
      method: 'GET',
      path: '/v1/mcp-servers',
      operationId: 'listMcpServers',
      summary: 'List the MCP servers that tools come from, with what was approved of each',
      tag,
      scope: 'admin',
      asks: reads,
      query: pageQuery,
      responses: { 200: { description: 'A page of servers', schema: page(McpServer) } },
      handle: async ({ services, principal, query }) => ({
        status: 200,
        body: await services.mcpServers.list(principal.tenantId, pageRequest(query)),
      }),
    }),
    route({
      method: 'PUT',
      path: '/v1/mcp-servers/{server}',
      operationId: 'putMcpServer',
      summary: 'Add or change an MCP server; the tools that it lists when it is added are approved with it',
      tag,
      scope: 'admin',
      asks: changes,
      params: { server: 'name' },
      body: McpServerDefinition,
      responses: { 200: { description: 'The server, and what it says of itself now', schema: McpServerInspection } },
      async handle({ services, principal, params, body, signal }) {
        const name = McpServerName.safeParse(params.server);
        if (!name.success)
          throw new NexusError('invalid_request', 'path: server: expected a lower-case name of at most 31 letters, digits or -');
        return { status: 200, body: await services.mcpServers.put(principal.tenantId, name.data, body, signal()) };
      },
    }),
    route({
      method: 'GET',
      path: '/v1/mcp-servers/{server}',
      operationId: 'inspectMcpServer',
      summary: 'Show an MCP server and ask it what it offers now; what differs from what was approved is left out from then on',
      tag,
      scope: 'admin',
      asks: reads,
      params: { server: 'name' },
      responses: { 200: { description: 'The server, and what it says of itself now', schema: McpServerInspection } },
      handle: async ({ services, principal, params, signal }) => ({
        status: 200,
        body: await services.mcpServers.inspect(principal.tenantId, params.server ?? '', signal()),
      }),
    }),
    route({
      method: 'POST',
      path: '/v1/mcp-servers/{server}/approve',
      operationId: 'approveMcpServer',
      summary: 'Approve the tools of an MCP server as it lists them now',
      tag,
      scope: 'admin',
      asks: changes,
      params: { server: 'name' },
      body: McpApproveRequest,
      bodyOptional: true,
      responses: { 200: { description: 'The server as it is approved', schema: McpServerInspection } },
      handle: async ({ services, principal, params, body, signal }) => ({
        status: 200,
        body: await services.mcpServers.approve(principal.tenantId, params.server ?? '', body, signal()),
      }),
    }),
    route({
      method: 'DELETE',
      path: '/v1/mcp-servers/{server}',
      operationId: 'deleteMcpServer',
      summary: 'Remove an MCP server; its tools are offered no more',
      tag,
      scope: 'admin',
      asks: changes,
      params: { server: 'name' },
      responses: { 204: { description: 'Removed' } },
      async handle({ services, principal, params }) {
        await services.mcpServers.remove(principal.tenantId, params.server ?? '');
        return { status: 204 };
      },
    }),
  ];
}
