import { NexusError } from '#core';
import { type FileChange, type FilesCommit, type FilesCopy, requireQuota, type TreeQuotas } from '#storage/contract';
import { type Program, together } from '#storage/program';
import {
  currentFilesNear,
  filesAt,
  fileToRow,
  firstVersion,
  foldersOf,
  goneContents,
  insertFiles,
  insertFileTrees,
  insertFileVersions,
  lockCounts,
  lockFileTrees,
  namesOf,
  replaceFiles,
  requireKept,
  type StoredFile,
  type StoredTree,
  type StoredVersion,
  updateFileTrees,
  writeCounts,
} from '#storage/tables';
import type { Batch, Handler } from './handler.ts';

/** A tree as the batch has changed it. */
interface WorkingTree {
  readonly row: StoredTree;
  /** The files that may be concerned, by path. */
  readonly current: Map<string, StoredFile>;
  /** How many of them lie in a folder, at any depth. */
  readonly folders: Map<string, number>;
  readonly added: Set<StoredFile>;
  readonly replaced: Set<StoredFile>;
}

/** What tool calls changed of files, and the trees of forks: never more than a session and a tenant may have, whoever else writes. */
export function fileHandler({ tenantId, nowMs, quotas }: Batch): Handler {
  const paths = new Map<string, Set<string>>();
  const trees = new Map<string, WorkingTree>();
  const copies = new Map<FilesCopy, readonly StoredFile[]>();
  const begun: { readonly tree: StoredTree; readonly rows: readonly StoredFile[] }[] = [];
  const versions: StoredVersion[] = [];
  const total = { before: 0, now: 0 };
  const contents: Contents = { wanted: new Set(), gone: new Set() };
  return {
    want({ files = none, copyFiles }) {
      if (copyFiles) copies.set(copyFiles, []);
      for (const { treeId, changes } of files) {
        const wanted = paths.get(treeId) ?? new Set();
        paths.set(treeId, wanted);
        for (const { path, content } of changes) {
          wanted.add(path);
          if (content !== null) contents.wanted.add(content.sha256);
        }
      }
    },
    load: () => (paths.size + copies.size > 0 ? load(tenantId, paths, { trees, copies, total, contents }) : undefined),
    decide({ files = none, copyFiles }) {
      if (files.length === 0 && !copyFiles) return undefined;
      const changed = files.map((given) => {
        const tree = trees.get(given.treeId);
        if (tree === undefined) throw new NexusError('internal', `there are no files ${given.treeId} that could be changed`);
        return { tree, given, changes: given.changes.map((change) => ({ path: change.path, row: rowOf(tenantId, given, change) })) };
      });
      let more = copyFiles ? (copies.get(copyFiles) ?? []).length : 0;
      for (const { tree, given, changes } of changed) {
        const size = sizeOf(tree, changes);
        more += size.files;
        forCall(given, () => {
          requireKept(
            contents.gone,
            changes.flatMap(({ row }) => (row === null ? [] : [row])),
          );
          requireTreeRoom(quotas.tree, tree.row, size);
          requireQuota(quotas.tenant, 'files', total.now, more);
        });
      }
      if (changed.length === 0) requireQuota(quotas.tenant, 'files', total.now, more);
      return () => {
        if (copyFiles) {
          const { sessionId, to: treeId } = copyFiles;
          const rows = (copies.get(copyFiles) ?? []).map((row) => ({ ...row, tree_id: treeId, version: 1, replaced: null }));
          const { tree, version } = firstVersion({ tenantId, treeId, sessionId }, rows, nowMs);
          begun.push({ tree, rows });
          total.now += rows.length;
          versions.push(version);
        }
        for (const { tree, given, changes } of changed) {
          const { files: held } = tree.row;
          tree.row.version += 1;
          const { version } = tree.row;
          for (const { path, row } of changes) apply(tree, path, row && { ...row, version });
          total.now += tree.row.files - held;
          versions.push({ tenant_id: tenantId, tree_id: given.treeId, version, run_id: given.runId, call_id: given.callId, at: nowMs });
        }
      };
    },
    write(writes) {
      if (versions.length === 0) return;
      const moved = new Set(versions.map(({ tree_id }) => tree_id));
      const written = [...trees.values()].filter(({ row }) => moved.has(row.tree_id));
      const replaced = written.flatMap((tree) => [...tree.replaced]);
      const added = [...written.flatMap((tree) => [...tree.added]), ...begun.flatMap(({ rows }) => rows)];
      // The end of a file is written before another one comes to its path.
      if (replaced.length > 0) writes.push(replaceFiles(replaced));
      if (added.length > 0) writes.push(insertFiles(added));
      if (written.length > 0) writes.push(updateFileTrees(written.map(({ row }) => row)));
      if (begun.length > 0) writes.push(insertFileTrees(begun.map(({ tree }) => tree)));
      writes.push(insertFileVersions(versions));
      if (total.now !== total.before) writes.push(writeCounts([{ tenant_id: tenantId, kind: 'files', amount: Math.max(0, total.now) }]));
    },
  };
}

const none: readonly FilesCommit[] = [];

interface Size {
  readonly files: number;
  readonly bytes: number;
  readonly names: number;
}

/** By how much the changes alter the tree, without what has to make way for them. */
function sizeOf({ current }: WorkingTree, changes: readonly { readonly path: string; readonly row: StoredFile | null }[]): Size {
  const seen = new Map<string, StoredFile | null>();
  let [files, bytes, names] = [0, 0, 0];
  for (const { path, row } of changes) {
    const before = seen.has(path) ? seen.get(path) : current.get(path);
    const sign = (row ? 1 : 0) - (before ? 1 : 0);
    files += sign;
    names += sign * namesOf(path);
    bytes += (row?.bytes ?? 0) - (before?.bytes ?? 0);
    seen.set(path, row);
  }
  return { files, bytes, names };
}

/** What makes the files fewer or smaller is never refused. */
function requireTreeRoom({ maxFiles, maxBytes, maxNames }: TreeQuotas, now: StoredTree, more: Size): void {
  const fits =
    (more.files <= 0 || now.files + more.files <= maxFiles) &&
    (more.bytes <= 0 || now.bytes + more.bytes <= maxBytes) &&
    (more.names <= 0 || now.names + more.names <= maxNames);
  if (fits) return;
  throw new NexusError(
    'payload_too_large',
    `the session may hold ${maxBytes} bytes in ${maxFiles} files whose paths have ${maxNames} names together, and has ${now.bytes} bytes in ${now.files} files with ${now.names}; write less, or delete some`,
    {
      details: {
        what: 'session files',
        limit: { maxBytes, maxFiles, maxNames },
        used: { bytes: now.bytes, files: now.files, names: now.names },
      },
    },
  );
}

/** The call whose files are too many can fail alone, if it is known. */
function forCall({ callId }: FilesCommit, check: () => void): void {
  try {
    check();
  } catch (error) {
    if (!(error instanceof NexusError)) throw error;
    throw new NexusError(error.code, error.message, { details: { ...error.details, callId }, retryable: false });
  }
}

interface Contents {
  readonly wanted: Set<string>;
  /** Of those, what no file may name. */
  gone: ReadonlySet<string>;
}

interface Loaded {
  readonly trees: Map<string, WorkingTree>;
  readonly copies: Map<FilesCopy, readonly StoredFile[]>;
  /** Files of the tenant, as they stand before and after the batch. */
  readonly total: { before: number; now: number };
  readonly contents: Contents;
}

function* load(
  tenantId: string,
  paths: ReadonlyMap<string, ReadonlySet<string>>,
  { trees, copies, total, contents }: Loaded,
): Program<void> {
  const counts = yield* lockCounts(tenantId, ['files']);
  total.before = counts.get('files') ?? 0;
  total.now = total.before;
  const rows = yield* lockFileTrees(tenantId, paths.keys());
  const wanted = [...copies.keys()];
  const [gone, found, held] = yield* together([
    goneContents(tenantId, contents.wanted),
    together(rows.map(({ tree_id }) => currentFilesNear(tenantId, tree_id, paths.get(tree_id) ?? new Set()))),
    // What a version held is changed by nobody.
    together(wanted.map(({ from }) => filesAt(tenantId, from.treeId, from.version))),
  ]);
  contents.gone = gone;
  wanted.forEach((copy, index) => void copies.set(copy, held[index] ?? []));
  rows.forEach((row, index) => {
    const tree: WorkingTree = { row, current: new Map(), folders: new Map(), added: new Set(), replaced: new Set() };
    for (const file of found[index] ?? []) hold(tree, file);
    trees.set(row.tree_id, tree);
  });
}

function rowOf(tenantId: string, { treeId }: FilesCommit, { path, content }: FileChange): StoredFile | null {
  return content === null ? null : fileToRow({ tenantId, treeId, version: 0 }, { path, ...content });
}

/** The later commit wins: what cannot stand beside its file (one where it needs a folder, those in a folder of its name) ends with it. */
function apply(tree: WorkingTree, path: string, row: StoredFile | null): void {
  end(tree, path);
  if (row === null) return;
  for (const folder of foldersOf(path)) end(tree, folder);
  if (tree.folders.has(path)) for (const other of [...tree.current.keys()]) if (other.startsWith(`${path}/`)) end(tree, other);
  hold(tree, row);
  tree.added.add(row);
  tree.row.files += 1;
  tree.row.bytes += row.bytes;
  tree.row.names += namesOf(row.path);
}

function hold(tree: WorkingTree, row: StoredFile): void {
  tree.current.set(row.path, row);
  for (const folder of foldersOf(row.path)) tree.folders.set(folder, (tree.folders.get(folder) ?? 0) + 1);
}

function end(tree: WorkingTree, path: string): void {
  const row = tree.current.get(path);
  if (row === undefined) return;
  tree.current.delete(path);
  for (const folder of foldersOf(path)) {
    const left = (tree.folders.get(folder) ?? 0) - 1;
    if (left > 0) tree.folders.set(folder, left);
    else tree.folders.delete(folder);
  }
  tree.row.files -= 1;
  tree.row.bytes -= row.bytes;
  tree.row.names -= namesOf(path);
  row.replaced = tree.row.version;
  if (!tree.added.has(row)) tree.replaced.add(row);
  // One that came with the same version was never to be seen.
  else if (row.version === tree.row.version) tree.added.delete(row);
}
