import { createHash } from 'node:crypto';
import { NexusError, throwIfAborted } from '#core';
import type { BlobStore, FileChange, FileContent, FileStore, FileTree } from '#storage';
import type { CallFiles, FolderRequest, WriteCondition } from '#tools/contract';
import type { Workspaces } from '#tools/workspace';
import type { Leave } from './gate.ts';
import { type FileLimits, requireFewChanges, requireFileFits, requirePathFits, requireRoom, sizeOfChange } from './limits.ts';
import type { PendingChanges, TreeFolder } from './tree-folder.ts';

export interface CallFolderOptions {
  readonly store: FileStore;
  readonly blobs: BlobStore;
  readonly workspaces: Workspaces;
  readonly limits: FileLimits;
  readonly monotonic: () => number;
  /** Takes over work that goes on after the call. */
  readonly afterwards: (work: Promise<unknown>) => void;
}

/** Where a call stands. */
export interface Stay {
  readonly request: FolderRequest;
  readonly folder: TreeFolder;
  readonly tree: FileTree;
  /** The tree's key in the store, which checked it when it was made. */
  readonly tenantId: Parameters<FileStore['getFile']>[0];
  readonly leave: Leave;
}

/** How long changes count as about to be committed, at most. */
const commitMs = 60_000;
/** How long nobody builds on a file that is about to be changed: a commit takes less unless the store is away. */
const holdMs = 10_000;

/** The changes of one call, as its tool makes them. */
export interface CallChanges extends CallFiles {
  /** Counts a change of what was `before` the call, or throws and counts nothing. Gives what takes it back. */
  add(change: FileChange, before: { readonly bytes: number } | null): () => void;
  /** The call has ended well: they are about to be committed. */
  take(): readonly FileChange[];
  /** They never will be. */
  drop(): void;
}

/** Held to the limits as they come. */
export function createCallChanges(options: CallFolderOptions, { request, folder, tree, tenantId }: Stay): CallChanges {
  const { store, limits, blobs, workspaces, monotonic } = options;
  const changes = new Map<string, FileChange>();
  /** Of the paths that it changes, where there was a file before it. */
  const replaced = new Set<string>();
  const never = Number.POSITIVE_INFINITY;
  const pending: PendingChanges = { contents: new Map(), size: { files: 0, bytes: 0 }, expiresAt: never, heldUntil: never };
  folder.expect(pending);

  function add(change: FileChange, before: { readonly bytes: number } | null): () => void {
    requireFewChanges(limits, changes.has(change.path) ? changes.size : changes.size + 1);
    const earlier = changes.get(change.path);
    const size = sizeOfChange(earlier === undefined ? before : earlier.content, change);
    const others = folder.pending;
    requireRoom(limits, { files: tree.files + others.files, bytes: tree.bytes + others.bytes }, size);
    const note = (noted: FileChange) => {
      changes.set(noted.path, noted);
      pending.contents.set(noted.path, noted.content?.sha256 ?? null);
    };
    pending.size = { files: pending.size.files + size.files, bytes: pending.size.bytes + size.bytes };
    note(change);
    if (earlier === undefined && before !== null) replaced.add(change.path);
    return () => {
      pending.size = { files: pending.size.files - size.files, bytes: pending.size.bytes - size.bytes };
      if (earlier !== undefined) return note(earlier);
      changes.delete(change.path);
      replaced.delete(change.path);
      pending.contents.delete(change.path);
    };
  }

  function requireMayWrite(signal: AbortSignal | undefined): void {
    if (!request.mayWrite) throw new NexusError('path_not_allowed', 'a tool that does not declare fs.write changes no files');
    throwIfAborted(signal);
  }

  /** What the path has by what the call was shown and has changed itself. */
  async function standing(path: string): Promise<FileContent | null> {
    const own = changes.get(path);
    return own === undefined ? store.getFile(tenantId, tree.treeId, path, tree.version) : own.content;
  }

  /** Nobody else has changed the path since the call was shown it, or is about to. */
  async function requireStill(path: string, replaces: string | null): Promise<void> {
    const shown = await standing(path);
    const newest = changes.has(path) ? null : await store.getFileTree(tenantId, tree.treeId);
    const isNewer = newest !== null && newest.version !== tree.version;
    const now = isNewer ? await store.getFile(tenantId, tree.treeId, path, newest.version) : shown;
    if ((now?.sha256 ?? null) === replaces && !folder.isHeld(path, pending)) return;
    const shownPath = JSON.stringify(path.slice(0, 200));
    throw new NexusError(
      'conflict',
      replaces === null && now !== null
        ? `there is a file at ${shownPath} already; choose another name, or say that it may be replaced`
        : `another call is changing ${shownPath} at the same time; nothing was changed by this one. Read the file again and repeat the call by itself`,
    );
  }

  return {
    add,
    take() {
      // What it made and removed again is no change: the tree would never show it.
      const real = [...changes.values()].filter(({ path, content }) => content !== null || replaced.has(path));
      if (real.length === 0) folder.forget(pending);
      else {
        pending.expiresAt = monotonic() + commitMs;
        pending.heldUntil = monotonic() + holdMs;
      }
      return real;
    },
    drop() {
      folder.forget(pending);
    },
    async write(path, content, signal, condition?: WriteCondition) {
      requireMayWrite(signal);
      const there = await workspaces.look(folder.path, path);
      requireFileFits(limits, path, content.byteLength);
      if (condition !== undefined) await requireStill(path, condition.replaces);
      const sha256 = createHash('sha256').update(content).digest('hex');
      const bytes = content.byteLength;
      const before = changes.get(path)?.content ?? there;
      const takeBack = add({ path, content: { sha256, bytes, executable: before?.executable ?? false } }, there);
      const read = async function* () {
        yield content;
      };
      try {
        await blobs.put({ tenantId, sha256, bytes }, read, signal);
      } catch (error) {
        takeBack(); // the tool may go on without it
        throw error;
      }
      return { created: there === null };
    },
    async remove(path, signal) {
      requireMayWrite(signal);
      await workspaces.look(folder.path, path);
      const before = await standing(path);
      if (before === null) throw missing(path);
      add({ path, content: null }, before);
    },
    async move(from, to, { replace, signal }) {
      requireMayWrite(signal);
      await workspaces.look(folder.path, from);
      const target = await workspaces.look(folder.path, to);
      const content = await standing(from);
      if (content === null) throw missing(from);
      if (from === to) throw new NexusError('tool_input_invalid', `${JSON.stringify(from)} is where it is; give another name`);
      requirePathFits(to);
      await requireStill(from, content.sha256);
      if (!replace) await requireStill(to, null);
      const { sha256, bytes, executable } = content;
      // What goes makes room.
      const takeBack = add({ path: from, content: null }, content);
      try {
        add({ path: to, content: { sha256, bytes, executable } }, target);
      } catch (error) {
        takeBack();
        throw error;
      }
    },
  };
}

function missing(path: string): NexusError {
  return new NexusError('not_found', `there is no ${JSON.stringify(path.slice(0, 200))} in the workspace; fs_list shows what there is`);
}
