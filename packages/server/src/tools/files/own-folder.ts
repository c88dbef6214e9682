import { lstat, mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Timers } from '#core';

/** How often a process says that it still uses its folder, and after what silence others remove it. */
const beatMs = 60_000;
const deadMs = 20 * 60_000;
const beatFile = '.alive';

/** A folder of this process alone, for what it can make again. */
export interface OwnFolder {
  readonly path: string;
  /** Removes it. */
  close(): Promise<void>;
}

export interface OwnFolderOptions {
  /** Holds those of all processes of this machine. */
  readonly root: string;
  /** Of this process, never used before. */
  readonly name: string;
  readonly timers: Timers;
  /** Hears what could not be tidied up. */
  readonly onError: (error: unknown) => void;
}

/**
 * Makes a folder below `root` that only this process uses: what an earlier one left half done, or one that was stopped may still
 * write, is never met. Those of processes that are gone are removed, now and later.
 */
export async function openOwnFolder({ root, name, timers, onError }: OwnFolderOptions): Promise<OwnFolder> {
  const path = join(root, name);
  const beat = join(path, beatFile);
  await mkdir(path, { recursive: true, mode: 0o700 });
  await writeFile(beat, '', { mode: 0o600 });
  let working = removeDead(root, path).catch(onError);
  const cancel = timers.every(beatMs, () => {
    working = working
      .then(() => mkdir(path, { recursive: true, mode: 0o700 }))
      .then(() => writeFile(beat, String(process.pid), { mode: 0o600 }))
      .then(() => removeDead(root, path))
      .catch(onError);
  });
  return {
    path,
    async close() {
      cancel();
      await working;
      await rm(path, { recursive: true, force: true });
    },
  };
}

/** By the clock of the file system, which all that share it share. */
async function removeDead(root: string, own: string): Promise<void> {
  const now = (await stat(join(own, beatFile))).mtimeMs;
  for (const name of await readdir(root)) {
    const path = join(root, name);
    if (path === own) continue;
    const seen = await stat(join(path, beatFile)).catch(() => lstat(path).catch(() => undefined));
    if (seen !== undefined && now - seen.mtimeMs > deadMs) await rm(path, { recursive: true, force: true });
  }
}
