/** The slice of the configuration that the policy engine owns. */
import { z } from 'zod';
import { group, setting } from '#core';

export const policyConfig = {
  policiesDir: setting(z.string().min(1).optional(), 'Folder of [Cedar policies](policies.md).', {
    environment: 'NEXUS_POLICIES_DIR',
    otherwise: '`policies` in `dataDir`',
  }),
  policy: group({
    memoEntries: setting(
      z.int().min(0).max(10_000_000).default(8192),
      'Decisions that are remembered for equal questions; 0 decides each time anew.',
    ),
    agentsPermit: setting(
      z.boolean().default(true),
      'Whether what your own agents `allow` permits by itself; if not, it only narrows what policies permit. That of agents which tenants put never does.',
    ),
    tenants: group({
      allow: setting(
        z.array(z.string().min(1)).optional(),
        'What agents that tenants put may use where they ask for it, as [short forms](policies.md#who-may-permit). Listed, it holds besides what policies permit.',
        { otherwise: 'while no policy of yours permits the action: tools that can be done twice, models, public hosts' },
      ),
    }),
  }),
};
