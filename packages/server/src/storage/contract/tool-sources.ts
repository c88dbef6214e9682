import type { TenantId } from '@nexus-agent/protocol';
import type { PageOf, PageRequest } from './pages.ts';

/** `plugin-key` is no source but a key that a tenant trusts, or trusts no more, for its plugins: who follows these follows it too. */
export type ToolSourceKind = 'http' | 'mcp' | 'plugin' | 'plugin-key' | 'worker';

/** Something that a tenant's tools come from, as it was put. */
export interface ToolSourceRow {
  readonly tenantId: TenantId;
  readonly kind: ToolSourceKind;
  /** One for each kind. */
  readonly name: string;
  /** A hash of the content, made by whoever puts it. */
  readonly version: string;
  /** JSON, whose shape belongs to the kind. */
  readonly content: unknown;
  readonly createdAt: number;
}

export type ToolSourceHead = Pick<ToolSourceRow, 'kind' | 'name' | 'version'>;

/** Where the tools of tenants come from. */
export interface ToolSourceStore {
  /**
   * In the place of one of the same kind and name. Throws `quota_exceeded` for one too many.
   *
   * @param before the version that has to be there, null for none: where it is another by now nothing is put, and false comes back
   */
  putToolSource(row: ToolSourceRow, before?: string | null): Promise<boolean>;
  getToolSource(tenantId: TenantId, kind: ToolSourceKind, name: string): Promise<ToolSourceRow | null>;
  /** By name; fewer on a page where they are long. */
  listToolSources(tenantId: TenantId, kind: ToolSourceKind, page: PageRequest): Promise<PageOf<ToolSourceRow>>;
  /** Those of all kinds without what is in them: what a process compares with what it knows. By kind and name. */
  toolSourceHeads(tenantId: TenantId): Promise<readonly ToolSourceHead[]>;
  deleteToolSource(tenantId: TenantId, kind: ToolSourceKind, name: string): Promise<boolean>;
}
