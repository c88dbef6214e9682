import { chmod, lchown, lstat, opendir, statfs } from 'node:fs/promises';

/** Gives all that lies in the folder to the user, once: what is his already stays as it is. Nothing may run in it. */
export async function handOver(folder: string, { uid, gid }: { readonly uid: number; readonly gid: number }): Promise<void> {
  for await (const { path, stats } of all(folder)) {
    // A file with several names may lie elsewhere too.
    if (stats.uid !== uid && (stats.isDirectory() || stats.nlink === 1)) await lchown(path, uid, gid);
  }
}

/** Makes what a program locked away from its own user readable again: it has to be looked through, and removed. Nothing may run in it. */
export async function unlock(folder: string): Promise<void> {
  for await (const { path, stats } of all(folder)) {
    const least = stats.isDirectory() ? 0o700 : 0o400;
    if ((stats.isDirectory() || stats.isFile()) && (stats.mode & least) !== least) await chmod(path, (stats.mode & 0o777) | least);
  }
}

/** Each folder before what is in it. What cannot be reached is left out. */
async function* all(folder: string) {
  const left = [folder];
  for (let path = left.pop(); path !== undefined; path = left.pop()) {
    const stats = await lstat(path).catch(() => undefined);
    if (stats === undefined) continue;
    yield { path, stats };
    if (!stats.isDirectory()) continue;
    const entries = await opendir(path).catch(() => undefined);
    if (entries !== undefined) for await (const entry of entries) left.push(`${path}/${entry.name}`);
  }
}

export interface FolderLimit {
  readonly bytes: number;
  readonly files: number;
}

/** Whether a folder has outgrown its limit, asked again and again: it is only counted through when its disk has lost that much. */
export function watchFolder(folder: string, limit: FolderLimit): () => Promise<boolean> {
  let counted: { readonly bytes: number; readonly files: number } | undefined;
  return async () => {
    const disk = await statfs(folder).catch(() => undefined);
    if (disk === undefined) return false;
    const now = { bytes: disk.bavail * disk.bsize, files: disk.ffree };
    counted ??= now;
    const grew = counted.bytes - now.bytes > limit.bytes / 8 || counted.files - now.files > limit.files / 8;
    if (!grew) return false;
    counted = now;
    let [bytes, files] = [0, 0];
    for await (const { stats } of all(folder)) {
      bytes += stats.blocks * 512;
      files += 1;
      if (bytes > limit.bytes || files > limit.files) return true;
    }
    return false;
  };
}
