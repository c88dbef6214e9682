import { z } from 'zod';
import { BudgetLimits, BudgetView } from './budget.ts';
import { Message, UserPart } from './content.ts';
import { ErrorInfo } from './errors.ts';
import { ApprovalDecision, ApprovalKind, effectsClass, RunTotals, WaitReason } from './events.ts';
import { PolicyShortForm } from './policy.ts';

/** Names of agents, tools and routes. */
export const Name = z
  .string()
  .regex(/^[a-z][a-z0-9_-]{0,62}$/, { error: 'expected a lower-case name of at most 63 letters, digits, - or _' });

/** A model reference: `provider/model`, or a bare model that a configured provider serves. */
export const ModelRef = z.string().min(1).max(200);

const metadata = z
  .record(z.string().max(64), z.string().max(512))
  .refine((value) => Object.keys(value).length <= 32, { error: 'at most 32 entries' });

/** What an agent is. A definition is immutable once stored; its version is the hash of its content. */
export const AgentDefinition = z
  .strictObject({
    name: Name,
    description: z.string().max(500).default(''),
    instructions: z.string().max(100_000).default(''),
    /** Models in order of preference: the later ones are fallbacks before the first token. */
    models: z.array(ModelRef).min(1).max(8),
    /** Tools that the agent is offered, by name or pattern. What may run is decided by policy. */
    tools: z.array(z.string().min(1).max(100)).max(100).default([]),
    /** Agents that it may call as tools `agent_<name>`. */
    subagents: z.array(Name).max(20).default([]),
    policy: PolicyShortForm.optional(),
    budget: BudgetLimits.optional(),
    maxSteps: z.int().min(1).max(1000).default(25),
    maxParallelTools: z.int().min(1).max(32).default(8),
    maxOutputTokens: z.int().min(1).max(200_000).default(4096),
    temperature: z.number().min(0).max(2).optional(),
    timeoutMs: z.int().min(100).max(86_400_000).default(600_000),
    approvalTimeoutMs: z.int().min(1000).max(2_592_000_000).default(86_400_000),
    /** JSON Schema of the final answer; the run fails with `output_invalid` when the answer does not fit. */
    outputSchema: z.record(z.string(), z.unknown()).optional(),
  })
  .meta({ id: 'AgentDefinition' });
export type AgentDefinition = z.infer<typeof AgentDefinition>;

export const Agent = z
  .object({
    name: z.string(),
    version: z.string(),
    createdAt: z.string(),
    source: z.enum(['file', 'api', 'built-in']),
    definition: AgentDefinition,
  })
  .meta({ id: 'Agent' });
export type Agent = z.infer<typeof Agent>;

export const SessionCreateRequest = z
  .strictObject({
    agent: Name.optional(),
    budget: BudgetLimits.optional(),
    policy: PolicyShortForm.optional(),
    user: z.string().min(1).max(100).optional(),
    project: z.string().min(1).max(100).optional(),
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

export const RunStatus = z.enum(['queued', 'running', 'waiting', 'completed', 'failed', 'cancelled']);
export type RunStatus = z.infer<typeof RunStatus>;

/** Statuses that a run does not leave by itself; a failed one may be resumed by a person. */
export const terminalStatuses = ['completed', 'failed', 'cancelled'] as const satisfies RunStatus[];

export function isTerminal(status: RunStatus): status is (typeof terminalStatuses)[number] {
  return (terminalStatuses as readonly RunStatus[]).includes(status);
}

const input = z
  .union([z.string().min(1).max(1_000_000), z.array(UserPart).min(1).max(50)])
  .meta({ description: 'Text, or parts with images' });

/** Body of `POST /v1/agents/chat/stream`; the same names work as a query of `GET`. */
export const ChatRequest = z
  .strictObject({
    sessionId: z.string().optional(),
    agent: Name.optional(),
    model: ModelRef.optional(),
    input,
    budget: BudgetLimits.optional(),
    attachments: z.array(UserPart).max(20).optional(),
    deadlineMs: z.int().min(100).max(86_400_000).optional(),
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
      .object({ reason: WaitReason, approvals: z.array(z.string()).optional(), childRuns: z.array(z.string()).optional() })
      .optional(),
    step: z.int(),
    lastSeq: z.int(),
    totals: RunTotals,
    output: z.string().optional(),
    error: ErrorInfo.optional(),
    resumable: z.boolean().optional(),
    budget: BudgetView.optional(),
    traceId: z.string().optional(),
    createdAt: z.string(),
    updatedAt: z.string(),
  })
  .meta({ id: 'Run' });
export type Run = z.infer<typeof Run>;

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

export const SessionMessage = z
  .object({ runId: z.string(), seq: z.int(), at: z.string(), message: Message })
  .meta({ id: 'SessionMessage' });
export type SessionMessage = z.infer<typeof SessionMessage>;

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
    arguments: z.record(z.string(), z.unknown()).optional(),
    result: z.string().max(100_000).optional(),
    note: z.string().max(2000).optional(),
  })
  .meta({ id: 'ApprovalAnswer' });
export type ApprovalAnswer = z.infer<typeof ApprovalAnswer>;

export const ToolInfo = z
  .object({
    name: z.string(),
    description: z.string(),
    inputSchema: z.record(z.string(), z.unknown()),
    effects: effectsClass,
    permissions: z.array(z.string()),
    timeoutMs: z.int(),
  })
  .meta({ id: 'ToolInfo' });
export type ToolInfo = z.infer<typeof ToolInfo>;

export const ToolExecuteRequest = z
  .strictObject({ sessionId: z.string(), input: z.record(z.string(), z.unknown()).default({}) })
  .meta({ id: 'ToolExecuteRequest' });
export const ToolExecuteResult = z
  .object({ status: z.enum(['ok', 'error']), output: z.string(), error: ErrorInfo.optional(), durationMs: z.int() })
  .meta({ id: 'ToolExecuteResult' });
export type ToolExecuteResult = z.infer<typeof ToolExecuteResult>;

export const ModelInfo = z
  .object({
    id: z.string(),
    provider: z.string(),
    contextTokens: z.int(),
    simulator: z.boolean(),
    price: z.object({ inputMicroUsdPerMillion: z.int(), outputMicroUsdPerMillion: z.int() }).optional(),
  })
  .meta({ id: 'ModelInfo' });
export type ModelInfo = z.infer<typeof ModelInfo>;

export const KeyScope = z.enum(['runs', 'approvals', 'admin']);
export type KeyScope = z.infer<typeof KeyScope>;
export const KeyCreateRequest = z
  .strictObject({
    name: z.string().min(1).max(100),
    tenant: z.string().optional(),
    scopes: z.array(KeyScope).min(1).default(['runs', 'approvals']),
    expiresAt: z.iso.datetime().optional(),
  })
  .meta({ id: 'KeyCreateRequest' });
export type KeyCreateRequest = z.infer<typeof KeyCreateRequest>;
export const Key = z
  .object({
    id: z.string(),
    name: z.string(),
    tenant: z.string(),
    scopes: z.array(KeyScope),
    createdAt: z.string(),
    expiresAt: z.string().optional(),
    revokedAt: z.string().optional(),
    /** Only in the answer to its creation: it is stored as a hash. */
    secret: z.string().optional(),
  })
  .meta({ id: 'Key' });
export type Key = z.infer<typeof Key>;

/** A page of a list; ask for the next one with `?cursor=<nextCursor>`. */
export function page<T extends z.ZodType>(item: T) {
  return z.object({ data: z.array(item), nextCursor: z.string().nullable() });
}
export type Page<T> = { data: T[]; nextCursor: string | null };
