import { createHash } from 'node:crypto';
import { lstat, rm, writeFile } from 'node:fs/promises';
import { NexusError, throwIfAborted } from '#core';
import type { BlobStore, FileChange, FileContent, FileStore, FileTree } from '#storage';
import type { CallFolder, FolderRequest, KeptFiles } from '#tools/contract';
import type { Workspaces } from '#tools/workspace';
import { identify, readPieces } from './content.ts';
import type { Leave } from './gate.ts';
import { type FileLimits, requireFewChanges, requireFileFits, requireRoom, sizeOfChange } from './limits.ts';
import { compareSurveys, type Survey, surveyFolder } from './survey.ts';
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

/** How long changes count as about to be committed, at most. */
const commitMs = 60_000;
/** A folder that holds more files and folders than so many times its files is not looked through to the end. */
const foldersPerFile = 10;

interface Stay {
  readonly request: FolderRequest;
  readonly folder: TreeFolder;
  readonly tree: FileTree;
  /** The tree's key in the store, which checked it when it was made. */
  readonly tenantId: Parameters<FileStore['getFile']>[0];
  readonly leave: Leave;
}

/** The folder for a call that only reads it, or writes by `files`: what it writes is put with the blobs, and the folder stays as it is. */
export function shareFolder(options: CallFolderOptions, stay: Stay): CallFolder {
  const { folder, leave, tree } = stay;
  const writes = createWrites(options, stay);
  const end = () => {
    writes.drop();
    leave();
  };
  return {
    path: folder.path,
    files: writes,
    async keep() {
      const changes = writes.take();
      leave();
      return { treeId: tree.treeId, version: tree.version, changes, note: '' };
    },
    discard: end,
    abandon: end,
  };
}

/** The folder for a call that may do in it what it likes: afterwards it is compared with what it was. */
export async function lendFolder(options: CallFolderOptions, stay: Stay): Promise<CallFolder> {
  const { limits, store, blobs, workspaces } = options;
  const { folder, leave, tree, tenantId, request } = stay;
  const { path } = folder;
  const maxVisited = foldersPerFile * limits.maxFiles;
  const before = await surveyFolder(path, maxVisited);
  const sinceMs = await fileSystemNow(path);
  const writes = createWrites(options, stay);

  /** What the tool did; strange things are removed, and so are folders that hold nothing. */
  async function look(): Promise<{ touched: string[]; gone: string[]; others: readonly string[] }> {
    const after: Survey = await surveyFolder(path, maxVisited);
    for (const other of after.others) await rm(`${path}/${other}`, { recursive: true, force: true });
    for (const empty of after.empty) await rm(`${path}/${empty}`, { recursive: true, force: true });
    return { ...compareSurveys(before, after, sinceMs), others: after.others };
  }

  async function contentAt(changed: string): Promise<FileContent> {
    return workspaces.withFile(path, changed, async (file) => {
      requireFileFits(limits, changed, file.sizeBytes);
      const executable = ((await file.handle.stat()).mode & 0o100) !== 0;
      return { ...(await identify(readPieces(file))), executable };
    });
  }

  async function capture(signal: AbortSignal): Promise<KeptFiles> {
    const { touched, gone, others } = await look();
    for (const each of [...gone, ...touched]) folder.stray(each, null);
    let undone = others;
    if (request.mayWrite) {
      // What goes makes room.
      const changes = [...gone.map((each) => ({ each, isGone: true })), ...touched.map((each) => ({ each, isGone: false }))];
      for (const { each: changed, isGone } of changes) {
        throwIfAborted(signal);
        const content = isGone ? null : await contentAt(changed);
        if (content !== null) folder.stray(changed, content);
        const known = await store.getFile(tenantId, tree.treeId, changed, tree.version);
        if (known?.sha256 === content?.sha256 && known?.executable === content?.executable) continue;
        writes.add({ path: changed, content }, known);
        if (content === null) continue;
        const blob = { tenantId, sha256: content.sha256, bytes: content.bytes };
        await workspaces.withFile(path, changed, (file) => blobs.put(blob, () => readPieces(file), signal));
      }
    } else undone = [...touched, ...gone, ...others];
    return { treeId: tree.treeId, version: tree.version, changes: writes.take(), note: undoneNote(undone, request.mayWrite) };
  }

  /** What it did is undone by the next one that asks for the folder; what cannot be told makes a new folder necessary. */
  async function undo(): Promise<void> {
    writes.drop();
    try {
      const { touched, gone } = await look();
      for (const each of [...touched, ...gone]) folder.stray(each, null);
    } catch {
      await folder.drop();
    } finally {
      leave();
    }
  }

  return {
    path,
    files: writes,
    async keep(signal) {
      try {
        const kept = await capture(signal);
        leave();
        return kept;
      } catch (error) {
        await undo();
        throw error;
      }
    },
    discard: () => options.afterwards(undo()),
    abandon() {
      writes.drop();
      options.afterwards(folder.drop());
      leave();
    },
  };
}

const maxNoted = 10;

function undoneNote(paths: readonly string[], mayWrite: boolean): string {
  if (paths.length === 0) return '';
  const names = paths.slice(0, maxNoted).map((path) => JSON.stringify(path.slice(0, 200)));
  const more = paths.length > maxNoted ? `, and ${paths.length - maxNoted} more` : '';
  const why = mayWrite ? 'links, special files and names that no path can say are not kept' : 'a tool without fs.write changes no files';
  return `[undone: ${names.join(', ')}${more}; ${why}]`;
}

/** What the clock of the file system says that holds the folder. */
async function fileSystemNow(folder: string): Promise<number> {
  const probe = `${folder}.clock`;
  await writeFile(probe, '', { mode: 0o600 });
  const { ctimeMs } = await lstat(probe);
  await rm(probe, { force: true });
  return ctimeMs;
}

/** The changes of one call, held to the limits as they come. */
function createWrites(options: CallFolderOptions, { request, folder, tree, tenantId }: Stay) {
  const { limits, blobs, workspaces, monotonic } = options;
  const changes = new Map<string, FileChange>();
  const pending: PendingChanges = { contents: new Map(), size: { files: 0, bytes: 0 }, expiresAt: Number.POSITIVE_INFINITY };
  folder.expect(pending);

  /** Counts a change of what was `before` the call, or throws and counts nothing. Gives what takes it back. */
  function add(change: FileChange, before: { readonly bytes: number } | null): () => void {
    requireFewChanges(limits, changes.has(change.path) ? changes.size : changes.size + 1);
    const earlier = changes.get(change.path);
    const size = sizeOfChange(earlier === undefined ? before : earlier.content, change);
    const others = folder.pending;
    requireRoom(limits, { files: tree.files + others.files, bytes: tree.bytes + others.bytes }, size);
    pending.size = { files: pending.size.files + size.files, bytes: pending.size.bytes + size.bytes };
    pending.contents.set(change.path, change.content?.sha256 ?? null);
    changes.set(change.path, change);
    return () => {
      pending.size = { files: pending.size.files - size.files, bytes: pending.size.bytes - size.bytes };
      if (earlier === undefined) changes.delete(change.path);
      else changes.set(change.path, earlier);
    };
  }

  return {
    add,
    take(): readonly FileChange[] {
      if (changes.size === 0) folder.forget(pending);
      else pending.expiresAt = monotonic() + commitMs;
      return [...changes.values()];
    },
    drop(): void {
      folder.forget(pending);
    },
    async write(path: string, content: Uint8Array, signal?: AbortSignal): Promise<{ readonly created: boolean }> {
      if (!request.mayWrite) throw new NexusError('path_not_allowed', 'a tool that does not declare fs.write changes no files');
      throwIfAborted(signal);
      const before = await workspaces.look(folder.path, path);
      requireFileFits(limits, path, content.byteLength);
      const sha256 = createHash('sha256').update(content).digest('hex');
      const bytes = content.byteLength;
      const takeBack = add({ path, content: { sha256, bytes, executable: before?.executable ?? false } }, before);
      const read = async function* () {
        yield content;
      };
      try {
        await blobs.put({ tenantId, sha256, bytes }, read, signal);
      } catch (error) {
        takeBack(); // the tool may go on without it
        throw error;
      }
      return { created: before === null };
    },
  };
}
