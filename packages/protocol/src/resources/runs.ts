import { z } from 'zod';
import { BudgetLimits, BudgetView } from '../budget.ts';
import { UserPart } from '../content.ts';
import { ErrorInfo } from '../errors.ts';
import { ClientTool, RunTotals, WaitReason } from '../events.ts';
import { ModelRef, Name, Payer } from './names.ts';

export const RunStatus = z.enum(['queued', 'running', 'waiting', 'completed', 'failed', 'cancelled']);
export type RunStatus = z.infer<typeof RunStatus>;

/** Statuses that a run does not leave by itself; a failed one may be resumed by a person. */
export const terminalStatuses = ['completed', 'failed', 'cancelled'] as const satisfies RunStatus[];

export function isTerminal(status: RunStatus): status is (typeof terminalStatuses)[number] {
  return (terminalStatuses as readonly RunStatus[]).includes(status);
}

/** Most text of one message, in characters: of all its parts together. */
const maxTextChars = 1_000_000;

function parts(most: number) {
  return z
    .array(UserPart)
    .max(most)
    .refine((list) => list.reduce((sum, part) => sum + (part.type === 'text' ? part.text.length : 0), 0) <= maxTextChars, {
      error: `expected at most ${maxTextChars} characters of text in all parts together`,
    });
}

const input = z.union([z.string().min(1).max(maxTextChars), parts(50).min(1)]).meta({ description: 'Text, or parts with images' });

/** What a run does that is started while others of its session are at work. */
export const WhileBusy = z.enum(['queue', 'reject', 'interrupt', 'parallel']);
export type WhileBusy = z.infer<typeof WhileBusy>;

/** Body of `POST /v1/agents/chat/stream`; the same names work as a query of `GET`. */
export const ChatRequest = z
  .strictObject({
    sessionId: z.string().max(100).optional(),
    agent: Name.optional(),
    model: ModelRef.optional(),
    input,
    budget: BudgetLimits.optional(),
    attachments: parts(20).optional(),
    user: Payer.optional().meta({ description: 'Whose budget pays, too; default: the user of the session' }),
    project: Payer.optional().meta({ description: 'Whose budget pays, too; default: the project of the session' }),
    deadlineMs: z.int().min(100).max(86_400_000).optional(),
    clientTools: z.array(ClientTool).max(32).optional().meta({
      description: 'Tools that the caller executes itself: see `tool.started` with `awaits`, and `PUT /v1/runs/{run}/tool-results/{call}`',
    }),
    whileBusy: WhileBusy.optional().meta({
      description:
        'While others of the session are at work: `queue` (default) waits until they have ended or wait for a person, a client or a time, `reject` is refused with `session_busy`, `interrupt` cancels them and follows, `parallel` begins at once',
    }),
  })
  .meta({ id: 'ChatRequest' });
export type ChatRequest = z.infer<typeof ChatRequest>;

export const RunCreateRequest = ChatRequest.meta({ id: 'RunCreateRequest' });
export type RunCreateRequest = ChatRequest;

export const Run = z
  .object({
    id: z.string(),
    sessionId: z.string(),
    status: RunStatus,
    agent: z.string(),
    agentVersion: z.string(),
    model: z.string().optional(),
    parentRunId: z.string().optional(),
    waitingFor: z
      .object({
        reason: z.enum([...WaitReason.options, 'session']),
        approvals: z.array(z.string()).optional(),
        childRuns: z.array(z.string()).optional(),
        clientCalls: z.array(z.string()).optional().meta({ description: 'Calls of client tools whose results are to be posted' }),
        until: z.string().optional().meta({ description: 'A call of the tool `wait` ends then' }),
        behind: z.string().optional(),
      })
      .meta({ description: 'A queued run with the reason `session` is to begin when the session is free of `behind`, the run before it' })
      .optional(),
    step: z.int(),
    lastSeq: z.int(),
    totals: RunTotals,
    output: z.string().optional(),
    error: ErrorInfo.optional(),
    resumable: z.boolean().optional(),
    budget: BudgetView.optional(),
    traceId: z.string().optional(),
    user: z.string().optional(),
    project: z.string().optional(),
    createdAt: z.string(),
    updatedAt: z.string(),
  })
  .meta({ id: 'Run' });
export type Run = z.infer<typeof Run>;

/** The result of a call of a client tool: what the model reads, or why it failed. */
export const ClientToolResult = z
  .union([z.strictObject({ output: z.string().max(4_000_000) }), z.strictObject({ error: z.string().min(1).max(4_000) })])
  .meta({ id: 'ClientToolResult' });
export type ClientToolResult = z.infer<typeof ClientToolResult>;

/** A call that waits for its client. */
export const ClientCall = z
  .object({ callId: z.string(), name: z.string(), arguments: z.unknown(), deadlineAt: z.string() })
  .meta({ id: 'ClientCall' });
export type ClientCall = z.infer<typeof ClientCall>;

export const RunCancelRequest = z.strictObject({ reason: z.string().max(500).optional() }).meta({ id: 'RunCancelRequest' });
/** A fork copies the journal up to and including event `afterSeq` (default: the last finished step) and goes on with the edits. */
export const RunForkRequest = z
  .strictObject({
    afterSeq: z.int().positive().optional(),
    input: input.optional(),
    model: ModelRef.optional(),
    budget: BudgetLimits.optional(),
  })
  .meta({ id: 'RunForkRequest' });
export type RunForkRequest = z.infer<typeof RunForkRequest>;

export const ReplayResult = z
  .object({
    runId: z.string(),
    events: z.int(),
    status: RunStatus,
    stateHash: z.string(),
    matches: z.boolean(),
    divergedAtSeq: z.int().optional(),
  })
  .meta({ id: 'ReplayResult' });
export type ReplayResult = z.infer<typeof ReplayResult>;
