import type { AgentDefinition, TenantId } from '@nexus-agent/protocol';
import type { PageOf, PageRequest } from './pages.ts';

export interface AgentVersionRow {
  readonly tenantId: TenantId;
  readonly name: string;
  /** `agv_` and a hash of the content: equal definitions are one version. */
  readonly version: string;
  readonly source: 'file' | 'api' | 'built-in';
  readonly definition: AgentDefinition;
  readonly createdAt: number;
}

/** What agents there are. */
export interface AgentStore {
  /** Inserts the version unless it exists, and makes it the current one of its name, from this source. */
  putAgent(row: AgentVersionRow): Promise<void>;
  /** Inserts the version unless it exists, and makes it the current one of its name unless the tenant put one itself (`api`). */
  adoptAgent(row: AgentVersionRow): Promise<void>;
  getAgent(tenantId: TenantId, name: string, version?: string): Promise<AgentVersionRow | null>;
  /** The current versions by name. Those that are `shared` by all tenants are among them, but for what the tenant put itself. */
  listAgents(tenantId: TenantId, page: PageRequest, shared?: readonly AgentVersionRow[]): Promise<PageOf<AgentVersionRow>>;
}
