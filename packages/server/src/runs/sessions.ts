import type { Page, Session, SessionCreateRequest, SessionId, SessionMessage } from '@nexus-agent/protocol';
import { denialMessage, recordDecision } from '#calls';
import { NexusError } from '#core';
import { type CreateOptions, claimOf, idempotencyConflict, type Principal } from '#identity';
import type { Wake } from '#runs/dispatch';
import { listMessages } from '#runs/journal';
import { newSession, sessionLimits } from '#runs/start';
import type { AgentSource, Engine } from '#runs/steps';
import type { PageRequest, SessionRow } from '#storage';
import { sessionRow } from './lookup.ts';
import { sessionView, untouchedBudget, viewOfSession, viewsOfSessions } from './views.ts';

/** Why runs end whose session does. */
const closed = 'the session was closed';

/** Conversations, with their budgets and policies. Every method throws `not_found` for a session that the tenant does not have. */
export interface Sessions {
  create(principal: Principal, request: SessionCreateRequest, options: CreateOptions): Promise<{ session: Session; created: boolean }>;
  get(principal: Principal, sessionId: string): Promise<Session>;
  list(principal: Principal, page: PageRequest): Promise<Page<Session>>;
  /** Ends the session: no run may start in it any more, live ones are cancelled. */
  close(principal: Principal, sessionId: string): Promise<void>;
  /**
   * Ends the session and deletes it with everything of it: runs, journals, approvals, balances, files. True when it is gone; false
   * when that has to wait for its live runs to end. Asks policy first, and records what it says; throws `policy_denied`.
   */
  remove(principal: Principal, sessionId: string): Promise<boolean>;
  /** Newest run first, within a run in order; a page holds whole runs. */
  messages(principal: Principal, sessionId: string, page: PageRequest): Promise<Page<SessionMessage>>;
}

export interface SessionsDependencies {
  readonly engine: Engine;
  readonly agents: AgentSource;
  /** Name of the agent that serves when none is named. */
  readonly defaultAgent: string;
  readonly wake: Wake;
  /** Told when something was deleted of which more is to be cleared away. */
  readonly onRemoved: () => void;
}

export function createSessions({ engine, agents, defaultAgent, wake, onRemoved }: SessionsDependencies): Sessions {
  const { store } = engine;

  async function close(principal: Principal, sessionId: string): Promise<SessionId> {
    const { tenantId } = principal;
    const row = await sessionRow(store, principal, sessionId);
    await store.closeSession(tenantId, row.sessionId, closed);
    // Its runs, those of sub-agents too, have been asked to; whoever drives them is to hear of it at once.
    for (const runId of await store.listOpenRuns(tenantId, row.sessionId)) wake({ tenantId, runId, cancel: closed });
    return row.sessionId;
  }

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
      return { data: await viewsOfSessions(engine, principal.tenantId, items), nextCursor };
    },
    async close(principal, sessionId) {
      await close(principal, sessionId);
    },
    async remove(principal, sessionId) {
      const { tenantId } = principal;
      await mayDelete(engine, principal, await sessionRow(store, principal, sessionId));
      const id = await close(principal, sessionId);
      let outcome = await store.removeSession(tenantId, id);
      // It goes on also if this process ends in between.
      if (outcome === 'more') await store.wantSessionRemoved(tenantId, id);
      while (outcome === 'more') outcome = await store.removeSession(tenantId, id);
      if (outcome === 'busy') await store.wantSessionRemoved(tenantId, id);
      onRemoved();
      return outcome !== 'busy';
    },
    async messages(principal, sessionId, page) {
      const row = await sessionRow(store, principal, sessionId);
      return listMessages(store, principal.tenantId, row.sessionId, page);
    },
  };
}

/** What is gone cannot be looked at any more: that it was permitted is recorded before. */
async function mayDelete(engine: Engine, principal: Principal, { sessionId, agent, user, project }: SessionRow): Promise<void> {
  const { record, row } = recordDecision(
    engine,
    { runId: null, callId: null },
    {
      principal: { type: 'User', id: principal.id, tenant: principal.tenantId, roles: principal.roles },
      action: 'session.delete',
      resource: {
        type: 'Session',
        id: sessionId,
        attributes: { agent, ...(user === null ? {} : { user }), ...(project === null ? {} : { project }) },
      },
      context: { sessionId },
    },
  );
  await engine.store.commit({ tenantId: principal.tenantId, decisions: [row] });
  if (record.effect !== 'allow')
    throw new NexusError('policy_denied', denialMessage(record), { details: { decisionId: record.id, reasons: record.reasons } });
}
