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
  }),
};
