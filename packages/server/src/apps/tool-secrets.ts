import type { NexusConfig } from '#apps/config';
import { matchesWildcard } from '#core';
import { operatorTenant } from '#policy';
import type { ToolSecrets } from '#tools/sources';

/**
 * The secrets of the configuration. They are the operator's: definitions of the operator's tenant may name any, those of other tenants
 * only what was granted to them, and send it only to the hosts of the grant, for whoever writes a definition says where it leads.
 */
export function createToolSecrets({ secrets, secretGrants }: Pick<NexusConfig, 'secrets' | 'secretGrants'>): ToolSecrets {
  const values = new Map(Object.entries(secrets));
  return {
    find(tenantId, name, { hostname, port }) {
      const value = values.get(name) ?? null;
      if (tenantId === operatorTenant) return value;
      const isGranted = secretGrants.some(
        (grant) =>
          grant.tenant === tenantId &&
          grant.secret === name &&
          grant.hosts.some((host) =>
            [hostname, `${hostname}:${port}`].some((each) => matchesWildcard(host.toLowerCase(), each.toLowerCase())),
          ),
      );
      return isGranted ? value : null;
    },
  };
}
