import type { TenantId } from '@nexus-agent/protocol';
import type { Principal } from '#identity';

/** The person at the machine: every right in the default tenant. Only ever given to requests over loopback. */
export const localOperator: Principal = {
  tenantId: 'default' as TenantId, // a literal that fits the schema
  id: 'local',
  scopes: ['runs', 'approvals', 'admin'],
  roles: ['owner'],
};
