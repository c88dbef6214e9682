import { z } from 'zod';
import { type Call, type Route, type RouteAnswer, type RouteResponse, route } from '#api/contract';
import type { RouteContext } from './context.ts';

const path = '/mcp';
const tag = 'mcp';

/** One message, or several of an older revision. What is in it the protocol's own schemas say, by its revision. */
const Posted = z
  .union([z.record(z.string(), z.unknown()), z.array(z.unknown()).max(32)])
  .meta({ description: 'JSON-RPC, as the Model Context Protocol has it' });

const Address = z.strictObject({
  agent: z.string().min(1).max(63).optional().meta({ description: 'Whose tools, policy and budget; default: `mcp.server.agent`' }),
  session: z
    .string()
    .max(100)
    .optional()
    .meta({ description: 'The session that tools run in; default: one that is made when it is needed' }),
});

const message = z.unknown().meta({ description: 'A JSON-RPC message' });
const streamed: Readonly<Record<number, RouteResponse>> = {
  200: { description: 'JSON-RPC messages: one as JSON, or several as server-sent events', schema: message, events: message },
  202: { description: 'What was posted asks for no answer' },
};

/** The Model Context Protocol over streamable HTTP, in the revisions of 2026-07-28 and of before. */
export function mcpRoutes({ mcp }: RouteContext): Route[] {
  if (mcp === undefined) return [];

  function serve(method: 'POST' | 'GET' | 'DELETE', call: Call<unknown, z.infer<typeof Address>>): RouteAnswer {
    const { headers, principal, query, body, requestId } = call;
    const { agent, session } = query;
    const who = { principal, ...(agent === undefined ? {} : { agent }), ...(session === undefined ? {} : { session }) };
    return { stream: (response) => mcp?.serve({ method, headers, who, body, requestId }, response) ?? Promise.resolve() };
  }

  return [
    route({
      method: 'POST',
      path,
      operationId: 'mcpPost',
      summary: 'Post a message of the Model Context Protocol: tools, agents and sessions of this server for its clients',
      tag,
      scope: 'runs',
      body: Posted,
      bodySize: 'arguments',
      query: Address,
      responses: streamed,
      handle: async (call) => serve('POST', call),
    }),
    route({
      method: 'GET',
      path,
      operationId: 'mcpListen',
      summary: 'Listen to what the server has to say in an MCP session of a revision before 2026-07-28',
      tag,
      scope: 'runs',
      query: Address,
      stream: true,
      responses: { 200: { description: 'JSON-RPC messages as server-sent events', events: message } },
      handle: async (call) => serve('GET', call),
    }),
    route({
      method: 'DELETE',
      path,
      operationId: 'mcpEnd',
      summary: 'End an MCP session of a revision before 2026-07-28; what goes on in it is cancelled',
      tag,
      scope: 'runs',
      query: Address,
      responses: { 200: { description: 'It has ended' } },
      handle: async (call) => serve('DELETE', call),
    }),
  ];
}
