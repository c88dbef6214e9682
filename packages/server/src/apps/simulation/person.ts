import type { TenantId } from '@nexus-agent/protocol';
import type { Principal } from '#identity';

/** Whoever uses a simulated cluster: its owner. */
export const person: Principal = { tenantId: 'default' as TenantId, id: 'ada', scopes: ['admin'], roles: ['owner'] }; // the one tenant of a simulation
