import type {
  ChatRequest,
  ClientCall,
  ClientToolResult,
  DecisionRecord,
  Page,
  ReplayResult,
  Run,
  RunForkRequest,
  RunStatus,
  SessionId,
} from '@nexus-agent/protocol';
import { isTerminal } from '@nexus-agent/protocol';
import { NexusError } from '#core';
import type { CreateOptions, Principal } from '#identity';
import type { Dispatcher } from '#runs/dispatch';
import { replayRun, type Transcripts } from '#runs/journal';
import { forkRun, type Interrupted, mayStart, type StartedRun, type StartOptions, sessionClosed, startRun } from '#runs/start';
import type { AgentSource, Engine } from '#runs/steps';
import { follow, longEventJson, readPage, type StreamCursor, type StreamFrame, wireJson } from '#runs/stream';
import { type PageRequest, type RunRow, viewPage } from '#storage';
import { cancelRun } from './cancel.ts';
import { clientCalls, giveClientResult } from './client-results.ts';
import { openSession, runRow } from './lookup.ts';
import { runView, viewOfRun } from './views.ts';

/**
 * Runs, for whoever may ask. Every method checks that the principal's tenant owns what is named (`not_found` otherwise) and
 * throws {@link NexusError} with a code of the table; a refusal by policy or budget is `policy_denied` or
 * `budget_exceeded` with the details.
 */
export interface Runs {
  /** Resolves once the run and its first reservation are durable. Without `sessionId` a session is created for it. */
  start(principal: Principal, request: ChatRequest, options: StartOptions): Promise<{ run: Run; created: boolean }>;
  get(principal: Principal, runId: string): Promise<Run>;
  list(principal: Principal, filter: { sessionId?: string; status?: RunStatus }, page: PageRequest): Promise<Page<Run>>;
  /** Stops the upstream request and the tools, wherever the run lives. Idempotent; an ended run stays as it is. */
  cancel(principal: Principal, runId: string, reason?: string): Promise<Run>;
  /** Continues a run that failed with `resumable`. */
  resume(principal: Principal, runId: string): Promise<Run>;
  /** Starts a new run from an event of this one, which stays as it is. */
  fork(principal: Principal, runId: string, request: RunForkRequest, options: CreateOptions): Promise<{ run: Run; created: boolean }>;
  /** Feeds the journal through the transitions without effects and compares with the stored state. */
  replay(principal: Principal, runId: string): Promise<ReplayResult>;
  /** A page of the journal as wire events (JSON texts, parsed by nobody on the way). */
  events(
    principal: Principal,
    runId: string,
    range: { after: number; limit: number },
  ): Promise<{
    events: readonly string[];
    /** In place of them the one event that is too long to be held, piece by piece. */
    long?: () => AsyncIterable<string>;
    nextAfter: number | null;
  }>;
  /**
   * Follows a run's log from a cursor: history first, then live, ending after a terminal event or when the signal fires.
   * Holds no queue: a slow consumer only delays itself. Each batch is what is ready now. Ending the iteration never
   * touches the run.
   */
  follow(
    principal: Principal,
    runId: string,
    cursor: StreamCursor,
    options: { signal: AbortSignal },
  ): AsyncIterable<readonly StreamFrame[]>;
  /** Its calls that wait for whoever started it. */
  clientCalls(principal: Principal, runId: string): Promise<readonly ClientCall[]>;
  /** Takes the result of one of them: see {@link giveClientResult}. */
  giveResult(principal: Principal, call: { readonly runId: string; readonly callId: string }, result: ClientToolResult): Promise<Run>;
  decisions(principal: Principal, runId: string, page: PageRequest): Promise<Page<DecisionRecord>>;
}

export interface RunsDependencies {
  readonly engine: Engine;
  readonly agents: AgentSource;
  readonly transcripts: Transcripts;
  readonly defaultAgent: string;
  readonly dispatcher: Dispatcher;
  /** So many deaths of workers end a run as poisonous. */
  readonly maxDeaths: number;
}

/** Joins what starts runs, what drives them and what reads them. */
export function createRuns(dependencies: RunsDependencies): Runs {
  const { engine, dispatcher, maxDeaths } = dependencies;
  const { store } = engine;
  const { wake } = dispatcher;

  async function tellInterrupted(principal: Principal, { runIds, reason }: Interrupted): Promise<void> {
    for (const runId of runIds) await cancelRun({ store, wake }, await runRow(store, principal, runId), reason);
  }

  /** Begins a run here if there is room for it, and sees to it that somebody drives it. */
  async function begin(
    principal: Principal,
    background: boolean,
    write: (here: boolean) => Promise<StartedRun>,
  ): Promise<{ run: Run; created: boolean }> {
    const { tenantId } = principal;
    const leave = dispatcher.hold({ background });
    try {
      const started = await write(leave !== null);
      switch (started.type) {
        case 'owned':
          dispatcher.adopt(started.adopt);
          break;
        case 'queued':
          wake({ tenantId, runId: started.row.runId });
          if (started.interrupted !== null) await tellInterrupted(principal, started.interrupted);
          break;
        case 'in_doubt':
          dispatcher.disown({ tenantId, runId: started.runId, epoch: 1 });
          throw started.error;
        case 'existing':
          break;
      }
      return { run: runView(started.row), created: started.type !== 'existing' };
    } finally {
      leave?.();
    }
  }

  return {
    start: (principal, request, options) =>
      begin(principal, options.background === true, (here) => startRun(dependencies, principal, request, { ...options, here })),
    get: async (principal, runId) => viewOfRun(engine, await runRow(store, principal, runId)),
    async list(principal, { sessionId, status }, page) {
      const filter = {
        ...(sessionId === undefined ? {} : { sessionId: sessionId as SessionId }), // an unknown id lists nothing
        ...(status === undefined ? {} : { status }),
      };
      return viewPage(await store.listRuns(principal.tenantId, filter, page), (row) => runView(row));
    },
    async cancel(principal, runId, reason = 'cancelled by request') {
      await cancelRun({ store, wake }, await runRow(store, principal, runId), reason);
      return viewOfRun(engine, await runRow(store, principal, runId));
    },
    async resume(principal, runId) {
      const { tenantId } = principal;
      const row = await runRow(store, principal, runId);
      await openSession(store, principal, row.sessionId);
      if (row.status !== 'failed' || !row.resumable) throw notResumable(row);
      const { runId: id, sessionId } = row;
      const agent = await dependencies.agents.get(tenantId, row.agent, row.agentVersion);
      const { row: permit } = await mayStart(engine, principal, { runId: id, agent, sessionId });
      // One that was ended for its deaths is driven alone again, and one more ends it again.
      const result = await store.requeueRun(tenantId, row.runId, permit, maxDeaths - 1);
      if (result === 'closed') throw sessionClosed(row.sessionId);
      if (result === 'not_resumable') throw notResumable(await runRow(store, principal, runId));
      wake({ tenantId, runId: row.runId });
      return viewOfRun(engine, await runRow(store, principal, runId));
    },
    async fork(principal, runId, request, options) {
      const original = await runRow(store, principal, runId);
      const session = await openSession(store, principal, original.sessionId);
      return begin(principal, true, (here) => forkRun(dependencies, principal, { original, session }, request, { ...options, here }));
    },
    clientCalls: (principal, runId) => clientCalls(engine, principal, runId),
    async giveResult(principal, call, result) {
      await giveClientResult({ engine, agents: dependencies.agents, wake }, principal, call, result);
      return viewOfRun(engine, await runRow(store, principal, call.runId));
    },
    replay: async (principal, runId) => replayRun(store, principal.tenantId, await runRow(store, principal, runId)),
    async events(principal, runId, range) {
      const row = await runRow(store, principal, runId);
      const of = { store, timers: engine.timers, tenantId: principal.tenantId, runId: row.runId };
      const found = await readPage({ ...of, range: { ...range, maxChars: pageChars } });
      const isFull = found.length === range.limit || found.reduce((sum, { chars }) => sum + chars, 0) >= pageChars;
      const [first] = found;
      // A long one is a page of its own, which is read while it is written.
      const long = first !== undefined && first.chars > pageChars ? first : null;
      const events = long === null ? found.filter(({ chars }) => chars <= pageChars) : [];
      const last = long ?? events.at(-1);
      return {
        events: events.map((event) => wireJson(row.runId, event)),
        ...(long === null ? {} : { long: () => longEventJson({ ...of, event: long }) }),
        nextAfter: (isFull || events.length < found.length) && last !== undefined ? last.seq : null,
      };
    },
    follow(principal, runId, cursor, { signal }) {
      const inLog = async () => {
        const { lastSeq, status } = await runRow(store, principal, runId);
        if (cursor.seq <= lastSeq) return { lastSeq, ended: isTerminal(status) };
        throw new NexusError(
          'invalid_request',
          `Last-Event-ID ${cursor.seq} is beyond the log of run ${runId}, which has ${lastSeq} events`,
        );
      };
      return follow({ engine, tenantId: principal.tenantId, runId, cursor, signal, inLog });
    },
    async decisions(principal, runId, page) {
      const row = await runRow(store, principal, runId);
      return viewPage(await store.listDecisions(principal.tenantId, { runId: row.runId }, page), (decision) => decision);
    },
  };
}

/** Characters of a page of events, the one that goes beyond included. */
const pageChars = 1_000_000;

function notResumable({ runId, status }: RunRow): NexusError {
  const why = status === 'failed' ? ' and cannot be resumed' : '';
  return new NexusError('conflict', `run ${runId} is ${status}${why}; only a failed run that is resumable can be resumed`);
}
