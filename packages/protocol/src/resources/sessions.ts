import { z } from 'zod';
import { BudgetLimits, BudgetView } from '../budget.ts';
import { PolicyShortForm } from '../policy.ts';
import { Name, Payer } from './names.ts';

const metadata = z
  .record(z.string().max(64), z.string().max(512))
  .refine((value) => Object.keys(value).length <= 32, { error: 'at most 32 entries' });

export const SessionCreateRequest = z
  .strictObject({
    agent: Name.optional(),
    budget: BudgetLimits.optional(),
    policy: PolicyShortForm.optional(),
    user: Payer.optional(),
    project: Payer.optional(),
    metadata: metadata.optional(),
  })
  .meta({ id: 'SessionCreateRequest' });
export type SessionCreateRequest = z.infer<typeof SessionCreateRequest>;

export const Session = z
  .object({
    id: z.string(),
    status: z.enum(['active', 'closed']),
    agent: z.string(),
    agentVersion: z.string(),
    budget: BudgetView,
    policy: PolicyShortForm.optional(),
    user: z.string().optional(),
    project: z.string().optional(),
    metadata: metadata.optional(),
    createdAt: z.string(),
  })
  .meta({ id: 'Session' });
export type Session = z.infer<typeof Session>;
