import type { Page, Session, SessionCreateRequest, SessionMessage } from '@nexus-agent/protocol';
import { NexusError } from '#core';
import { type CreateOptions, claimOf, idempotencyConflict, type Principal } from '#identity';
import type { Wake } from '#runs/dispatch';
import { listMessages } from '#runs/journal';
import { newSession, sessionLimits } from '#runs/start';
import type { AgentSource, Engine } from '#runs/steps';
import type { PageOf, PageRequest, RunRow } from '#storage';
import { cancelRun } from './cancel.ts';
import { sessionRow } from './lookup.ts';
import { sessionView, untouchedBudget, viewOfSession } from './views.ts';

/** Why runs end whose session does. */
const closed = 'the session was closed';

/** Conversations, with their budgets and policies. Every method throws `not_found` for a session that the tenant does not have. */
export interface Sessions {
  create(principal: Principal, request: SessionCreateRequest, options: CreateOptions): Promise<{ session: Session; created: boolean }>;
  get(principal: Principal, sessionId: string): Promise<Session>;
  list(principal: Principal, page: PageRequest): Promise<Page<Session>>;
  /** Ends the session: no run may start in it any more, live ones are cancelled. */
  close(principal: Principal, sessionId: string): Promise<void>;
  /** Newest run first, within a run in order; a page holds whole runs. */
  messages(principal: Principal, sessionId: string, page: PageRequest): Promise<Page<SessionMessage>>;
}

export interface SessionsDependencies {
  readonly engine: Engine;
  readonly agents: AgentSource;
  /** Name of the agent that serves when none is named. */
  readonly defaultAgent: string;
  readonly wake: Wake;
}

export function createSessions({ engine, agents, defaultAgent, wake }: SessionsDependencies): Sessions {
  const { store } = engine;

  return {
    async create(principal, request, options) {
      const { tenantId } = principal;
      const agent = await agents.get(tenantId, request.agent ?? defaultAgent);
      const row = newSession(engine, principal, agent, request);
      const result = await store.commit({
        tenantId,
        ...claimOf(principal, options, 'session', request, row.sessionId),
        sessions: [row],
        ledger: sessionLimits(row.sessionId, request.budget),
      });
      if (result.type === 'committed') return { session: sessionView(row, untouchedBudget(request.budget)), created: true };
      if (result.type !== 'duplicate') throw new NexusError('internal', `the session could not be written (${result.type})`);
      if (!result.sameRequest) throw idempotencyConflict();
      return { session: await viewOfSession(engine, await sessionRow(store, principal, result.resourceId)), created: false };
    },
    get: async (principal, sessionId) => viewOfSession(engine, await sessionRow(store, principal, sessionId)),
    async list(principal, page) {
      const { items, nextCursor } = await store.listSessions(principal.tenantId, page);
      return { data: await Promise.all(items.map((row) => viewOfSession(engine, row))), nextCursor };
    },
    async close(principal, sessionId) {
      const { tenantId } = principal;
      const row = await sessionRow(store, principal, sessionId);
      await store.closeSession(tenantId, row.sessionId, closed);
      // They have been asked to; whoever drives them is to hear of it at once.
      for (const status of ['running', 'waiting', 'queued'] as const) {
        let cursor: string | null = null;
        do {
          const filter = { sessionId: row.sessionId, status };
          const page: PageOf<RunRow> = await store.listRuns(tenantId, filter, { limit: 100, ...(cursor === null ? {} : { cursor }) });
          for (const run of page.items) await cancelRun({ store, wake }, run, closed);
          cursor = page.nextCursor;
        } while (cursor !== null);
      }
    },
    async messages(principal, sessionId, page) {
      const row = await sessionRow(store, principal, sessionId);
      return listMessages(store, principal.tenantId, row.sessionId, page);
    },
  };
}
