import type { Stats } from 'node:fs';
import { NexusError } from '#core';
import { openRoot, walkFolder } from '#tools/workspace';
import { isPath } from './seed.ts';

type Seen = Pick<Stats, 'ino' | 'size' | 'mode' | 'mtimeMs' | 'ctimeMs'>;

/** What lies in a folder at one time. */
export interface Survey {
  readonly files: ReadonlyMap<string, Seen>;
  /** What no path of a session can be: links, devices, files with several names, names that cannot be said. */
  readonly others: readonly string[];
  /** Folders in which no file lies, at any depth; innermost first. */
  readonly empty: readonly string[];
}

/** The time of the file system is told in steps: a file that was changed within one after it was seen looks as if it were not. */
const clockStepMs = 50;

/** Throws `payload_too_large` when there is more than `maxVisited`. */
export async function surveyFolder(folder: string, maxVisited: number): Promise<Survey> {
  const files = new Map<string, Seen>();
  const others: string[] = [];
  const folders = new Set<string>();
  const root = await openRoot(folder);
  try {
    for await (const item of walkFolder(root, '', { recursive: true, maxVisited, hidden: true })) {
      if (item.type === 'incomplete')
        throw new NexusError('payload_too_large', `the tool left more than ${maxVisited} files and folders, or folders too deep`);
      if (item.type === 'folder') folders.add(item.path);
      else if (item.type === 'other' || item.stats.nlink > 1 || !isPath(item.path)) others.push(item.path);
      else {
        const { ino, size, mode, mtimeMs, ctimeMs } = item.stats;
        files.set(item.path, { ino, size, mode, mtimeMs, ctimeMs });
      }
    }
  } finally {
    await root.handle.close();
  }
  for (const path of files.keys())
    for (let at = path.lastIndexOf('/'); at > 0; at = path.lastIndexOf('/', at - 1)) folders.delete(path.slice(0, at));
  return { files, others, empty: [...folders].sort((one, other) => other.length - one.length) };
}

/**
 * The files that may be other than they were, and those that are gone.
 *
 * @param sinceMs what the file system's clock said after `before` was made
 */
export function compareSurveys(before: Survey, after: Survey, sinceMs: number): { readonly touched: string[]; readonly gone: string[] } {
  const touched = [...after.files].filter(([path, seen]) => {
    const known = before.files.get(path);
    return known === undefined || seen.ctimeMs >= sinceMs - clockStepMs || !isSame(known, seen);
  });
  const gone = [...before.files.keys()].filter((path) => !after.files.has(path));
  return { touched: touched.map(([path]) => path), gone };
}

function isSame(one: Seen, other: Seen): boolean {
  return (
    one.ino === other.ino &&
    one.size === other.size &&
    one.mode === other.mode &&
    one.mtimeMs === other.mtimeMs &&
    one.ctimeMs === other.ctimeMs
  );
}
