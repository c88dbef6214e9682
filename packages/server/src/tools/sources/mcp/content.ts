import { McpServerDefinition } from '@nexus-agent/protocol';
import { z } from 'zod';
import { canonicalJson, NexusError, sha256 } from '#core';
import type { ToolSourceRow } from '#storage';
import { Difference, ListedTool } from './pins.ts';

/** What a row of kind `mcp` holds. */
const McpContent = z.object({
  definition: McpServerDefinition,
  /** The tools as a person approved them; null until they were seen. */
  pins: z.array(ListedTool).nullable(),
  /** How the server was last found to differ from that. */
  pending: z.array(Difference),
  /** What else it had to offer when it was approved. */
  offers: z.object({ resources: z.boolean(), prompts: z.boolean() }),
  /** The agent whose definition it was added with. */
  addedWith: z.string().optional(),
});
export type McpContent = z.infer<typeof McpContent>;

/** A server of a tenant, as it is kept. */
export interface KeptServer extends McpContent {
  readonly tenantId: ToolSourceRow['tenantId'];
  readonly name: string;
  readonly version: string;
  readonly createdAt: number;
}

export function serverFromRow({ tenantId, name, version, createdAt, content }: ToolSourceRow): KeptServer {
  const read = McpContent.safeParse(content);
  if (!read.success)
    throw new NexusError('internal', `what is kept of the MCP server ${name} cannot be read; remove it and add it again`, {
      cause: read.error,
    });
  return { tenantId, name, version, createdAt, ...read.data };
}

/** What a server is: what was approved of it counts as long as this stays the same. */
export function serverPlace({ transport }: McpServerDefinition): string {
  return transport.type === 'http' ? transport.url : canonicalJson(transport);
}

/** A row with this content, which is another version when anything in it differs. */
export function rowOf(key: Pick<KeptServer, 'tenantId' | 'name' | 'createdAt'>, content: McpContent): ToolSourceRow {
  return { ...key, kind: 'mcp', version: sha256(canonicalJson(content)), content };
}
