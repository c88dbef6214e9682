import type { RunId } from '@nexus-agent/protocol';
import type { Kysely } from 'kysely';
import { NexusError } from '#core';
import {
  type FileContent,
  type FileRange,
  type FileRow,
  type FileTree,
  type PageOf,
  type PageRequest,
  requireQuota,
  type TenantQuotas,
} from '#storage/contract';
import {
  byKey,
  cutPage,
  type DatabaseOf,
  defineTable,
  insertMany,
  type Program,
  queriesOn,
  type Row,
  run,
  selectMany,
  startOf,
  storable,
  updateMany,
} from '#storage/program';
import { goneContents } from './contents.ts';
import { lockCounts, writeCounts } from './quotas.ts';
import { runs } from './runs.ts';
import { lockSessions } from './sessions.ts';

export const fileTrees = defineTable('file_trees', {
  tenant_id: 'text',
  tree_id: 'text',
  session_id: 'text',
  version: 'int',
  files: 'int',
  bytes: 'int',
  names: 'int',
});
export const files = defineTable('files', {
  tenant_id: 'text',
  tree_id: 'text',
  path: 'text',
  version: 'int',
  replaced: 'int?',
  sha256: 'text',
  bytes: 'int',
  executable: 'int',
});
export const fileVersions = defineTable('file_versions', {
  tenant_id: 'text',
  tree_id: 'text',
  version: 'int',
  run_id: 'text?',
  call_id: 'text?',
  at: 'int',
});
export type StoredTree = Row<typeof fileTrees>;
export type StoredFile = Row<typeof files>;
export type StoredVersion = Row<typeof fileVersions>;

const { statement, query } = queriesOn(fileTrees, files, fileVersions, runs);

function treeFromRow(row: StoredTree): FileTree {
  return {
    treeId: row.tree_id,
    sessionId: row.session_id as FileTree['sessionId'], // written from a branded id
    version: row.version,
    files: row.files,
    bytes: row.bytes,
  };
}

export function fileToRow(
  { tenantId, treeId, version }: { readonly tenantId: string; readonly treeId: string; readonly version: number },
  { path, sha256, bytes, executable }: FileContent & { readonly path: string },
): StoredFile {
  const row = { tenant_id: tenantId, tree_id: treeId, path: storable(path, 'path'), version, replaced: null };
  return { ...row, sha256, bytes, executable: executable ? 1 : 0 };
}

const treeById = statement('file_tree', ({ db }, params: { tenant: string; tree: string }) =>
  db.selectFrom('file_trees').selectAll().where('tenant_id', '=', params.tenant).where('tree_id', '=', params.tree),
);

export function* getFileTree(tenant: string, tree: string): Program<FileTree | null> {
  const [row] = yield* run(treeById, { tenant, tree });
  return row === undefined ? null : treeFromRow(row);
}

/** The rows of a tree that begins with these files. */
export function firstVersion(
  { tenantId, treeId, sessionId }: { readonly tenantId: string; readonly treeId: string; readonly sessionId: string },
  rows: readonly StoredFile[],
  nowMs: number,
): { readonly tree: StoredTree; readonly version: StoredVersion } {
  const key = { tenant_id: tenantId, tree_id: treeId, version: 1 };
  const bytes = rows.reduce((sum, file) => sum + file.bytes, 0);
  return {
    tree: { ...key, session_id: sessionId, files: rows.length, bytes, names: rows.reduce((sum, { path }) => sum + namesOf(path), 0) },
    version: { ...key, run_id: null, call_id: null, at: nowMs },
  };
}

/** A content is put before it is named, and is gone by then where clocks jumped by as much as it is kept, or the process stood still so long. */
export function requireKept(gone: ReadonlySet<string>, named: readonly Pick<StoredFile, 'path' | 'sha256'>[]): void {
  const lost = named.find(({ sha256 }) => gone.has(sha256));
  if (lost === undefined) return;
  throw new NexusError(
    'storage_unavailable',
    `the content of ${lost.path} was removed before a file had it, as if it had been left for as long as contents are kept; write it again`,
  );
}

export function* beginFileTree(
  tenantId: string,
  { treeId, sessionId }: { readonly treeId: string; readonly sessionId: string },
  given: readonly (FileContent & { readonly path: string })[],
  nowMs: number,
  quotas: TenantQuotas,
): Program<FileTree> {
  const rows = given.map((file) => fileToRow({ tenantId, treeId, version: 1 }, file));
  const { tree, version } = firstVersion({ tenantId, treeId, sessionId }, rows, nowMs);
  // What comes late for a session that was deleted would be left for ever.
  if ((yield* lockSessions(tenantId, [sessionId])).length === 0) throw new NexusError('not_found', `there is no session ${sessionId}`);
  if ((yield* insertFileTrees([tree])) > 0) {
    if (rows.length > 0) {
      const counts = yield* lockCounts(tenantId, ['files']);
      const held = counts.get('files') ?? 0;
      requireQuota(quotas, 'files', held, rows.length);
      requireKept(yield* goneContents(tenantId, new Set(rows.map(({ sha256 }) => sha256))), rows);
      yield* writeCounts([{ tenant_id: tenantId, kind: 'files', amount: held + rows.length }]);
    }
    yield* insertFiles(rows);
    yield* insertFileVersions([version]);
    return treeFromRow(tree);
  }
  const found = yield* getFileTree(tenantId, treeId);
  if (found === null) throw new Error(`the files of ${treeId} are there and are not`);
  return found;
}

/** Everything that a version of a tree holds. */
export function filesAt(tenant: string, tree: string, version: number): Program<readonly StoredFile[]> {
  return query(({ db }) =>
    db
      .selectFrom('files')
      .selectAll()
      .where('tenant_id', '=', tenant)
      .where('tree_id', '=', tree)
      .where('version', '<=', version)
      .where((is) => is.or([is('replaced', 'is', null), is('replaced', '>', version)])),
  );
}

/** The files that a version of a tree holds, each with who wrote it. */
function filesIn(
  db: Kysely<DatabaseOf<typeof files | typeof fileVersions>>,
  { tenant, tree, version }: { readonly tenant: string; readonly tree: string; readonly version: number },
) {
  return db
    .selectFrom('files')
    .innerJoin('file_versions', (join) =>
      join
        .onRef('file_versions.tenant_id', '=', 'files.tenant_id')
        .onRef('file_versions.tree_id', '=', 'files.tree_id')
        .onRef('file_versions.version', '=', 'files.version'),
    )
    .select(['files.path', 'files.version', 'files.sha256', 'files.bytes', 'files.executable', 'file_versions.run_id', 'file_versions.at'])
    .where('files.tenant_id', '=', tenant)
    .where('files.tree_id', '=', tree)
    .where('files.version', '<=', version)
    .where((is) => is.or([is('files.replaced', 'is', null), is('files.replaced', '>', version)]));
}

export function* listFiles(tenant: string, tree: string, { after, version }: FileRange, page: PageRequest): Program<PageOf<FileRow>> {
  const position = startOf(page, ['string']);
  const rows = yield* query(({ db }) => {
    let select = filesIn(db, { tenant, tree, version }).where('files.version', '>', after);
    if (position) select = select.where('files.path', '>', String(position[0]));
    return select.orderBy('files.path').limit(page.limit + 1);
  });
  return cutPage(rows, page.limit, fileFromRow, (row) => [row.path]);
}

type FoundFile = Pick<StoredFile, 'path' | 'version' | 'sha256' | 'bytes' | 'executable'> & Pick<StoredVersion, 'run_id' | 'at'>;

function fileFromRow({ path, version, sha256, bytes, executable, run_id, at }: FoundFile): FileRow {
  return { path, version, sha256, bytes, executable: executable === 1, runId: run_id as RunId | null, at }; // written from a branded id
}

export function* getFile(tenant: string, tree: string, path: string, version: number): Program<FileRow | null> {
  const [row] = yield* query(({ db }) => filesIn(db, { tenant, tree, version }).where('files.path', '=', path));
  return row === undefined ? null : fileFromRow(row);
}

export function* listRemovedFiles(tenant: string, tree: string, { after, version }: FileRange, page: PageRequest): Program<PageOf<string>> {
  const position = startOf(page, ['string']);
  const rows = yield* query(({ db }) => {
    let select = db
      .selectFrom('files as gone')
      .select('gone.path')
      .distinct()
      .where('gone.tenant_id', '=', tenant)
      .where('gone.tree_id', '=', tree)
      .where('gone.version', '<=', after)
      .where('gone.replaced', '>', after)
      .where('gone.replaced', '<=', version)
      .where(({ not, exists, selectFrom }) =>
        not(
          exists(
            selectFrom('files as kept')
              .select('kept.path')
              .whereRef('kept.tenant_id', '=', 'gone.tenant_id')
              .whereRef('kept.tree_id', '=', 'gone.tree_id')
              .whereRef('kept.path', '=', 'gone.path')
              .where('kept.version', '<=', version)
              .where((is) => is.or([is('kept.replaced', 'is', null), is('kept.replaced', '>', version)])),
          ),
        ),
      );
    if (position) select = select.where('gone.path', '>', String(position[0]));
    return select.orderBy('gone.path').limit(page.limit + 1);
  });
  return cutPage(
    rows,
    page.limit,
    (row) => row.path,
    (row) => [row.path],
  );
}

/** So many calls are looked for at a time. */
const maxCalls = 500;

export function* listFileVersions(tenant: string, tree: string, callIds: readonly string[]): Program<readonly number[]> {
  const versions: number[] = [];
  for (let from = 0; from < callIds.length; from += maxCalls) {
    const some = callIds.slice(from, from + maxCalls);
    const rows = yield* query(({ db }) =>
      db
        .selectFrom('file_versions')
        .select('version')
        .where('tenant_id', '=', tenant)
        .where('tree_id', '=', tree)
        .where('call_id', 'in', some)
        .orderBy('version'),
    );
    versions.push(...rows.map(({ version }) => version));
  }
  return versions;
}

export function* firstFileVersionSince(
  tenant: string,
  tree: string,
  { runId, createdAt }: { readonly runId: string; readonly createdAt: number },
): Program<number | null> {
  const [row] = yield* query(({ db }) =>
    db
      .selectFrom('file_versions')
      .leftJoin('runs', (join) =>
        join.onRef('runs.tenant_id', '=', 'file_versions.tenant_id').onRef('runs.run_id', '=', 'file_versions.run_id'),
      )
      .select('file_versions.version')
      .where('file_versions.tenant_id', '=', tenant)
      .where('file_versions.tree_id', '=', tree)
      .where('file_versions.version', '>', 1)
      .where((is) =>
        is.or([
          is('file_versions.run_id', '=', runId),
          is('runs.created_at', '>', createdAt),
          is.and([is('file_versions.run_id', 'is', null), is('file_versions.at', '>', createdAt)]),
        ]),
      )
      .orderBy('file_versions.version')
      .limit(1),
  );
  return row?.version ?? null;
}

/** The trees, none of which changes before the transaction ends. */
export function lockFileTrees(tenantId: string, treeIds: Iterable<string>): Program<readonly StoredTree[]> {
  const columns = ['tenant_id', 'tree_id', 'session_id', 'version', 'files', 'bytes', 'names'] as const;
  return selectMany(fileTrees, columns, { tenantId, key: 'tree_id', keys: treeIds, orderBy: ['tree_id'], lock: true });
}

/** Where a path is looked for with all that it excludes; beyond so many the whole tree is read. */
const maxLookedFor = 40;

/** The files that a change of these paths concerns: at them, above them, where only folders can be, and below them. */
export function currentFilesNear(tenant: string, tree: string, paths: ReadonlySet<string>): Program<readonly StoredFile[]> {
  return query(({ db }) => {
    const select = db
      .selectFrom('files')
      .selectAll()
      .where('tenant_id', '=', tenant)
      .where('tree_id', '=', tree)
      .where('replaced', 'is', null);
    if (paths.size > maxLookedFor) return select;
    const exact = new Set([...paths].flatMap((path) => [path, ...foldersOf(path)]));
    return select.where((is) =>
      is.or([
        is('path', 'in', [...exact]),
        ...[...paths].map((path) => is.and([is('path', '>', `${path}/`), is('path', '<', `${path}0`)])),
      ]),
    );
  });
}

/** What a path counts for: one for each of its names, or for each 100 characters where that is more. */
export function namesOf(path: string): number {
  return Math.max(path.split('/').length, Math.ceil([...path].length / 100));
}

/** `a/b/c` lies in `a` and `a/b`. */
export function foldersOf(path: string): readonly string[] {
  const names = path.split('/');
  return names.slice(1).map((_, index) => names.slice(0, index + 1).join('/'));
}

export function insertFileTrees(rows: StoredTree[]): Program<number> {
  return insertMany(fileTrees, rows.sort(byKey('tree_id')), 'ignore');
}
export function insertFiles(rows: StoredFile[]): Program<number> {
  return insertMany(files, rows.sort(byKey('path')));
}
export function replaceFiles(rows: readonly StoredFile[]): Program<number> {
  return updateMany(files, ['tenant_id', 'tree_id', 'path', 'version'], ['replaced'], rows);
}
export function updateFileTrees(rows: StoredTree[]): Program<number> {
  return updateMany(fileTrees, ['tenant_id', 'tree_id'], ['version', 'files', 'bytes', 'names'], rows.sort(byKey('tree_id')));
}
export function insertFileVersions(rows: readonly StoredVersion[]): Program<number> {
  return insertMany(fileVersions, rows);
}
