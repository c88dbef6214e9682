import type { KeyScope, TenantId } from '@nexus-agent/protocol';

/** Who asks. `id` is `local` for the operator on loopback, else the key's id. */
export interface Principal {
  readonly tenantId: TenantId;
  readonly id: string;
  readonly scopes: readonly KeyScope[];
  readonly roles: readonly string[];
}
