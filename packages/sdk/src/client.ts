import type {
  Agent,
  AgentDefinition,
  Approval,
  ApprovalAnswer,
  BudgetRow,
  BudgetScope,
  ChatRequest,
  DecisionRecord,
  Key,
  KeyCreateRequest,
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
  ToolExecuteResult,
  ToolInfo,
  WireEvent,
} from '@nexus-agent/protocol';
import { type StreamOptions, streamRun } from './run-stream.ts';
import { createTransport, newIdempotencyKey, type RequestOptions, type TransportOptions } from './transport.ts';

export type NexusClientOptions = TransportOptions;

export interface CallOptions {
  readonly signal?: AbortSignal;
}

export interface CreateOptions extends CallOptions {
  /** Default: a new key per call, so that the client's own retries create once. */
  readonly idempotencyKey?: string;
}

export interface PageOptions extends CallOptions {
  readonly limit?: number;
  readonly cursor?: string;
}

export interface UsageRow {
  readonly day: string;
  readonly settlements: number;
  readonly costMicroUsd: number;
  readonly tokens: number;
  readonly toolCalls: number;
  readonly wallMs: number;
}

/** What may be left out because the server fills it in. */
type AgentInput = Pick<AgentDefinition, 'name' | 'models'> & Partial<AgentDefinition>;
type BudgetInput = Omit<SetBudgetRequest, 'window'> & Partial<Pick<SetBudgetRequest, 'window'>>;
type KeyInput = Omit<KeyCreateRequest, 'scopes'> & Partial<Pick<KeyCreateRequest, 'scopes'>>;

export type NexusClient = ReturnType<typeof createNexusClient>;

/**
 * A client of the Nexus Agent API. Calls throw {@link NexusApiError} with the server's code and problem. Reads and
 * creations are repeated while a failure is retryable; creations carry an idempotency key, so they happen once.
 */
export function createNexusClient(options: NexusClientOptions) {
  const transport = createTransport(options);

  const get = <T>(path: string, query: RequestOptions['query'] = {}, { signal }: CallOptions = {}) =>
    transport.json<T>(path, { query, repeatable: true, ...(signal === undefined ? {} : { signal }) });
  const act = <T>(method: 'POST' | 'PUT' | 'DELETE', path: string, body: unknown, { signal }: CallOptions = {}) =>
    transport.json<T>(path, { method, body, repeatable: method !== 'POST', ...(signal === undefined ? {} : { signal }) });
  const create = <T>(path: string, body: unknown, { signal, idempotencyKey = newIdempotencyKey() }: CreateOptions = {}) =>
    transport.json<T>(path, {
      method: 'POST',
      body,
      headers: { 'idempotency-key': idempotencyKey },
      repeatable: true,
      ...(signal === undefined ? {} : { signal }),
    });
  const paging = ({ limit, cursor }: PageOptions) => ({ limit, cursor });
  const at = (path: string, id: string, rest = '') => `${path}/${encodeURIComponent(id)}${rest}`;

  return {
    /** Starts a run and follows it to its end: see {@link streamRun} for what happens when the connection breaks. */
    chat(
      request: ChatRequest,
      { idempotencyKey = newIdempotencyKey(), ...stream }: StreamOptions & CreateOptions = {},
    ): AsyncGenerator<WireEvent> {
      const open = (signal: AbortSignal) =>
        transport.send('/v1/agents/chat/stream', {
          method: 'POST',
          body: request,
          headers: { accept: 'text/event-stream', 'idempotency-key': idempotencyKey },
          signal,
          repeatable: true,
        });
      return streamRun(transport, { open }, stream);
    },
    sessions: {
      create: (request: SessionCreateRequest = {}, call?: CreateOptions) => create<Session>('/v1/sessions', request, call),
      get: (id: string, call?: CallOptions) => get<Session>(at('/v1/sessions', id), {}, call),
      list: (page: PageOptions = {}) => get<Page<Session>>('/v1/sessions', paging(page), page),
      close: (id: string, call?: CallOptions) => act<void>('DELETE', at('/v1/sessions', id), undefined, call),
      messages: (id: string, page: PageOptions = {}) => get<Page<SessionMessage>>(at('/v1/sessions', id, '/messages'), paging(page), page),
    },
    runs: {
      create: (request: ChatRequest, call?: CreateOptions) => create<Run>('/v1/runs', request, call),
      get: (id: string, call?: CallOptions) => get<Run>(at('/v1/runs', id), {}, call),
      list: (filter: PageOptions & { sessionId?: string; status?: RunStatus } = {}) =>
        get<Page<Run>>('/v1/runs', { ...paging(filter), sessionId: filter.sessionId, status: filter.status }, filter),
      cancel: (id: string, reason?: string, call?: CallOptions) =>
        act<Run>('POST', at('/v1/runs', id, '/cancel'), reason === undefined ? {} : { reason }, call),
      resume: (id: string, call?: CallOptions) => act<Run>('POST', at('/v1/runs', id, '/resume'), {}, call),
      fork: (id: string, request: RunForkRequest = {}, call?: CreateOptions) => create<Run>(at('/v1/runs', id, '/fork'), request, call),
      replay: (id: string, call?: CallOptions) => act<ReplayResult>('POST', at('/v1/runs', id, '/replay'), {}, call),
      /** One page of the journal; live parts are only on the stream. */
      events: (id: string, page: CallOptions & { limit?: number; after?: string } = {}) =>
        get<Page<WireEvent>>(at('/v1/runs', id, '/events'), { limit: page.limit, after: page.after }, page),
      decisions: (id: string, page: PageOptions = {}) => get<Page<DecisionRecord>>(at('/v1/runs', id, '/decisions'), paging(page), page),
      /** Follows a run from its beginning, or from after an event id, to its end. */
      stream(id: string, { after, ...stream }: StreamOptions & { after?: string } = {}): AsyncGenerator<WireEvent> {
        const open = (signal: AbortSignal) =>
          transport.send(at('/v1/runs', id, '/events'), {
            headers: { accept: 'text/event-stream', ...(after === undefined ? {} : { 'last-event-id': after }) },
            signal,
            repeatable: true,
          });
        return streamRun(transport, { open, runId: id, ...(after === undefined ? {} : { after }) }, stream);
      },
    },
    approvals: {
      list: (filter: PageOptions & { status?: Approval['status'] } = {}) =>
        get<Page<Approval>>('/v1/approvals', { ...paging(filter), status: filter.status }, filter),
      get: (id: string, call?: CallOptions) => get<Approval>(at('/v1/approvals', id), {}, call),
      answer: (id: string, answer: ApprovalAnswer, call?: CallOptions) => act<Approval>('POST', at('/v1/approvals', id), answer, call),
    },
    agents: {
      list: (page: PageOptions = {}) => get<Page<Agent>>('/v1/agents', paging(page), page),
      get: (name: string, version?: string, call?: CallOptions) => get<Agent>(at('/v1/agents', name), { version }, call),
      put: (definition: AgentInput, call?: CallOptions) => act<Agent>('POST', '/v1/agents', definition, call),
    },
    tools: {
      list: (call?: CallOptions) => get<Page<ToolInfo>>('/v1/tools', {}, call),
      execute: (name: string, request: { sessionId: string; input?: Record<string, unknown> }, call?: CallOptions) =>
        act<ToolExecuteResult>('POST', at('/v1/tools', name, '/execute'), request, call),
    },
    models: { list: (call?: CallOptions) => get<Page<ModelInfo>>('/v1/models', {}, call) },
    budgets: {
      list: (filter: PageOptions & { scope?: BudgetScope } = {}) =>
        get<Page<BudgetRow>>(
          '/v1/budgets',
          { ...paging(filter), scope: filter.scope === undefined ? undefined : `${filter.scope.kind}:${filter.scope.id}` },
          filter,
        ),
      set: (request: BudgetInput, call?: CallOptions) => act<BudgetRow>('PUT', '/v1/budgets', request, call),
    },
    usage: (days?: number, call?: CallOptions) => get<Page<UsageRow>>('/v1/usage', { days }, call),
    keys: {
      create: (request: KeyInput, call?: CreateOptions) => create<Key>('/v1/keys', request, call),
      list: (page: PageOptions = {}) => get<Page<Key>>('/v1/keys', paging(page), page),
      revoke: (id: string, call?: CallOptions) => act<void>('DELETE', at('/v1/keys', id), undefined, call),
    },
    /** One attempt: does the server live? */
    async health(call: CallOptions = {}): Promise<{ status: 'ok'; version: string }> {
      const response = await transport.send('/healthz', { repeatable: false, ...call });
      return (await response.json()) as { status: 'ok'; version: string }; // the server's schema for this path
    },
  };
}
