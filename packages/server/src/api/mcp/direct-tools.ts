import type { CallToolResult, Tool } from '@modelcontextprotocol/server';
import type { ToolInfo } from '@nexus-agent/protocol';
import type { ApiServices } from '#api/contract';
import { exposedName } from './names.ts';
import { errorResult, textResult } from './results.ts';
import type { Seats } from './seats.ts';
import type { McpCall } from './surface.ts';

/** A tool as clients see it. What it may do to the world is what it says of itself; what may run is decided with each call. */
export function directTool({ name, description, inputSchema, effects, permissions }: ToolInfo): Tool {
  return {
    name: exposedName(name),
    description,
    inputSchema: { ...inputSchema, type: 'object' },
    annotations: {
      readOnlyHint: effects === 'none',
      idempotentHint: effects !== 'once',
      destructiveHint: effects === 'once',
      openWorldHint: permissions.includes('net.egress'),
    },
  };
}

/** Runs a tool in the session of the caller, under its policy and budget. */
export async function callDirectly(
  { tools, seats }: Pick<ApiServices, 'tools'> & { readonly seats: Seats },
  { caller, signal }: Pick<McpCall, 'caller' | 'signal'>,
  name: string,
  input: Record<string, unknown>,
): Promise<CallToolResult> {
  return seats.inSession(caller, async (sessionId) => {
    const { status, output, error, durationMs } = await tools.execute(caller.principal, name, { sessionId, input }, signal);
    const facts = { sessionId, durationMs };
    return status === 'error' && error !== undefined ? errorResult(error, facts) : textResult(output, facts);
  });
}
