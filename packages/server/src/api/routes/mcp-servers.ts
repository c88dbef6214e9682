import {
  McpApproveRequest,
  McpLogin,
  McpLoginState,
  McpServer,
  McpServerDefinition,
  McpServerInspection,
  McpServerName,
  page,
} from '@nexus-agent/protocol';
import { z } from 'zod';
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
    ...loginRoutes(),
  ];
}

function loginRoutes(): Route[] {
  return [
    route({
      method: 'GET',
      path: '/v1/mcp-servers/{server}/login',
      operationId: 'getMcpLogin',
      summary: 'Show whether somebody is logged in to an MCP server, without asking it',
      tag,
      scope: 'admin',
      asks: reads,
      params: { server: 'name' },
      responses: { 200: { description: 'What is known of the login', schema: McpLoginState } },
      handle: async ({ services, principal, params }) => ({
        status: 200,
        body: await services.mcpServers.logins.state(principal.tenantId, params.server ?? ''),
      }),
    }),
    route({
      method: 'POST',
      path: '/v1/mcp-servers/{server}/login',
      operationId: 'loginMcpServer',
      summary: 'Begin to log in to an MCP server: whoever opens the address in a browser gives their account to the tenant',
      tag,
      scope: 'admin',
      asks: changes,
      params: { server: 'name' },
      responses: { 200: { description: 'The address to open, and the code that is typed there', schema: McpLogin } },
      handle: async ({ services, principal: { tenantId, id }, params, headers, signal }) => ({
        status: 200,
        body: await services.mcpServers.logins.begin(tenantId, params.server ?? '', { by: id, host: headers.host }, signal()),
      }),
    }),
    route({
      method: 'POST',
      path: '/v1/mcp-servers/{server}/logout',
      operationId: 'logoutMcpServer',
      summary: 'Forget the login to an MCP server, and tell its authorization server',
      tag,
      scope: 'admin',
      asks: changes,
      params: { server: 'name' },
      responses: { 204: { description: 'Forgotten' } },
      async handle({ services, principal, params }) {
        await services.mcpServers.logins.end(principal.tenantId, params.server ?? '');
        return { status: 204 };
      },
    }),
    route({
      method: 'GET',
      path: '/v1/mcp-logins/start',
      operationId: 'openMcpLogin',
      summary: 'The page that a login begins with: it says who wants the account, and takes the code that they were shown',
      tag,
      scope: 'public',
      fromSites: true,
      query: startQuery,
      responses: {
        200: { description: 'The page', contentType: 'text/html' },
        303: { description: 'To the authorization server' },
      },
      async handle({ services, query: { login, page, code }, headers: { cookie } }) {
        const { headers, ...opened } = await services.mcpServers.logins.open({ login, page, code, cookies: cookie });
        return opened.type === 'page'
          ? { status: 200, text: opened.html, contentType: 'text/html; charset=utf-8', headers }
          : { status: 303, text: '', contentType: 'text/plain; charset=utf-8', headers: { ...headers, location: opened.location } };
      },
    }),
    route({
      method: 'GET',
      path: '/v1/mcp-logins/callback',
      operationId: 'finishMcpLogin',
      summary: 'Where an authorization server sends the browser back to',
      tag,
      scope: 'public',
      fromSites: true,
      query: callbackQuery,
      responses: { 200: { description: 'What became of it, for the person', contentType: 'text/plain' } },
      async handle({ services, query: { state, code, iss, error }, headers: { cookie } }) {
        const { server } = await services.mcpServers.logins.finish({ state, code, issuer: iss, error, cookies: cookie });
        const text = `You are logged in to the MCP server ${server}. You can close this page.\n`;
        return { status: 200, text, contentType: 'text/plain; charset=utf-8' };
      },
    }),
    route({
      method: 'GET',
      path: '/v1/mcp-logins/client.json',
      operationId: 'getMcpClientDocument',
      summary: 'What this server is as a client of MCP servers, for authorization servers that read client metadata documents',
      tag,
      scope: 'public',
      responses: { 200: { description: 'The document', schema: z.record(z.string(), z.unknown()) } },
      async handle({ services }) {
        const document = services.mcpServers.logins.clientDocument();
        if (document === null)
          throw new NexusError('not_found', 'there is no client metadata document: mcpClient.oauth.publicUrl is not https');
        return { status: 200, body: document };
      },
    }),
  ];
}

const startQuery = z.object({
  login: z.string().min(1).max(4_000),
  page: z.string().max(100).optional(),
  code: z.string().max(40).optional(),
});

/** An authorization server may say more. */
const callbackQuery = z.object({
  state: z.string().min(1).max(4_000),
  code: z.string().min(1).max(4_000).optional(),
  iss: z.string().max(2_000).optional(),
  error: z.string().max(200).optional(),
});
