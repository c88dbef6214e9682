import type {
  AgentMcpServer,
  McpApproveRequest,
  McpServer,
  McpServerDefinition,
  McpServerInspection,
  Page,
  TenantId,
} from '@nexus-agent/protocol';
import type { PageRequest } from '#storage';
import type { DeclaredServer } from './declared-servers.ts';

/** What people do with the MCP servers of a tenant. */
export interface McpAdministration {
  list(tenantId: TenantId, page: PageRequest): Promise<Page<McpServer>>;
  /**
   * Keeps a server, in the place of one of the same name. Its tools are approved as it lists them now, unless it is where it was. Throws
   * `invalid_request`, `address_not_allowed` and `quota_exceeded`; a server that cannot be asked is kept without tools.
   */
  put(tenantId: TenantId, name: string, definition: McpServerDefinition, signal: AbortSignal): Promise<McpServerInspection>;
  /**
   * Adds the servers that an agent declares, as {@link put} does, where there are none of their names; of one that is as declared and was
   * never seen, the tools are approved as it lists them now. Throws `conflict` where another has the name of one, before anything is added:
   * nothing takes the place of a server here.
   */
  ensure(
    tenantId: TenantId,
    servers: readonly DeclaredServer[],
    agent: string,
    signal: AbortSignal,
  ): Promise<readonly McpServerInspection[]>;
  /** What the tenant has of servers that an agent declares, as of a second ago. */
  standing(tenantId: TenantId, servers: readonly DeclaredServer[]): Promise<readonly AgentMcpServer[]>;
  /** Asks the server. What it lists otherwise than it was approved is left out from now on. Throws `not_found`. */
  inspect(tenantId: TenantId, name: string, signal: AbortSignal): Promise<McpServerInspection>;
  /** Takes the tools as the server lists them now. Throws `conflict` when that is another list than the one that is named. */
  approve(tenantId: TenantId, name: string, request: McpApproveRequest, signal: AbortSignal): Promise<McpServerInspection>;
  /** Throws `not_found`. */
  remove(tenantId: TenantId, name: string): Promise<void>;
}
