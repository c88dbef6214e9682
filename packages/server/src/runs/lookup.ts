import type { RunId, SessionId } from '@nexus-agent/protocol';
import { NexusError } from '#core';
import type { Principal } from '#identity';
import { sessionClosed } from '#runs/start';
import type { RunRow, RunStore, SessionRow } from '#storage';

/** A session of the principal's tenant. Throws `not_found`. */
export async function sessionRow(store: Pick<RunStore, 'getSession'>, principal: Principal, sessionId: string): Promise<SessionRow> {
  const row = await store.getSession(principal.tenantId, sessionId as SessionId); // an unknown id is simply not found
  if (row === null)
    throw new NexusError(
      'not_found',
      `there is no session ${sessionId}; one that was deleted, or in which nothing happened for retention.sessionsDays, is gone`,
    );
  return row;
}

/** One in which work may begin. Throws `conflict` when it is closed. */
export async function openSession(store: Pick<RunStore, 'getSession'>, principal: Principal, sessionId: string): Promise<SessionRow> {
  const row = await sessionRow(store, principal, sessionId);
  if (row.status === 'closed') throw sessionClosed(sessionId);
  return row;
}

/** A run of the principal's tenant. Throws `not_found`. */
export async function runRow(store: Pick<RunStore, 'getRun'>, principal: Principal, runId: string): Promise<RunRow> {
  const row = await store.getRun(principal.tenantId, runId as RunId); // an unknown id is simply not found
  if (row === null)
    throw new NexusError(
      'not_found',
      `there is no run ${runId}; a run goes with its session, which may have been deleted or be older than retention.sessionsDays`,
    );
  return row;
}
