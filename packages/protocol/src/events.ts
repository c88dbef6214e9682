import { z } from 'zod';
import { BudgetAmounts, BudgetLimits, BudgetRefusal } from './budget.ts';
import { AssistantPart, AssumedCount, FinishReason, Usage, UserPart } from './content.ts';
import { dictionary } from './dictionary.ts';
import { ErrorInfo, Problem } from './errors.ts';
import { DecisionRecord } from './policy.ts';
import { AnyObject, ToolName } from './resources/names.ts';

/**
 * The journal of a run is the sequence of these events, numbered from 1 without a gap. It is the single source: state
 * is a fold of it, recovery and replay read it, and the stream that clients see is the same log plus the live parts
 * below. Once written an event is never changed; new optional fields may be added, nothing is renamed or removed.
 */
const callId = z.string();
const step = z.int().positive();

/** What a call costs in every unit, as reserved before it and settled after it. */
const reservation = z.object({ reservationId: z.string(), amounts: BudgetAmounts });

export const effectsClass = z.enum(['none', 'idempotent', 'once']);
/** `none`: reads only. `idempotent`: may be repeated under one idempotency key. `once`: must not be repeated blindly. */
export type EffectsClass = z.infer<typeof effectsClass>;

/** A tool that whoever starts a run executes itself: the run waits for what they post as its result. */
export const ClientTool = z
  .strictObject({
    name: ToolName,
    description: z.string().max(4_000).describe('For the model: what it does, and when to use it'),
    inputSchema: AnyObject.optional().describe('JSON Schema of the arguments, of type object; default: any object'),
    outputSchema: AnyObject.optional().describe('JSON Schema of what its result is: as JSON, or as text; another one is refused'),
    timeoutMs: z.int().min(1_000).max(86_400_000).optional().describe('How long the run waits for a result; default 600,000'),
  })
  .meta({ id: 'ClientTool' });
export type ClientTool = z.infer<typeof ClientTool>;

export const ApprovalKind = z.enum(['tool_call', 'unknown_outcome', 'question']);
export type ApprovalKind = z.infer<typeof ApprovalKind>;
export const ApprovalDecision = z.enum(['approve', 'deny', 'done', 'retry', 'fail', 'answer']);
export type ApprovalDecision = z.infer<typeof ApprovalDecision>;

export const WaitReason = z.enum(['approval', 'child', 'timer', 'client']);
export type WaitReason = z.infer<typeof WaitReason>;

/** Totals of a run so far. */
export const RunTotals = z.object({
  inputTokens: z.int(),
  outputTokens: z.int(),
  costMicroUsd: z.int(),
  modelCalls: z.int(),
  toolCalls: z.int(),
});
export type RunTotals = z.infer<typeof RunTotals>;

/** A run as a later one of its session was shown it: its journal up to and with event `seq`. */
const RunReading = z.object({
  runId: z.string(),
  seq: z.int().nonnegative(),
  /** When it was created, in milliseconds since 1970: its place in the log. */
  at: z.int(),
  /** So many of its oldest messages are not shown: a summary stands for them. */
  skip: z.int().optional(),
});
export type RunReading = z.infer<typeof RunReading>;

/** The log of a session as a run was shown it. What the model is told follows from this and the journals that it names. */
export const SessionReading = z.object({
  /** What this run was itself shown comes first; it is among `runs`, too. */
  after: z.string().optional(),
  /** The run whose summary stands for everything that is not in `runs`. */
  summary: z.object({ runId: z.string(), seq: z.int() }).optional(),
  /** Runs that came since, and earlier ones that have gone on since, which take their old place. */
  runs: z.array(RunReading),
  /** Runs behind the summary that had not ended for good when they were read. */
  covered: z.array(RunReading).optional(),
});
export type SessionReading = z.infer<typeof SessionReading>;

/** What is kept of a result that was too long: `output` is its beginning, and a note. */
const ArtifactOfResult = z.object({
  id: z.string(),
  sha256: z.string(),
  bytes: z.int().nonnegative(),
  /** In units of UTF-16. */
  characters: z.int().nonnegative(),
  lines: z.int().nonnegative(),
  mediaType: z.string(),
  /** False where the result was longer than what may be kept of one. */
  whole: z.boolean(),
});

/** What a tool call had to do with files. Their contents are kept by their hashes. */
const FilesOfCall = z.object({
  /** Whose files: the session's, or those of a fork. */
  of: z.string(),
  /** The version of them that the call was shown. */
  version: z.int().positive(),
  /** What it changed, in the version that came with this event; `sha256` null: the file is gone. */
  changed: z.array(z.object({ path: z.string(), sha256: z.string().nullable(), bytes: z.int() })).optional(),
});

export const journalSchemas = dictionary({
  /**
   * First event of every run. `reading` is what the run sees of its session; one that has to wait in the queue reads when it
   * starts. `history` names the newest run among them; without any `reading` the run sees that one and what it saw itself.
   */
  'run.created': z.object({
    sessionId: z.string(),
    agent: z.string(),
    agentVersion: z.string(),
    model: z.string().optional(),
    input: z.array(UserPart),
    budget: BudgetLimits.optional(),
    clientTools: z.array(ClientTool).optional(),
    history: z.array(z.string()),
    reading: SessionReading.optional(),
    principal: z.string(),
    user: z.string().optional(),
    project: z.string().optional(),
    deadlineAt: z.string().optional(),
    parent: z.object({ runId: z.string(), callId, depth: z.int() }).optional(),
    forkOf: z.object({ runId: z.string(), afterSeq: z.int() }).optional(),
    /** Whose files it works on: a fork has its own. Those of the session when left out. */
    filesOf: z.string().optional(),
    /** Of a fork: so many events after this one are the original's. They were paid for there and count in no totals here. */
    copied: z.int().optional(),
    traceparent: z.string().optional(),
    decision: DecisionRecord.optional(),
  }),
  'run.started': z.object({ workerId: z.string(), epoch: z.int(), reading: SessionReading.optional() }),
  'step.started': z.object({ step }),
  /** The next attempt of a model call, written before anything is sent. `purpose` compaction summarises old turns. */
  'model.started': z.object({
    step,
    callId,
    attempt: z.int().positive(),
    purpose: z.enum(['answer', 'compaction']),
    provider: z.string(),
    model: z.string(),
    maxTokens: z.int(),
    /** The budget afforded less than was asked: an answer of this length is not a whole one. */
    clamped: z.boolean().optional(),
    timeoutMs: z.int().optional(),
    reservationId: z.string(),
    /** What of the reservation is for the input. */
    inputTokens: z.int().optional(),
    decision: DecisionRecord,
  }),
  'model.completed': z.object({
    step,
    callId,
    attempt: z.int().positive(),
    purpose: z.enum(['answer', 'compaction']),
    provider: z.string(),
    model: z.string(),
    content: z.array(AssistantPart),
    finishReason: FinishReason,
    /** The server went on beyond its limit of tokens; the answer is what had come when it was stopped, or its account says so. */
    overran: z.literal(true).optional(),
    usage: Usage,
    /** Counts of the usage that the provider did not give, or gave lower than they can be: the most that is possible is charged. */
    assumed: z.array(AssumedCount).optional(),
    costMicroUsd: z.int(),
    timeToFirstTokenMs: z.int().optional(),
    durationMs: z.int(),
    /** For a compaction: how many of the oldest messages the summary replaces. */
    replacesMessages: z.int().optional(),
  }),
  /** An attempt ended without an answer. The next event says what follows: another attempt, a fallback, or failure. */
  'model.failed': z.object({
    step,
    callId,
    attempt: z.int(),
    provider: z.string(),
    model: z.string(),
    error: ErrorInfo,
    usage: Usage.optional(),
    assumed: z.array(AssumedCount).optional(),
    /** What had been streamed; void, but kept so that every reader can be shown the same. */
    content: z.array(AssistantPart).optional(),
  }),
  'route.fallback': z.object({
    step,
    callId,
    from: z.object({ provider: z.string(), model: z.string() }),
    to: z.object({ provider: z.string(), model: z.string() }),
    error: ErrorInfo,
  }),
  /**
   * A model takes fewer tokens than was thought: its server refused a request as too long, read only part of one (`cut`), or
   * is known to take less than a request has that other models could not answer (`known`). From here on the run keeps to `contextTokens`; `inputTokens` is the estimate of what was sent.
   */
  'context.learned': z.object({
    step,
    callId,
    provider: z.string(),
    model: z.string(),
    contextTokens: z.int().positive(),
    inputTokens: z.int().nonnegative(),
    reason: z.enum(['refused', 'cut', 'known']),
  }),
  /** An answer that cannot end the run is asked for again: `message` is what the model is told. */
  'answer.refused': z.object({ step, message: z.string() }),
  /** The model asks for a call, or a call that runs does: its `parentCallId`, in which it is number `index`. */
  'tool.requested': z.object({
    step,
    callId,
    index: z.int().nonnegative(),
    name: z.string(),
    input: z.unknown(),
    parentCallId: callId.optional(),
    /** Of a call with a parent: why its arguments cannot be used. */
    invalidInput: z.string().optional(),
  }),
  /** An attempt of a tool call, written before it runs. */
  'tool.started': z.object({
    step,
    callId,
    attempt: z.int().positive(),
    /** An attempt after the first that was reserved for itself: it is one more call in the totals. */
    counted: z.literal(true).optional(),
    /** It goes on where this call was suspended for the so manieth time: no further call in the totals, with the `input` that it had (null here). */
    resumes: z.int().positive().optional(),
    name: z.string(),
    effects: effectsClass,
    input: z.unknown(),
    idempotencyKey: z.string(),
    timeoutMs: z.int(),
    reservationId: z.string().optional(),
    childRunId: z.string().optional(),
    /** Of a call that only waits: until then nothing is done. */
    until: z.string().optional(),
    /** Whoever started the run is to execute it, and to post the result before `until`. */
    awaits: z.literal('client').optional(),
    decision: DecisionRecord,
  }),
  /**
   * The attempt is over, and nothing of the call is left but this: it goes on from the content `state` once the calls that it wants, whose
   * `tool.requested` come next, have results.
   */
  'tool.suspended': z.object({
    step,
    callId,
    attempt: z.int().positive(),
    name: z.string(),
    state: z.object({ sha256: z.string(), bytes: z.int().nonnegative() }),
    fuelUsed: z.int().nonnegative(),
    /** Since it was suspended before. */
    printed: z.string().optional(),
    durationMs: z.int().optional(),
    waitedMs: z.int().optional(),
  }),
  'tool.completed': z.object({
    step,
    callId,
    name: z.string(),
    status: z.enum(['ok', 'error', 'denied', 'cancelled']),
    /** What the tool gave, text or JSON text; the model is told the same, and then the note. */
    output: z.string(),
    /** What the model must know beside it: with which arguments a call ran that a person changed. */
    note: z.string().optional(),
    error: ErrorInfo.optional(),
    costMicroUsd: z.int().optional(),
    durationMs: z.int().optional(),
    /** How much of the duration the call waited for its turn, behind others that use the sandbox, say. Left out when it did not wait. */
    waitedMs: z.int().optional(),
    files: FilesOfCall.optional(),
    artifact: ArtifactOfResult.optional(),
    /** Who posted it, of a call that a client executed. */
    givenBy: z.string().optional(),
  }),
  'approval.requested': z.object({
    step,
    callId,
    approvalId: z.string(),
    kind: ApprovalKind,
    toolName: z.string(),
    input: z.unknown(),
    question: z.string().optional(),
    role: z.string().optional(),
    deadlineAt: z.string(),
    defaultDecision: ApprovalDecision,
    decision: DecisionRecord.optional(),
  }),
  'approval.decided': z.object({
    step,
    callId,
    approvalId: z.string(),
    kind: ApprovalKind,
    decision: ApprovalDecision,
    /** The arguments as approved: what runs is exactly these. */
    arguments: z.unknown().optional(),
    result: z.string().optional(),
    note: z.string().optional(),
    /** The role that the approval asked for and the person had. */
    role: z.string().optional(),
    decidedBy: z.string(),
  }),
  'budget.reserved': reservation,
  'budget.settled': z.object({
    reservationId: z.string(),
    amounts: BudgetAmounts,
    outcome: z.enum(['settled', 'released', 'charged_maximum', 'late_usage', 'overrun']),
    /** What this adds to the totals, beside the cost: a call that did not end says nothing of its use itself. */
    adds: z.object({ inputTokens: z.int().optional(), outputTokens: z.int().optional(), toolCalls: z.int().optional() }).optional(),
  }),
  'budget.refused': z.object({
    step: step.optional(),
    callId: callId.optional(),
    purpose: z.enum(['model', 'tool', 'run']),
    refusal: BudgetRefusal,
  }),
  'policy.denied': z.object({ step: step.optional(), callId: callId.optional(), decision: DecisionRecord }),
  /** A call that was in flight when its worker was lost starts again; what was streamed of it is void. */
  'step.restarted': z.object({ step, callId, kind: z.enum(['model', 'tool']), attempt: z.int(), reason: z.string() }),
  'run.waiting': z.object({
    reason: WaitReason,
    approvals: z.array(z.string()).optional(),
    childRuns: z.array(z.string()).optional(),
    clientCalls: z.array(z.string()).optional(),
    until: z.string().optional(),
  }),
  'run.resumed': z.object({
    reason: z.enum(['recovered', 'approval', 'child', 'timer', 'client', 'budget', 'handover']),
    workerId: z.string(),
    epoch: z.int(),
    reading: SessionReading.optional(),
  }),
  'message.completed': z.object({
    messageId: z.string(),
    role: z.literal('assistant'),
    text: z.string(),
    output: z.unknown().optional(),
    finishReason: FinishReason,
  }),
  'run.completed': z.object({ totals: RunTotals, stateHash: z.string() }),
  /** `resumable`: `POST /v1/runs/:id/resume` continues it, for instance after a budget was raised. */
  'run.failed': z.object({ error: ErrorInfo, totals: RunTotals, resumable: z.boolean(), stateHash: z.string() }),
  'run.cancelled': z.object({ reason: z.string(), totals: RunTotals, stateHash: z.string() }),
} as const);

export type JournalEventType = keyof typeof journalSchemas;
export type JournalData<T extends JournalEventType> = z.infer<(typeof journalSchemas)[T]>;

/** An event that is about to be written: its number and time are given by the store. */
export type NewEvent = { [T in JournalEventType]: { type: T; data: JournalData<T> } }[JournalEventType];

/** An event of the journal. `at` is milliseconds since 1970 inside, RFC 3339 on the wire. */
export type JournalEvent = { [T in JournalEventType]: { type: T; seq: number; at: number; data: JournalData<T> } }[JournalEventType];

/**
 * Live parts: on the stream only, never in the journal. `offset` counts UTF-16 units over all text and reasoning of a
 * model call; a stream resumed at `<seq>.<offset>` continues exactly there. With each `model.started` of a call its text begins anew.
 */
export const liveSchemas = dictionary({
  'model.delta': z.object({ step, callId, kind: z.enum(['text', 'reasoning']), offset: z.int().nonnegative(), text: z.string() }),
  'tool.output': z.object({ step, callId, text: z.string() }),
  /** The text of the model call so far, whole: replace what was assembled from deltas. */
  'message.reset': z.object({
    step,
    callId,
    parts: z.array(z.object({ kind: z.enum(['text', 'reasoning']), text: z.string() })),
    offset: z.int().nonnegative(),
  }),
  /** This reader fell too far behind and is detached; reconnect with `Last-Event-ID` to go on without loss. */
  'stream.lagged': z.object({ lastEventId: z.string() }),
  error: Problem,
} as const);

export type LiveEventType = keyof typeof liveSchemas;
export type LiveData<T extends LiveEventType> = z.infer<(typeof liveSchemas)[T]>;

export type EventType = JournalEventType | LiveEventType;
export const journalEventTypes = Object.keys(journalSchemas) as JournalEventType[]; // keys of a literal object
export const liveEventTypes = Object.keys(liveSchemas) as LiveEventType[]; // keys of a literal object

const journalWire = journalEventTypes.map((type) =>
  z.object({ type: z.literal(type), runId: z.string(), seq: z.int().positive(), at: z.iso.datetime(), data: journalSchemas[type] }),
);
const liveWire = liveEventTypes.map((type) => z.object({ type: z.literal(type), runId: z.string(), data: liveSchemas[type] }));

/** An event as it travels: the `data:` line of the stream and an element of the JSON page. */
export type WireEvent =
  | { [T in JournalEventType]: { type: T; runId: string; seq: number; at: string; data: JournalData<T> } }[JournalEventType]
  | { [T in LiveEventType]: { type: T; runId: string; data: LiveData<T> } }[LiveEventType];

export const WireEvent: z.ZodType<WireEvent> = z
  .union([...journalWire, ...liveWire] as unknown as [z.ZodType<WireEvent>, z.ZodType<WireEvent>]) // the maps above erase the pairing of type and data
  .meta({ id: 'Event' }) as z.ZodType<WireEvent>;
