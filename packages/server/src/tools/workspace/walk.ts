import type { Stats } from 'node:fs';
import { throwIfAborted } from '#core';
import { type Folder, type FolderEntry, type FolderOptions, hasErrorCode, openChild, openFile, readFolder, statEntry } from './folder.ts';
import { unfinishedPrefix } from './path.ts';

export interface OpenFile {
  readonly handle: Awaited<ReturnType<typeof openFile>>['handle'];
  readonly sizeBytes: number;
}

export type WalkItem =
  | {
      readonly type: 'file';
      /** Relative to the workspace, with `/`. */
      readonly path: string;
      readonly sizeBytes: number;
      readonly stats: Stats;
      /** Opens the file for the time of `action`; valid until the walk goes on. */
      use<T>(action: (file: OpenFile) => Promise<T>): Promise<T>;
    }
  | { readonly type: 'folder'; readonly path: string; readonly sizeBytes: number }
  | { readonly type: 'other'; readonly path: string; readonly sizeBytes: number }
  /** Last, when there is more than was visited. */
  | { readonly type: 'incomplete' };

interface WalkOptions extends FolderOptions {
  readonly recursive: boolean;
  /** How many folders deep it goes when it is recursive; what is deeper is left out without a word. */
  readonly depth?: number;
  readonly maxVisited: number;
  /** Also what writes have not finished yet. */
  readonly hidden?: boolean;
  readonly signal?: AbortSignal;
}

interface Level {
  readonly folder: Folder;
  readonly path: string;
  readonly entries: Iterator<FolderEntry>;
}

const maxDepth = 32;

/**
 * Visits what is below an open folder: a folder before its content, names in order, links as `other` and never
 * followed. What vanishes during the walk is left out. The caller closes `start`; the walk closes what it opened.
 */
export async function* walkFolder(start: Folder, path: string, options: WalkOptions): AsyncGenerator<WalkItem> {
  let left = options.maxVisited;
  let complete = true;
  const levels: Level[] = [];
  const enter = async (folder: Folder, folderPath: string) => {
    const level = { folder, path: folderPath };
    try {
      const { entries, more } = await readFolder(folder, left);
      if (more) complete = false;
      levels.push({ ...level, entries: entries.values() });
    } catch (error) {
      if (folder !== start) await folder.handle.close();
      throw error;
    }
  };
  const leave = async () => {
    const level = levels.pop();
    if (level !== undefined && level.folder !== start) await level.folder.handle.close();
  };

  try {
    await enter(start, path);
    for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
      throwIfAborted(options.signal);
      const { value: entry, done } = level.entries.next();
      if (done) {
        await leave();
        continue;
      }
      if (entry.name.startsWith(unfinishedPrefix) && !options.hidden) continue;
      if (left <= 0) {
        complete = false;
        break;
      }
      const item = await visit(level, entry, options);
      if (item === undefined) continue;
      left -= 1;
      yield item;
      if (item.type !== 'folder' || !options.recursive) continue;
      if (options.depth !== undefined && levels.length >= options.depth) continue;
      if (levels.length >= maxDepth) {
        complete = false;
        continue;
      }
      const child = await openChild(level.folder, entry.name, options).catch(ignoreChanged);
      if (child !== undefined) await enter(child, item.path);
    }
    if (!complete) yield { type: 'incomplete' };
  } finally {
    while (levels.length > 0) await leave();
  }
}

async function visit(
  level: Level,
  entry: FolderEntry,
  options: FolderOptions,
): Promise<Exclude<WalkItem, { type: 'incomplete' }> | undefined> {
  const path = level.path === '' ? entry.name : `${level.path}/${entry.name}`;
  if (entry.type !== 'file') return { type: entry.type, path, sizeBytes: 0 };
  const stats = await statEntry(level.folder, entry.name);
  if (stats === undefined) return undefined;
  return {
    type: 'file',
    path,
    sizeBytes: stats.size,
    stats,
    async use(action) {
      const { handle, stats: opened } = await openFile(level.folder, entry.name, options);
      try {
        return await action({ handle, sizeBytes: opened.size });
      } finally {
        await handle.close();
      }
    },
  };
}

/** A folder that vanished, became a link or is closed to us between being seen and being opened. */
function ignoreChanged(error: unknown): undefined {
  if (hasErrorCode(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'EACCES')) return undefined;
  throw error;
}
