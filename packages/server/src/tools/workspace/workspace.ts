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
  removeFile,
  replaceEntry,
  requireRegular,
  statEntry,
} from './folder.ts';
import { parseWorkspacePath, unfinishedPrefix } from './path.ts';
import { createUsageGuard, type UsageLimits, type WorkspaceUsage } from './usage.ts';
import { type OpenFile, type WalkItem, walkFolder } from './walk.ts';

export interface WorkspaceLimits extends UsageLimits {
  /** Largest file that one write may make. */
  readonly maxFileBytes: number;
  /** Most entries that one walk visits. */
  readonly maxVisited: number;
}

const defaultWorkspaceLimits: WorkspaceLimits = {
  maxFileBytes: 16 * 1024 * 1024,
  maxVisited: 20_000,
  maxWorkspaceBytes: 1024 * 1024 * 1024,
  maxWorkspaceFiles: 20_000,
};

/**
 * The files of sessions. Every path is relative to the session's folder `root`, which must exist, and nothing outside
 * that folder can be named, read, written or noticed: links of either kind, `..`, absolute paths, devices and pipes
 * are refused with `path_not_allowed`, also when they appear while a call is under way. Failures are `NexusError`s
 * whose messages name paths as the caller gave them.
 */
export interface Workspaces {
  /** Opens a regular file for the time of `action`. */
  withFile<T>(root: string, path: string, action: (file: OpenFile) => Promise<T>): Promise<T>;
  /** Replaces or creates a file in one step, making missing folders. Cancelling leaves the old content. */
  write(root: string, path: string, content: Uint8Array, signal?: AbortSignal): Promise<{ readonly created: boolean }>;
  /** Visits what is below the folder `path`, see {@link walkFolder}. */
  walk(root: string, path: string, options: { readonly recursive: boolean; readonly signal?: AbortSignal }): AsyncGenerator<WalkItem>;
}

export interface WorkspacesOptions extends FolderOptions {
  readonly limits?: Partial<WorkspaceLimits>;
}

export function createWorkspaces(options: WorkspacesOptions = {}): Workspaces {
  const limits = { ...defaultWorkspaceLimits, ...options.limits };
  const usage = createUsageGuard(limits);

  const measure = async (root: string): Promise<WorkspaceUsage> => {
    const total = { bytes: 0, files: 0 };
    const folder = await openRoot(root, options);
    try {
      const visits = walkFolder(folder, '', { ...options, recursive: true, maxVisited: limits.maxWorkspaceFiles * 2 });
      for await (const item of visits) {
        if (item.type === 'incomplete') break;
        total.bytes += item.sizeBytes;
        total.files += 1;
      }
      return total;
    } finally {
      await folder.handle.close();
    }
  };

  /** `missing`: folders of the path below `folder` that are not there yet. They count like files. */
  const planWrite = async ({ folder, missing }: Descent, name: string, content: Uint8Array, signal: AbortSignal | undefined) => {
    throwIfAborted(signal);
    const existing = missing.length > 0 ? undefined : await statEntry(folder, name);
    if (existing !== undefined) requireReplaceable(existing, name);
    const files = existing === undefined ? missing.length + 1 : 0;
    const change = { bytes: content.byteLength - (existing?.size ?? 0), files };
    const mode = existing === undefined ? 0o600 : existing.mode & 0o700;
    const write = () =>
      inNewFolders(folder, missing, options, async (target) => {
        await replaceFile(target, name, { content, mode, signal, options });
        return { created: existing === undefined };
      });
    return { change, write };
  };

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

    async write(root, path, content, signal) {
      const names = parseWorkspacePath(path);
      const name = names.at(-1);
      if (name === undefined) throw new NexusError('tool_input_invalid', 'the path is the workspace itself; name a file in it');
      if (content.byteLength > limits.maxFileBytes) {
        throw new NexusError(
          'payload_too_large',
          `a file may have ${limits.maxFileBytes} bytes, this has ${content.byteLength}; write several files`,
        );
      }
      throwIfAborted(signal);
      let descent: Descent | undefined;
      try {
        return await usage.write(
          root,
          async () => {
            descent = await descend(root, names.slice(0, -1), path, options);
            return planWrite(descent, name, content, signal);
          },
          () => measure(root),
        );
      } catch (error) {
        throw toWorkspaceError(error, path);
      } finally {
        await descent?.folder.handle.close();
      }
    },

    async *walk(root, path, { recursive, signal }) {
      // Listings show folders with the slash that they are then named with.
      const names = parseWorkspacePath(path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path);
      const folder = await openPath(root, names, path, options);
      try {
        yield* walkFolder(folder, names.join('/'), {
          ...options,
          recursive,
          maxVisited: limits.maxVisited,
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
  readonly content: Uint8Array;
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
      await handle.writeFile(content, signal === undefined ? {} : { signal });
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
