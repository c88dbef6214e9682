import { NexusError } from '#core';
import type { ArtifactQuotas, ArtifactRow } from '#storage/contract';
import { type Program, together } from '#storage/program';
import { artifactsOfSession, artifactToRow, existingSessions, goneContents, insertArtifacts, lockCounts } from '#storage/tables';
import type { Batch, Handler } from './handler.ts';

interface Room {
  count: number;
  bytes: number;
}

interface Known {
  /** What each session that is there has by now. */
  readonly rooms: Map<string, Room>;
  /** What no artifact may name. */
  gone: ReadonlySet<string>;
}

/** Results that are kept: never more than a session may have, whoever else writes, and none without its content or its session. */
export function artifactHandler({ tenantId, quotas, nowMs }: Batch): Handler {
  const wanted = { sessions: new Set<string>(), contents: new Set<string>() };
  const known: Known = { rooms: new Map(), gone: new Set() };
  const written: ReturnType<typeof artifactToRow>[] = [];
  return {
    want({ artifacts = none }) {
      for (const { sessionId, sha256 } of artifacts) {
        wanted.sessions.add(sessionId);
        wanted.contents.add(sha256);
      }
    },
    load: () => (wanted.sessions.size > 0 ? load(tenantId, wanted, known) : undefined),
    decide({ artifacts = none }) {
      if (artifacts.length === 0) return undefined;
      const adding = new Map<string, Room>();
      for (const artifact of artifacts) {
        const room = known.rooms.get(artifact.sessionId);
        if (known.gone.has(artifact.sha256)) throw refused(artifact, 'storage_unavailable', 'its content is gone by now');
        if (room === undefined) throw refused(artifact, 'not_found', 'its session is gone');
        const more = adding.get(artifact.sessionId) ?? { count: 0, bytes: 0 };
        adding.set(artifact.sessionId, { count: more.count + 1, bytes: more.bytes + artifact.bytes });
        requireRoom(quotas.artifacts, artifact, { count: room.count + more.count, bytes: room.bytes + more.bytes });
      }
      return () => {
        for (const [sessionId, more] of adding) {
          const room = known.rooms.get(sessionId);
          if (room === undefined) continue;
          room.count += more.count;
          room.bytes += more.bytes;
        }
        for (const artifact of artifacts) written.push(artifactToRow({ ...artifact, createdAt: nowMs }));
      };
    },
    write(writes) {
      if (written.length > 0) writes.push(insertArtifacts(written));
    },
  };
}

const none: readonly ArtifactRow[] = [];

function requireRoom({ maxCount, maxBytes }: ArtifactQuotas, artifact: ArtifactRow, used: Room): void {
  if (used.count + 1 > maxCount) throw refused(artifact, 'quota_exceeded', `the session may keep ${maxCount} artifacts, and has as many`);
  if (used.bytes + artifact.bytes > maxBytes)
    throw refused(artifact, 'quota_exceeded', `the artifacts of the session may have ${maxBytes} bytes, and have ${used.bytes}`);
}

/** Its call goes on without it. */
function refused({ artifactId }: ArtifactRow, code: 'quota_exceeded' | 'not_found' | 'storage_unavailable', why: string): NexusError {
  return new NexusError(code, `the result could not be kept: ${why}`, { details: { what: 'artifact', artifactId }, retryable: false });
}

/** Under the lock of the count of files: whoever takes the name of a content away holds it, too. */
function* load(
  tenantId: string,
  wanted: { readonly sessions: ReadonlySet<string>; readonly contents: ReadonlySet<string> },
  known: Known,
): Program<void> {
  yield* lockCounts(tenantId, ['files']);
  const there = [...(yield* existingSessions(tenantId, [...wanted.sessions]))];
  const [gone, rooms] = yield* together([
    goneContents(tenantId, wanted.contents),
    together(there.map((sessionId) => artifactsOfSession(tenantId, sessionId))),
  ]);
  known.gone = gone;
  there.forEach((sessionId, index) => {
    const { count, bytes } = rooms[index] ?? { count: 0, bytes: 0 };
    known.rooms.set(sessionId, { count, bytes });
  });
}
