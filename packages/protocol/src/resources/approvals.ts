import { z } from 'zod';
import { ApprovalDecision, ApprovalKind } from '../events.ts';
import { AnyObject } from './names.ts';

export const Approval = z
  .object({
    id: z.string(),
    runId: z.string(),
    sessionId: z.string(),
    kind: ApprovalKind,
    status: z.enum(['pending', 'decided', 'expired', 'cancelled']),
    toolName: z.string(),
    /** The exact arguments that will run when approved. */
    arguments: z.unknown(),
    question: z.string().optional(),
    role: z.string().optional(),
    choices: z.array(ApprovalDecision),
    defaultDecision: ApprovalDecision,
    deadlineAt: z.string(),
    decision: ApprovalDecision.optional(),
    decidedBy: z.string().optional(),
    decidedAt: z.string().optional(),
    note: z.string().optional(),
    createdAt: z.string(),
  })
  .meta({ id: 'Approval' });
export type Approval = z.infer<typeof Approval>;

/**
 * Answer to an approval. `tool_call`: approve (perhaps with edited `arguments`) or deny. `unknown_outcome`: done (with
 * the `result`), retry or fail. `question`: answer (with the `result`) or deny.
 */
export const ApprovalAnswer = z
  .strictObject({
    decision: ApprovalDecision,
    arguments: AnyObject.optional(),
    result: z.string().max(100_000).optional(),
    note: z.string().max(2000).optional(),
  })
  .meta({ id: 'ApprovalAnswer' });
export type ApprovalAnswer = z.infer<typeof ApprovalAnswer>;
