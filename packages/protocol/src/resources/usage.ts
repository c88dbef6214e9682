import { z } from 'zod';

/** What usage may be summed by. */
export const UsageBy = z.enum(['day', 'user', 'agent', 'model', 'project']);
export type UsageBy = z.infer<typeof UsageBy>;

/** What was spent of one day (UTC), user, agent, model or project: the one that was asked for is there. */
export const UsageRow = z
  .object({
    day: z.string().optional(),
    user: z.string().nullable().optional().meta({ description: 'Null: what was done for nobody in particular' }),
    agent: z.string().nullable().optional(),
    model: z.string().nullable().optional().meta({ description: '`provider/model`; null: tool calls' }),
    project: z.string().nullable().optional(),
    settlements: z.int(),
    costMicroUsd: z.int(),
    tokens: z.int(),
    toolCalls: z.int(),
    wallMs: z.int(),
  })
  .meta({ id: 'UsageRow' });
export type UsageRow = z.infer<typeof UsageRow>;
