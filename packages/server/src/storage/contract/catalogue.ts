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
  /**
   * Inserts the version unless it exists, and makes it the current one of its name; one from a file, or built in, never in the place
   * of one that the tenant has put itself.
   */
  putAgent(row: AgentVersionRow): Promise<void>;
  getAgent(tenantId: TenantId, name: string, version?: string): Promise<AgentVersionRow | null>;
  /**
   * Takes the name away; versions that runs or sessions still name stay. `in_use`: a run of it has not ended. `not_found`: nobody
   * stored it by the API.
   */
  deleteAgent(tenantId: TenantId, name: string): Promise<'deleted' | 'in_use' | 'not_found'>;
  /**
   * The current versions by name. With those that are `shared` by all tenants: what the tenant put itself and, but for that, the shared
   * ones; others from files are gone.
   */
  listAgents(tenantId: TenantId, page: PageRequest, shared?: readonly AgentVersionRow[]): Promise<PageOf<AgentVersionRow>>;
  /** Names of what the tenant put itself, the first `limit` of them. */
  listAgentNames(tenantId: TenantId, limit: number): Promise<readonly string[]>;
}
