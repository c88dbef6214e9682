import { isUtf8 } from 'node:buffer';
import { chmod, lchown, lstat, readdir, rename, rm, statfs } from 'node:fs/promises';
import type { Clock } from '#core';

/** Gives all that lies in the folder to the user, once: what is his already stays as it is. Nothing may run in it. */
export async function handOver(folder: string, { uid, gid }: { readonly uid: number; readonly gid: number }): Promise<void> {
  for await (const { path, stats } of all(folder)) {
    // A file with several names may lie elsewhere too.
    if (stats.uid !== uid && (stats.isDirectory() || stats.nlink === 1)) await lchown(path, uid, gid);
  }
}

/** Longest path within a folder that is left there; far more than a file of a session may have, and less than a system takes. */
const maxPathBytes = 2_500;

/**
 * Makes a folder one that can be looked through and removed again, whatever a program left in it: what it locked away from its own user is
 * opened, and what lies deeper than a path can say, or has a name that is no text, is removed. False when something lay too deep. Nothing may
 * run in it.
 */
export async function tidyFolder(folder: string): Promise<boolean> {
  const asides: string[] = [];
  let wasDeep = false;
  const places = [folder];
  for (let place = places.pop(); place !== undefined; place = places.pop()) {
    for await (const { path, stats } of all(place)) {
      const least = stats.isDirectory() ? 0o700 : 0o400;
      if ((stats.isDirectory() || stats.isFile()) && (stats.mode & least) !== least) await chmod(path, (stats.mode & 0o777) | least);
      const isDeep = stats.isDirectory() && path.length > place.length + maxPathBytes;
      if (!isDeep && isUtf8(path)) continue;
      wasDeep ||= isDeep;
      // What is below it is reached by its new place.
      const aside = `${folder}/.deep-${asides.length}`;
      await rm(aside, { recursive: true, force: true });
      await rename(path, aside);
      asides.push(aside);
      places.push(aside);
    }
  }
  for (const aside of asides) await rm(aside, { recursive: true, force: true });
  return !wasDeep;
}

/** Each folder before what is in it, by the bytes of its path, as names need be no text. What cannot be reached is left out. */
async function* all(folder: string) {
  const left = [Buffer.from(folder)];
  for (let path = left.pop(); path !== undefined; path = left.pop()) {
    const stats = await lstat(path).catch(() => undefined);
    if (stats === undefined) continue;
    yield { path, stats };
    if (!stats.isDirectory()) continue;
    const names = await readdir(path, { encoding: 'buffer' }).catch(() => []);
    for (const name of names) left.push(Buffer.concat([path, slash, name]));
  }
}

const slash = Buffer.from('/');

export interface FolderLimit {
  readonly bytes: number;
  readonly files: number;
}

/** A count is made at least so often, and takes no more than this part of the time. */
const countEveryMs = 250;
const countShare = 20;

/**
 * Whether a folder has outgrown its limit, asked again and again. It is counted through when its disk has lost that much, and now and
 * then all the same: others may free meanwhile what a program takes.
 */
export function watchFolder(folder: string, limit: FolderLimit, clock: Pick<Clock, 'monotonic'>): () => Promise<boolean> {
  let most: { readonly bytes: number; readonly files: number } | undefined;
  let nextAt = clock.monotonic() + countEveryMs;
  return async () => {
    const disk = await statfs(folder).catch(() => undefined);
    if (disk === undefined) return false;
    const now = { bytes: disk.bavail * disk.bsize, files: disk.ffree };
    most ??= now;
    const lost = most.bytes - now.bytes > limit.bytes / 8 || most.files - now.files > limit.files / 8;
    most = { bytes: Math.max(most.bytes, now.bytes), files: Math.max(most.files, now.files) };
    const startedAt = clock.monotonic();
    if (!lost && startedAt < nextAt) return false;
    most = now;
    let [bytes, files] = [0, 0];
    for await (const { stats } of all(folder)) {
      bytes += stats.blocks * 512;
      files += 1;
      if (bytes > limit.bytes || files > limit.files) return true;
    }
    const endedAt = clock.monotonic();
    nextAt = endedAt + Math.max(countEveryMs, countShare * (endedAt - startedAt));
    return false;
  };
}
