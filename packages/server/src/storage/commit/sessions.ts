import type { Program } from '#storage/program';
import { insertSessions, lockSessions, sessionToRow } from '#storage/tables';
import type { Batch, Handler } from './handler.ts';

/** New sessions, and the fence of one that must be active. */
export function sessionHandler({ tenantId }: Batch): Handler {
  const ids: string[] = [];
  const active = new Set<string>();
  const created: ReturnType<typeof sessionToRow>[] = [];
  return {
    want({ openSession, leaves }) {
      if (openSession) ids.push(openSession);
      if (leaves) ids.push(leaves);
    },
    load: () => (ids.length > 0 ? load(tenantId, ids, active) : undefined),
    decide({ openSession, sessions: given }) {
      if (openSession && !active.has(openSession)) return { type: 'closed' };
      if (!given?.length) return undefined;
      const rows = given.map(sessionToRow);
      return () => void created.push(...rows);
    },
    write(writes) {
      if (created.length > 0) writes.push(insertSessions(created));
    },
  };
}

function* load(tenantId: string, ids: readonly string[], active: Set<string>): Program<void> {
  for (const row of yield* lockSessions(tenantId, ids)) if (row.status === 'active') active.add(row.session_id);
}
