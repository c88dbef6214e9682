import { z } from 'zod';

/** What was spent on one day (UTC). */
export const UsageRow = z
  .object({
    day: z.string(),
    settlements: z.int(),
    costMicroUsd: z.int(),
    tokens: z.int(),
    toolCalls: z.int(),
    wallMs: z.int(),
  })
  .meta({ id: 'UsageRow' });
export type UsageRow = z.infer<typeof UsageRow>;
