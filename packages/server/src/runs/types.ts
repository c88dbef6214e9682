import type {
  Agent,
  AgentDefinition,
  Approval,
  ApprovalAnswer,
  BudgetRow,
  BudgetScope,
  ChatRequest,
  DecisionRecord,
  EventType,
  Key,
  KeyCreateRequest,
  KeyScope,
  ModelInfo,
  Page,
  ReplayResult,
  Run,
  RunForkRequest,
  RunStatus,
  Session,
  SessionCreateRequest,
  SessionMessage,
  SetBudgetRequest,
  TenantId,
  ToolExecuteResult,
  ToolInfo,
} from '@nexus-agent/protocol';

/** Who asks. `id` is `local` for the operator on loopback, else the key's id. */
export interface Principal {
  readonly tenantId: TenantId;
  readonly id: string;
  readonly scopes: readonly KeyScope[];
  readonly roles: readonly string[];
}

export interface PageQuery {
  readonly limit: number;
  readonly cursor?: string;
}

/** One event of a stream, ready to be written: `id:` line (absent on parts that cannot be resumed at), type, and JSON of the wire event. */
export interface StreamFrame {
  readonly id: string | null;
  readonly event: EventType;
  readonly data: string;
}

/** A place in a stream: after event `seq`, and within the model call that it began after `offset` units of text. */
export interface StreamCursor {
  readonly seq: number;
  readonly offset: number;
}

export interface CreateOptions {
  /** Of the `Idempotency-Key` header: the same key and request gives the first answer again. */
  readonly idempotencyKey?: string;
}

export interface StartOptions extends CreateOptions {
  /** `interactive`: this process drives the run at once. `background`: any worker takes it from the queue. */
  readonly mode: 'interactive' | 'background';
  readonly traceparent?: string;
}

export interface UsageRow {
  readonly day: string;
  readonly settlements: number;
  readonly costMicroUsd: number;
  readonly tokens: number;
  readonly toolCalls: number;
  readonly wallMs: number;
}

/**
 * The orchestrator's whole surface: what the API, and nothing else, calls. Every method checks that the principal's
 * tenant owns what is named (`not_found` otherwise) and throws {@link NexusError} with a code of the table; a refusal by
 * policy or budget is `policy_denied` or `budget_exceeded` with the details.
 */
export interface RunService {
  createSession(
    principal: Principal,
    request: SessionCreateRequest,
    options: CreateOptions,
  ): Promise<{ session: Session; created: boolean }>;
  getSession(principal: Principal, sessionId: string): Promise<Session>;
  listSessions(principal: Principal, page: PageQuery): Promise<Page<Session>>;
  /** Ends the session: no run may start in it any more, live ones are cancelled. */
  closeSession(principal: Principal, sessionId: string): Promise<void>;
  listMessages(principal: Principal, sessionId: string, page: PageQuery): Promise<Page<SessionMessage>>;

  /** Resolves once the run and its first reservation are durable. Without `sessionId` a session is created for it. */
  startRun(principal: Principal, request: ChatRequest, options: StartOptions): Promise<{ run: Run; created: boolean }>;
  getRun(principal: Principal, runId: string): Promise<Run>;
  listRuns(principal: Principal, filter: { sessionId?: string; status?: RunStatus }, page: PageQuery): Promise<Page<Run>>;
  /** Stops the upstream request and the tools, wherever the run lives. Idempotent; an ended run stays as it is. */
  cancelRun(principal: Principal, runId: string, reason?: string): Promise<Run>;
  /** Continues a run that failed with `resumable`. */
  resumeRun(principal: Principal, runId: string): Promise<Run>;
  forkRun(principal: Principal, runId: string, request: RunForkRequest, options: CreateOptions): Promise<{ run: Run; created: boolean }>;
  /** Feeds the journal through the transitions without effects and compares with the stored state. */
  replayRun(principal: Principal, runId: string): Promise<ReplayResult>;
  /** A page of the journal as wire events (JSON texts, parsed by nobody on the way). */
  readEvents(
    principal: Principal,
    runId: string,
    range: { after: number; limit: number },
  ): Promise<{ events: readonly string[]; nextAfter: number | null }>;
  /**
   * Follows a run's log from a cursor: history first, then live, ending after a terminal event, after `run.waiting`
   * when `untilIdle`, or when the signal fires. Holds no queue: a slow consumer only delays itself. Each batch is what is
   * ready now. Ending the iteration never touches the run.
   */
  follow(
    principal: Principal,
    runId: string,
    cursor: StreamCursor,
    options: { signal: AbortSignal; untilIdle?: boolean },
  ): AsyncIterable<readonly StreamFrame[]>;
  listRunDecisions(principal: Principal, runId: string, page: PageQuery): Promise<Page<DecisionRecord>>;

  listApprovals(principal: Principal, filter: { status?: Approval['status'] }, page: PageQuery): Promise<Page<Approval>>;
  getApproval(principal: Principal, approvalId: string): Promise<Approval>;
  answerApproval(principal: Principal, approvalId: string, answer: ApprovalAnswer): Promise<Approval>;

  listAgents(principal: Principal, page: PageQuery): Promise<Page<Agent>>;
  getAgent(principal: Principal, name: string, version?: string): Promise<Agent>;
  putAgent(principal: Principal, definition: AgentDefinition): Promise<Agent>;

  listTools(principal: Principal): Promise<readonly ToolInfo[]>;
  /** Runs one tool outside a run, under the session's policy and budget; the decision is recorded. */
  executeTool(
    principal: Principal,
    name: string,
    request: { sessionId: string; input: Record<string, unknown> },
    signal: AbortSignal,
  ): Promise<ToolExecuteResult>;
  listModels(principal: Principal): Promise<readonly ModelInfo[]>;

  listBudgets(principal: Principal, filter: { scope?: BudgetScope }, page: PageQuery): Promise<Page<BudgetRow>>;
  setBudget(principal: Principal, request: SetBudgetRequest): Promise<BudgetRow>;
  usage(principal: Principal, days: number): Promise<readonly UsageRow[]>;

  /** A repeat under the same idempotency key gives the key again without its secret, which is not kept. */
  createKey(principal: Principal, request: KeyCreateRequest, options?: CreateOptions): Promise<Key>;
  listKeys(principal: Principal, page: PageQuery): Promise<Page<Key>>;
  revokeKey(principal: Principal, keyId: string): Promise<void>;
  /** The principal of an API key, or null when the key is unknown, wrong, expired or revoked. */
  authenticate(secret: string): Promise<Principal | null>;

  /** Greeting of the default agent, for a bare GET of the chat stream. */
  readonly greeting: string;
  /** False while starting, draining, or when the database does not answer. */
  ready(): Promise<{ ready: boolean; reason?: string }>;
}
