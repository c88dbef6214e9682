import type { RunId, SessionId, TenantId } from '@nexus-agent/protocol';
import { sql } from 'kysely';
import type { ArtifactRow, ArtifactStore, PageOf, PageRequest } from '#storage/contract';
import { beyond, cutPage, defineTable, insertMany, isStorable, type Program, queriesOn, type Row, startOf } from '#storage/program';
import { rowsOf } from './statements.ts';

export const artifacts = defineTable('artifacts', {
  tenant_id: 'text',
  artifact_id: 'text',
  session_id: 'text',
  run_id: 'text?',
  call_id: 'text',
  tool: 'text',
  media_type: 'text',
  bytes: 'int',
  characters: 'int',
  lines: 'int',
  whole: 'int',
  sha256: 'text',
  created_at: 'int',
});
type StoredArtifact = Row<typeof artifacts>;

const { query } = queriesOn(artifacts);

export function artifactToRow(artifact: ArtifactRow): StoredArtifact {
  const { bytes, characters, lines, sha256, tool } = artifact;
  return {
    tenant_id: artifact.tenantId,
    artifact_id: artifact.artifactId,
    session_id: artifact.sessionId,
    run_id: artifact.runId,
    call_id: artifact.callId,
    media_type: artifact.mediaType,
    ...{ tool, bytes, characters, lines, sha256 },
    whole: artifact.whole ? 1 : 0,
    created_at: artifact.createdAt,
  };
}

function artifactFromRow(row: StoredArtifact): ArtifactRow {
  const { tool, bytes, characters, lines, sha256 } = row;
  return {
    // written from branded ids
    tenantId: row.tenant_id as TenantId,
    artifactId: row.artifact_id,
    sessionId: row.session_id as SessionId,
    runId: row.run_id as RunId | null,
    callId: row.call_id,
    mediaType: row.media_type,
    ...{ tool, bytes, characters, lines, sha256 },
    whole: row.whole === 1,
    createdAt: row.created_at,
  };
}

export function insertArtifacts(rows: readonly StoredArtifact[]): Program<number> {
  return insertMany(artifacts, rows);
}

export function* getArtifact(tenant: string, id: string): Program<ArtifactRow | null> {
  if (!isStorable(id)) return null;
  const [row] = yield* query(({ db }) =>
    db.selectFrom('artifacts').selectAll().where('tenant_id', '=', tenant).where('artifact_id', '=', id),
  );
  return row === undefined ? null : artifactFromRow(row);
}

export function* listArtifacts(
  tenant: string,
  { sessionId, runId }: Parameters<ArtifactStore['listArtifacts']>[1],
  page: PageRequest,
): Program<PageOf<ArtifactRow>> {
  const position = startOf(page, ['number', 'string']);
  if ((sessionId !== undefined && !isStorable(sessionId)) || (runId !== undefined && !isStorable(runId)))
    return { items: [], nextCursor: null };
  const rows = yield* query(({ db }) => {
    let select = db.selectFrom('artifacts').selectAll().where('tenant_id', '=', tenant);
    if (sessionId !== undefined) select = select.where('session_id', '=', sessionId);
    if (runId !== undefined) select = select.where('run_id', '=', runId);
    if (position) select = select.where(beyond(['created_at', 'artifact_id'], position, 'desc'));
    return select
      .orderBy('created_at', 'desc')
      .orderBy('artifact_id', 'desc')
      .limit(page.limit + 1);
  });
  return cutPage(rows, page.limit, artifactFromRow, (row) => [row.created_at, row.artifact_id]);
}

export function* artifactsOfSession(tenant: string, session: string): Program<{ readonly count: number; readonly bytes: number }> {
  if (!isStorable(session)) return { count: 0, bytes: 0 };
  const [row] = yield* rowsOf(sql<{ count: number; bytes: number }>`select count(*) as count, coalesce(sum(bytes), 0) as bytes
    from artifacts where tenant_id = ${tenant} and session_id = ${session}`);
  return { count: Number(row?.count ?? 0), bytes: Number(row?.bytes ?? 0) };
}
