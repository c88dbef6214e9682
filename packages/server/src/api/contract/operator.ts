import type { TenantId } from '@nexus-agent/protocol';
import type { Principal } from '#identity';

/** The person at the machine: every right in the default tenant. Only ever given to requests over loopback, to those who show that they are. */
export const localOperator: Principal = {
  tenantId: 'default' as TenantId, // a literal that fits the schema
  id: 'local',
  scopes: ['runs', 'approvals', 'admin', 'tools'],
  roles: ['owner'],
};

/**
 * A program on this machine that shows nothing: what it starts belongs to the default tenant, where the operator sees it, and it reaches
 * only the routes that say so. Its roles let policies tell it apart.
 */
export const visitor: Principal = {
  tenantId: localOperator.tenantId,
  id: 'visitor',
  scopes: ['runs'],
  roles: ['visitor'],
};
