import { page, ToolExecuteRequest, ToolExecuteResult, ToolInfo } from '@nexus-agent/protocol';
import { type Route, route, wholePage } from '#api/contract';

const tag = 'tools';

export function toolRoutes(): Route[] {
  return [
    route({
      method: 'GET',
      path: '/v1/tools',
      operationId: 'listTools',
      summary: 'List tools with their input schemas and effects',
      tag,
      scope: 'runs',
      responses: { 200: { description: 'All tools', schema: page(ToolInfo) } },
      handle: async ({ services, principal }) => ({ status: 200, body: wholePage(await services.tools.list(principal)) }),
    }),
    route({
      method: 'POST',
      path: '/v1/tools/{tool}/execute',
      operationId: 'executeTool',
      summary: 'Run one tool under the policy and budget of a session',
      tag,
      scope: 'runs',
      params: { tool: 'name' },
      body: ToolExecuteRequest,
      bodySize: 'arguments',
      responses: { 200: { description: 'What the tool gave, or how it failed', schema: ToolExecuteResult } },
      handle: async (call) => ({
        status: 200,
        body: await call.services.tools.execute(call.principal, call.params.tool ?? '', call.body, call.signal()),
      }),
    }),
  ];
}
