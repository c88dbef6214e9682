import { constants, type Stats } from 'node:fs';
import { type FileHandle, lstat, mkdir, open, opendir, rename, rm, rmdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { NexusError } from '#core';

/**
 * One open folder. Everything below it is named through the open descriptor (`/proc/self/fd/<n>/<name>`), one name at a
 * time and never through a link: whatever happens to the path that led here, nothing outside can be reached.
 *
 * Where there is no `/proc` (macOS, BSD) the path is used instead and compared with the open folder before and after:
 * links are refused all the same, and only a process that swaps folders at the right microsecond could still deceive
 * it. Tools alone cannot do that, as they cannot make links. On Windows, which has neither, it refuses.
 */
export interface Folder {
  readonly handle: FileHandle;
  /** Where the system finds `name` in this folder at this moment. */
  at(name: string): string;
}

export interface FolderOptions {
  /** For tests of the way without `/proc`. */
  readonly useProc?: boolean;
}

const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants;

export function hasErrorCode(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && 'code' in error && codes.includes(String(error.code));
}

/** Opens the folder at a path that is trusted up to its last name; the last name may not be a link unless `follow`. */
export async function openRoot(path: string, options: FolderOptions & { readonly follow?: boolean } = {}): Promise<Folder> {
  if (process.platform === 'win32') {
    throw new NexusError('unavailable', 'the file tools need a POSIX system; on Windows run inside WSL or a container');
  }
  const handle = await open(path, O_RDONLY | O_DIRECTORY | (options.follow ? 0 : O_NOFOLLOW));
  return folderOf(handle, path, options);
}

function folderOf(handle: FileHandle, path: string, options: FolderOptions): Folder {
  const useProc = options.useProc ?? process.platform === 'linux';
  return { handle, at: (name) => join(useProc ? `/proc/self/fd/${handle.fd}` : path, name) };
}

/** Opens the folder `name` inside `parent`. `create` makes it where it is missing. */
export async function openChild(parent: Folder, name: string, options: FolderOptions & { readonly create?: boolean }): Promise<Folder> {
  const path = parent.at(name);
  if (options.create) {
    await mkdir(path, { mode: 0o700 }).catch((error: unknown) => {
      if (!hasErrorCode(error, 'EEXIST')) throw error;
    });
  }
  const handle = await open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  try {
    await requireUnmoved(parent, options);
    return folderOf(handle, path, options);
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** Opens a regular file for reading. Links, devices, sockets, pipes and files with several names are refused. */
export async function openFile(
  parent: Folder,
  name: string,
  options: FolderOptions,
): Promise<{ readonly handle: FileHandle; readonly stats: Stats }> {
  // O_NONBLOCK: opening a pipe would otherwise wait for a writer for ever.
  const handle = await open(parent.at(name), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  try {
    const stats = await handle.stat();
    requireRegular(stats, name);
    await requireUnmoved(parent, options);
    return { handle, stats };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** Creates a file that must not exist yet. */
export async function createFile(parent: Folder, name: string, mode: number): Promise<FileHandle> {
  return open(parent.at(name), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode);
}

/** What is at `name` itself, not behind a link; undefined where there is nothing. */
export async function statEntry(parent: Folder, name: string): Promise<Stats | undefined> {
  return lstat(parent.at(name)).catch((error: unknown) => {
    if (hasErrorCode(error, 'ENOENT')) return undefined;
    throw error;
  });
}

/** Replaces `to` by `from` in one step. A link at `to` is replaced, not followed. */
export async function replaceEntry(folder: Folder, from: string, to: string, options: FolderOptions): Promise<void> {
  await requireUnmoved(folder, options);
  await rename(folder.at(from), folder.at(to));
}

export async function removeFile(folder: Folder, name: string): Promise<void> {
  await unlink(folder.at(name)).catch(() => undefined); // it is gone or will be ignored: unfinished files are never shown
}

/** Removes what is at `name`, a folder with all that is in it; links are removed and not followed. */
export async function removeTree(folder: Folder, name: string): Promise<void> {
  await rm(folder.at(name), { recursive: true, force: true });
}

/** Whether there is no such folder afterwards. */
export async function removeEmptyFolder(folder: Folder, name: string): Promise<boolean> {
  return rmdir(folder.at(name)).then(
    () => true,
    (error: unknown) => {
      if (hasErrorCode(error, 'ENOTEMPTY', 'EEXIST', 'ENOTDIR')) return false;
      if (hasErrorCode(error, 'ENOENT')) return true;
      throw error;
    },
  );
}

export interface FolderEntry {
  readonly name: string;
  readonly type: 'file' | 'folder' | 'other';
}

/** The names in a folder in order of their code units, at most `max`; `more` when there were further ones. */
export async function readFolder(
  folder: Folder,
  max: number,
): Promise<{ readonly entries: readonly FolderEntry[]; readonly more: boolean }> {
  const entries: FolderEntry[] = [];
  const directory = await opendir(folder.at('.'), { bufferSize: 256 });
  for await (const entry of directory) {
    if (entries.length >= max) return { entries: sortEntries(entries), more: true };
    entries.push({ name: entry.name, type: entry.isFile() ? 'file' : entry.isDirectory() ? 'folder' : 'other' });
  }
  return { entries: sortEntries(entries), more: false };
}

function sortEntries(entries: FolderEntry[]): readonly FolderEntry[] {
  return entries.sort((a, b) => (a.name < b.name ? -1 : 1));
}

export function requireRegular(stats: Stats, name: string): void {
  const shown = JSON.stringify(name);
  if (stats.isDirectory()) throw new NexusError('tool_input_invalid', `${shown} is a folder; name a file in it`);
  if (!stats.isFile()) throw new NexusError('path_not_allowed', `${shown} is not a regular file`);
  // A second name may lie outside the workspace, and nothing tells which of them is the original.
  if (stats.nlink > 1)
    throw new NexusError('path_not_allowed', `${shown} has several names (hard links), so it may lie outside the workspace`);
}

/** Without `/proc` a path may have been exchanged under us: it must still lead to the folder that is open. */
async function requireUnmoved(folder: Folder, options: FolderOptions): Promise<void> {
  if (options.useProc ?? process.platform === 'linux') return;
  const [opened, found] = await Promise.all([folder.handle.stat(), lstat(folder.at('.'))]);
  if (opened.dev !== found.dev || opened.ino !== found.ino) {
    throw new NexusError('path_not_allowed', 'a folder of the path was exchanged while it was used');
  }
}
