import type { SessionId } from '@nexus-agent/protocol';
import type { Aged, AgingKind } from '#storage/contract';
import type { Driver } from '#storage/program';
import { type LookedAged, type LookedSession, lookAtAged, lookAtSessions } from '#storage/tables';
import { pieceByPiece, pieceRows } from './pieces.ts';

export async function listIdleSessions(
  { read }: Pick<Driver, 'read'>,
  tenant: string,
  before: number,
  { limit, after }: { readonly limit: number; readonly after?: string },
): Promise<{ readonly sessions: readonly SessionId[]; readonly next: string | null }> {
  const from = after === undefined ? null : (JSON.parse(after) as LookedSession); // written below
  const looked = await read(() => lookAtSessions(tenant, before, { after: from, limit }), { when: 'in_turn' });
  const last = looked.at(-1);
  return {
    sessions: looked.filter(({ goes }) => goes === 1).map(({ session_id }) => session_id),
    next: last === undefined || looked.length < limit ? null : JSON.stringify({ created_at: last.created_at, session_id: last.session_id }),
  };
}

/** Counts, in pieces, what would go by its age, up to `limit`. */
export async function countAged(
  driver: Pick<Driver, 'read'>,
  tenant: string,
  kind: AgingKind,
  range: { readonly before: number; readonly idleBefore: number | null },
  limit: number,
): Promise<Aged> {
  const counted = counting(limit);
  await pieceByPiece<LookedAged>(
    driver,
    (after) => lookAtAged(tenant, kind, range, { after, limit: pieceRows }),
    ({ goes, found_at }) => counted.take(goes, found_at),
  );
  return counted.result;
}

export async function countIdleSessions(driver: Pick<Driver, 'read'>, tenant: string, before: number, limit: number): Promise<Aged> {
  const counted = counting(limit);
  await pieceByPiece<LookedSession>(
    driver,
    (after) => lookAtSessions(tenant, before, { after, limit: pieceRows }),
    ({ goes, created_at }) => counted.take(goes, created_at),
  );
  return counted.result;
}

function counting(limit: number) {
  let [count, oldest]: [number, number | null] = [0, null];
  return {
    get result(): Aged {
      return { count, oldest };
    },
    /** False once there are enough. */
    take(goes: 0 | 1, at: number | null): boolean {
      if (goes === 1) {
        count += 1;
        if (at !== null) oldest = Math.min(oldest ?? at, at);
      }
      return count < limit;
    },
  };
}
