import { randomBytes } from 'node:crypto';
import type { Stats } from 'node:fs';
import { NexusError, throwIfAborted } from '#core';
import { toWorkspaceError } from './errors.ts';
import {
  createFile,
  type Folder,
  type FolderOptions,
  hasErrorCode,
  openChild,
  openFile,
  openRoot,
  removeEmptyFolder,
  removeFile,
  removeTree,
  replaceEntry,
  requireRegular,
  statEntry,
} from './folder.ts';
import { parseWorkspacePath, unfinishedPrefix } from './path.ts';
import { type OpenFile, type WalkItem, walkFolder } from './walk.ts';

const defaultMaxVisited = 20_000;

/**
 * The files of sessions. Every path is relative to the session's folder `root`, which must exist, and nothing outside
 * that folder can be named, read, written or noticed: links of either kind, `..`, absolute paths, devices and pipes
 * are refused with `path_not_allowed`, also when they appear while a call is under way. Failures are `NexusError`s
 * whose messages name paths as the caller gave them.
 */
export interface Workspaces {
  /** Opens a regular file for the time of `action`. */
  withFile<T>(root: string, path: string, action: (file: OpenFile) => Promise<T>): Promise<T>;
  /** What stands where a file is to be written, null for nothing. Throws as {@link Workspaces.write} would. */
  look(root: string, path: string): Promise<{ readonly bytes: number; readonly executable: boolean } | null>;
  /**
   * Replaces or creates a file in one step, making missing folders. Cancelling leaves the old content, as does content that breaks
   * off. Whether it may be executed stays as it was unless `executable` says so.
   */
  write(
    root: string,
    path: string,
    content: AsyncIterable<Uint8Array> | Uint8Array,
    options?: { readonly executable?: boolean; readonly signal?: AbortSignal },
  ): Promise<void>;
  /** Makes room for a file: what is in the way of it goes, whatever it is. */
  clear(root: string, path: string): Promise<void>;
  /** Removes the file there, whatever it is, with the folders that are empty then; a folder in its place stays if anything is in it. */
  remove(root: string, path: string): Promise<void>;
  /** Visits what is below the folder `path`, see {@link walkFolder}. */
  walk(
    root: string,
    path: string,
    options: { readonly recursive: boolean; readonly depth?: number; readonly signal?: AbortSignal },
  ): AsyncGenerator<WalkItem>;
}

export interface WorkspacesOptions extends FolderOptions {
  /** Most entries that one walk visits. */
  readonly maxVisited?: number;
}

export function createWorkspaces(options: WorkspacesOptions = {}): Workspaces {
  const { maxVisited = defaultMaxVisited } = options;

  return {
    async withFile(root, path, action) {
      const names = parseWorkspacePath(path);
      const name = names.at(-1);
      if (name === undefined) throw new NexusError('tool_input_invalid', 'the path is the workspace itself; name a file in it');
      return withFolder(root, names.slice(0, -1), path, options, async (folder) => {
        const { handle, stats } = await openFile(folder, name, options);
        try {
          return await action({ handle, sizeBytes: stats.size });
        } finally {
          await handle.close();
        }
      });
    },

    look: (root, path) =>
      atFile(root, path, options, async ({ folder, missing }, name) => {
        const found = missing.length > 0 ? undefined : await statEntry(folder, name);
        if (found === undefined) return null;
        requireReplaceable(found, name);
        return { bytes: found.size, executable: isExecutable(found) };
      }),

    write: (root, path, content, { executable, signal } = {}) =>
      atFile(root, path, options, async ({ folder, missing }, name) => {
        throwIfAborted(signal);
        const found = missing.length > 0 ? undefined : await statEntry(folder, name);
        if (found !== undefined) requireReplaceable(found, name);
        const mode = (executable ?? (found !== undefined && isExecutable(found))) ? 0o700 : 0o600;
        await inNewFolders(folder, missing, options, (target) => replaceFile(target, name, { content, mode, signal, options }));
      }),

    async clear(root, path) {
      const names = parseWorkspacePath(path);
      for (const [index, name] of names.entries()) {
        const isLast = index === names.length - 1;
        const { folder, missing } = await descend(root, names.slice(0, index), path, options);
        try {
          const found = missing.length > 0 ? undefined : await statEntry(folder, name);
          if (found === undefined) return;
          if (isLast ? !found.isFile() || found.nlink > 1 : !found.isDirectory()) await removeTree(folder, name);
        } finally {
          await folder.handle.close();
        }
      }
    },

    async remove(root, path) {
      const names = parseWorkspacePath(path);
      for (let depth = names.length; depth > 0; depth--) {
        const descent = await descend(root, names.slice(0, depth - 1), path, options).catch(ignoreObstacle);
        if (descent === undefined) continue;
        const { folder, missing } = descent;
        try {
          if (missing.length > 0) continue; // and so is what was in it
          const name = names[depth - 1] ?? '';
          const found = await statEntry(folder, name);
          if (found?.isDirectory()) {
            if (!(await removeEmptyFolder(folder, name))) return;
          } else if (depth < names.length) return;
          else if (found !== undefined) await removeTree(folder, name);
        } finally {
          await folder.handle.close();
        }
      }
    },

    async *walk(root, path, { recursive, depth, signal }) {
      // Listings show folders with the slash that they are then named with.
      const names = parseWorkspacePath(path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path);
      const folder = await openPath(root, names, path, options);
      try {
        yield* walkFolder(folder, names.join('/'), {
          ...options,
          recursive,
          maxVisited,
          ...(depth === undefined ? {} : { depth }),
          ...(signal === undefined ? {} : { signal }),
        });
      } catch (error) {
        throw toWorkspaceError(error, path);
      } finally {
        await folder.handle.close();
      }
    },
  };
}

async function withFolder<T>(
  root: string,
  names: readonly string[],
  path: string,
  options: FolderOptions,
  action: (folder: Folder) => Promise<T>,
): Promise<T> {
  const folder = await openPath(root, names, path, options);
  try {
    return await action(folder);
  } catch (error) {
    throw toWorkspaceError(error, path);
  } finally {
    await folder.handle.close();
  }
}

/** Runs `action` with the innermost folder of the file's path that is there, and its name. */
async function atFile<T>(
  root: string,
  path: string,
  options: FolderOptions,
  action: (descent: Descent, name: string) => Promise<T>,
): Promise<T> {
  const names = parseWorkspacePath(path);
  const name = names.at(-1);
  if (name === undefined) throw new NexusError('tool_input_invalid', 'the path is the workspace itself; name a file in it');
  let descent: Descent | undefined;
  try {
    descent = await descend(root, names.slice(0, -1), path, options);
    return await action(descent, name);
  } catch (error) {
    throw toWorkspaceError(error, path);
  } finally {
    await descent?.folder.handle.close();
  }
}

/** Behind something that is no folder there is no file. */
function ignoreObstacle(error: unknown): undefined {
  if (error instanceof NexusError && (error.code === 'tool_input_invalid' || error.code === 'path_not_allowed')) return undefined;
  throw error;
}

function isExecutable({ mode }: Stats): boolean {
  return (mode & 0o100) !== 0;
}

/** The innermost folder of a path that is there, and the names below it that are not. */
interface Descent {
  readonly folder: Folder;
  readonly missing: readonly string[];
}

async function openPath(root: string, names: readonly string[], path: string, options: FolderOptions): Promise<Folder> {
  const { folder, missing } = await descend(root, names, path, options);
  if (missing.length === 0) return folder;
  await folder.handle.close();
  throw new NexusError('not_found', `there is no ${JSON.stringify(path)} in the workspace; fs_list shows what there is`);
}

/** Makes the folders `names` below `parent`, one in the other, and runs `action` in the last. */
async function inNewFolders<T>(
  parent: Folder,
  names: readonly string[],
  options: FolderOptions,
  action: (folder: Folder) => Promise<T>,
): Promise<T> {
  const [name, ...rest] = names;
  if (name === undefined) return action(parent);
  const folder = await openChild(parent, name, { ...options, create: true });
  try {
    return await inNewFolders(folder, rest, options, action);
  } finally {
    await folder.handle.close();
  }
}

/** Steps from the root into a path as far as it is there, one name and one descriptor at a time. */
async function descend(root: string, names: readonly string[], path: string, options: FolderOptions): Promise<Descent> {
  let folder: Folder;
  try {
    folder = await openRoot(root, options);
  } catch (error) {
    if (error instanceof NexusError) throw error;
    throw new NexusError('unavailable', 'the folder of the session cannot be opened', { cause: error, retryable: false });
  }
  try {
    for (const [index, name] of names.entries()) {
      const next = await openChild(folder, name, options).catch(async (error: unknown) => {
        if (hasErrorCode(error, 'ENOENT')) return undefined;
        throw await explainNoFolder(folder, name, error);
      });
      if (next === undefined) return { folder, missing: names.slice(index) };
      await folder.handle.close();
      folder = next;
    }
    return { folder, missing: [] };
  } catch (error) {
    await folder.handle.close();
    throw toWorkspaceError(error, path);
  }
}

/** The system says "not a folder" of a link too; the caller should learn that it is a link that was refused. */
async function explainNoFolder(parent: Folder, name: string, error: unknown): Promise<unknown> {
  const entry = await statEntry(parent, name).catch(() => undefined);
  return entry?.isSymbolicLink()
    ? new NexusError('path_not_allowed', `${JSON.stringify(name)} is a link, which may leave the workspace`, { cause: error })
    : error;
}

function requireReplaceable(stats: Stats, name: string): void {
  if (stats.isSymbolicLink()) throw new NexusError('path_not_allowed', `${JSON.stringify(name)} is a link, which may leave the workspace`);
  requireRegular(stats, name);
}

interface Replacement {
  readonly content: AsyncIterable<Uint8Array> | Uint8Array;
  readonly mode: number;
  readonly signal: AbortSignal | undefined;
  readonly options: FolderOptions;
}

/** Writes beside the file and then takes its place, so that readers see the old content or the new and never a part. */
async function replaceFile(folder: Folder, name: string, { content, mode, signal, options }: Replacement): Promise<void> {
  const unfinished = unfinishedPrefix + randomBytes(9).toString('base64url');
  try {
    const handle = await createFile(folder, unfinished, mode);
    try {
      await handle.chmod(mode); // making it is subject to the umask
      if (content instanceof Uint8Array) await handle.writeFile(content, signal === undefined ? {} : { signal });
      else {
        for await (const piece of content) {
          throwIfAborted(signal);
          await handle.writeFile(piece);
        }
      }
    } finally {
      await handle.close();
    }
    throwIfAborted(signal);
    await replaceEntry(folder, unfinished, name, options);
  } catch (error) {
    await removeFile(folder, unfinished);
    throwIfAborted(signal);
    throw error;
  }
}
