import type { RunId, TenantId } from '@nexus-agent/protocol';

/** A run among those of all tenants. */
export type RunKey = `${TenantId}/${RunId}`;

export function runKey({ tenantId, runId }: { readonly tenantId: TenantId; readonly runId: RunId }): RunKey {
  return `${tenantId}/${runId}`;
}
