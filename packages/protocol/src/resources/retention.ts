import { z } from 'zod';

/** What is kept for how long, and what of it is older. */
export const RetentionRow = z
  .object({
    kind: z.enum(['sessions', 'decisions', 'idempotencyKeys', 'reservations', 'ledgerEntries', 'idleBalances', 'contents']),
    keepDays: z.int().meta({ description: '0: for ever' }),
    count: z.int().meta({ description: 'How many are older, or were deleted' }),
    more: z.boolean().meta({ description: 'There are more than were counted, or deleted' }),
    oldest: z.string().optional(),
  })
  .meta({ id: 'RetentionRow' });
export type RetentionRow = z.infer<typeof RetentionRow>;
