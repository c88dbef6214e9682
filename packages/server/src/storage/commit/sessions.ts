import { insertSessions, lockActiveSessions, sessionToRow } from '#storage/tables';
import type { Batch, Handler } from './handler.ts';

/** New sessions, and the fence of one that must be active. */
export function sessions({ tenantId }: Batch): Handler {
  const ids: string[] = [];
  let active: ReadonlySet<string> = new Set();
  const created: ReturnType<typeof sessionToRow>[] = [];
  return {
    want({ openSession }) {
      if (openSession) ids.push(openSession);
    },
    *load() {
      active = yield* lockActiveSessions(tenantId, ids);
    },
    decide({ openSession, sessions: given }) {
      if (openSession && !active.has(openSession)) return { type: 'closed' };
      if (!given?.length) return undefined;
      const rows = given.map(sessionToRow);
      return () => void created.push(...rows);
    },
    write: () => [insertSessions(created)],
  };
}
