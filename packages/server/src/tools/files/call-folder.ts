import { lstat, rm, writeFile } from 'node:fs/promises';
import { throwIfAborted } from '#core';
import type { FileContent } from '#storage';
import type { CallFolder, KeptFiles } from '#tools/contract';
import { type CallFolderOptions, createCallChanges, type Stay } from './call-changes.ts';
import { identify, readPieces } from './content.ts';
import { requireFileFits } from './limits.ts';
import { compareSurveys, type Survey, surveyFolder } from './survey.ts';

/** A folder that holds more files and folders than so many times its files is not looked through to the end. */
const foldersPerFile = 10;

/** The folder for a call that only reads it, or writes by `files`: what it writes is put with the blobs, and the folder stays as it is. */
export function shareFolder(options: CallFolderOptions, stay: Stay): CallFolder {
  const { folder, leave, tree } = stay;
  const writes = createCallChanges(options, stay);
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
  const writes = createCallChanges(options, stay);

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
