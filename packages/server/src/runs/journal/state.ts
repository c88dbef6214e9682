import type {
  ApprovalDecision,
  ApprovalKind,
  AssistantPart,
  BudgetAmounts,
  EffectsClass,
  ErrorInfo,
  FinishReason,
  JournalData,
  Message,
  RunStatus,
  RunTotals,
  SessionReading,
  WaitReason,
} from '@nexus-agent/protocol';

/** The model call in flight, or the last one that failed. */
export interface ModelCallState {
  readonly callId: string;
  /** Of its `model.started`: deltas are numbered after it. */
  readonly seq: number;
  readonly attempt: number;
  readonly purpose: 'answer' | 'compaction';
  readonly provider: string;
  readonly model: string;
  readonly maxTokens: number;
  readonly clamped: boolean;
  readonly reservationId: string;
  /** What of the reservation is for the input; absent in older journals. */
  readonly inputTokens?: number;
  readonly phase: 'started' | 'failed';
}

/** An attempt of a tool call that was written before it ran. */
export interface ToolAttempt {
  readonly attempt: number;
  readonly effects: EffectsClass;
  readonly input: unknown;
  readonly idempotencyKey: string;
  readonly reservationId: string | null;
  readonly childRunId: string | null;
}

export type ToolCallPhase =
  | { readonly type: 'requested' }
  | { readonly type: 'awaiting'; readonly approvalId: string; readonly kind: ApprovalKind; readonly deadlineAt: string }
  | {
      readonly type: 'decided';
      readonly kind: ApprovalKind;
      readonly decision: ApprovalDecision;
      readonly arguments: unknown;
      readonly result: string | null;
      readonly note: string | null;
      readonly role: string | null;
      readonly decidedBy: string;
    }
  | { readonly type: 'started' }
  /** It does nothing until then; with `awaits`, or until a client has posted its result. */
  | { readonly type: 'asleep'; readonly until: string; readonly awaits?: 'client' }
  /** It waits for the calls that it made. */
  | { readonly type: 'suspended' }
  | { readonly type: 'completed'; readonly output: string; readonly isError: boolean };

/** Where a call was suspended last: it goes on from there, also after the process was lost that did. */
export interface SuspensionState {
  readonly count: number;
  readonly state: JournalData<'tool.suspended'>['state'];
  readonly fuelUsed: number;
  /** The calls that it waited for, in the order in which they ended. */
  readonly ended: readonly { readonly id: number; readonly isError: boolean; readonly output: string }[];
}

/** A tool call of the current step. */
export interface ToolCallState {
  readonly callId: string;
  readonly index: number;
  readonly providerCallId: string;
  readonly name: string;
  readonly input: unknown;
  readonly invalidInput: string | null;
  readonly phase: ToolCallPhase;
  /** A person allowed this call; it stays allowed, for the same arguments, when it has to start again. */
  readonly approval: { readonly by: string; readonly role: string | null } | null;
  /** The call that made it; absent for what the model asked for. Its `index` counts the calls of that one then. */
  readonly parentCallId?: string;
  /** Absent while it was never suspended. */
  readonly suspension?: SuspensionState;
  /** The newest attempt, kept while its outcome is asked of a person. */
  readonly attempt: ToolAttempt | null;
}

/** The oldest `replaces` messages (of the history and this run together) stand for this text. */
export interface Summary {
  readonly text: string;
  readonly replaces: number;
}

/**
 * A run, as a fold of its journal. Everything the engine decides is decided from this and nothing else, so that a
 * worker that takes over decides the same.
 */
export interface RunState {
  readonly lastSeq: number;
  readonly status: RunStatus;
  readonly created: JournalData<'run.created'> | null;
  /** What the run sees of its session, where it was recorded as it started and not as it was created. */
  readonly reading?: SessionReading;
  readonly step: number;
  /** Turns of this run, oldest first; those of the session's earlier runs come before them. */
  readonly messages: readonly Message[];
  readonly summary: Summary | null;
  /** How many times old turns were summarised: numbers the calls that do it. */
  readonly compactions: number;
  readonly model: ModelCallState | null;
  /** The model's answer in this step. */
  readonly answer: {
    readonly content: readonly AssistantPart[];
    readonly finishReason: FinishReason;
    readonly maxTokens: number;
    readonly clamped: boolean;
  } | null;
  /** How many answers were refused and asked for again; `isOpen` until the next one is asked for. Absent while there were none. */
  readonly refused?: { readonly count: number; readonly isOpen: boolean };
  /** How many tokens models take, by `provider/model`, where less than was thought. Absent while nothing was learned. */
  readonly contexts?: Readonly<Record<string, number>>;
  /** Requests that were too long: all of them, those since the last answer, and the call of the last. Absent while there were none. */
  readonly overflows?: { readonly count: number; readonly running: number; readonly callId: string };
  readonly calls: readonly ToolCallState[];
  /** One entry per finished step with tools: what was called and what came back. Repetition is a loop. */
  readonly signatures: readonly string[];
  readonly openReservations: Readonly<Record<string, BudgetAmounts>>;
  readonly totals: RunTotals;
  readonly waitingFor: { readonly reason: WaitReason; readonly approvals: readonly string[]; readonly childRuns: readonly string[] } | null;
  readonly output: string | null;
  readonly error: ErrorInfo | null;
  readonly resumable: boolean;
}

export const emptyTotals: RunTotals = { inputTokens: 0, outputTokens: 0, costMicroUsd: 0, modelCalls: 0, toolCalls: 0 };

export const initialState: RunState = {
  lastSeq: 0,
  status: 'queued',
  created: null,
  step: 0,
  messages: [],
  summary: null,
  compactions: 0,
  model: null,
  answer: null,
  calls: [],
  signatures: [],
  openReservations: {},
  totals: emptyTotals,
  waitingFor: null,
  output: null,
  error: null,
  resumable: false,
};
