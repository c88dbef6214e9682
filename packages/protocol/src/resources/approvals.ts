import { z } from 'zod';
import { ApprovalDecision, ApprovalKind } from '../events.ts';
import { AnyObject } from './names.ts';

/** One field of a form, as the MCP server that asks wants it filled in. */
const FormField = z
  .object({
    name: z.string(),
    type: z.enum(['text', 'number', 'integer', 'boolean', 'choice', 'choices']),
    title: z.string().optional(),
    description: z.string().optional(),
    required: z.boolean(),
    default: z.union([z.string(), z.number(), z.boolean(), z.array(z.string())]).optional(),
    minLength: z.number().optional(),
    maxLength: z.number().optional(),
    format: z.enum(['email', 'uri', 'date', 'date-time']).optional(),
    minimum: z.number().optional(),
    maximum: z.number().optional(),
    choices: z.array(z.object({ value: z.string(), title: z.string().optional() })).optional(),
    minItems: z.number().optional(),
    maxItems: z.number().optional(),
  })
  .meta({ id: 'FormField' });
export type FormField = z.infer<typeof FormField>;

/** What an MCP server asks a person in the midst of a call: to fill in `fields`, or to open `url` themselves. */
export const AskedForm = z
  .object({
    server: z.string().describe('The MCP server that asks, by its name here'),
    tool: z.string().describe('The tool that was called'),
    question: z.string(),
    fields: z.array(FormField).optional(),
    url: z.string().optional(),
    host: z.string().optional(),
  })
  .meta({ id: 'AskedForm' });
export type AskedForm = z.infer<typeof AskedForm>;

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
    form: AskedForm.optional().describe('What is to be filled in, where an MCP server asks'),
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
 * the `result`), retry or fail. `question`: answer (with the `result`) or deny. A question with a `form`: answer with the
 * `content` of its fields, or with nothing to say that its `url` may be gone on with.
 */
export const ApprovalAnswer = z
  .strictObject({
    decision: ApprovalDecision,
    arguments: AnyObject.optional(),
    result: z.string().max(100_000).optional(),
    content: AnyObject.optional().describe('The fields of a form by their names'),
    note: z.string().max(2000).optional(),
  })
  .meta({ id: 'ApprovalAnswer' });
export type ApprovalAnswer = z.infer<typeof ApprovalAnswer>;
