import type { TenantId } from '@nexus-agent/protocol';

/** `grant`: what a tenant holds at a server; `login`: a login that a person has begun. */
export type McpGrantSlot = 'grant' | 'login';

/** What was granted to a tenant at an MCP server, sealed: this store cannot read it. */
export interface McpGrantRow {
  readonly tenantId: TenantId;
  readonly server: string;
  readonly slot: McpGrantSlot;
  /** Another one with each change. */
  readonly version: string;
  readonly sealed: string;
  /** Until then one process asks for something newer, and the others wait for it. */
  readonly heldUntil: number | null;
  readonly updatedAt: number;
}

/** What MCP servers have granted to tenants. */
export interface McpGrantStore {
  getMcpGrant(tenantId: TenantId, server: string, slot: McpGrantSlot): Promise<McpGrantRow | null>;
  /** Puts a row in the place of the one of this version, or where there is none for null. False, and nothing done, where it is another by now. */
  swapMcpGrant(row: McpGrantRow, version: string | null): Promise<boolean>;
  /** With a version only that one. False where it is not there. */
  deleteMcpGrant(tenantId: TenantId, server: string, slot: McpGrantSlot, version?: string): Promise<boolean>;
}
