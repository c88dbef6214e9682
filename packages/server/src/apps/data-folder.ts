import { mkdir, readFile, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { dictionary } from '@nexus-agent/protocol';
import { NexusError } from '#core';

/** Makes the data folder, readable by this user only, where it is not there. Throws `unavailable` that says what is in the way. */
export async function makeDataFolder(dataDir: string): Promise<void> {
  const folder = resolve(dataDir);
  try {
    await makeFolder(folder);
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown';
    const why = faults[code]?.(folder) ?? `${folder} cannot be made`;
    throw new NexusError('unavailable', `dataDir (NEXUS_DATA_DIR, --data-dir): ${why} (${code})`, { cause, retryable: false });
  }
}

const denied = (folder: string) => `this user may not make ${folder}; change the owner of the folder above, or name another`;
const faults: Readonly<Record<string, (folder: string) => string>> = dictionary({
  EEXIST: (folder) => `${folder} is there and is no folder; name another`,
  ENOTDIR: (folder) => `${folder} leads through a file as if that were a folder; name another`,
  ENOENT: (folder) => `${folder} cannot be made where it is to be; name another`,
  EACCES: denied,
  EPERM: denied,
  EROFS: (folder) => `${folder} would lie on a file system that cannot be written; name another`,
  ENOSPC: (folder) => `there is no space left for ${folder}; make some, or name another`,
});

/**
 * Makes a folder, and those above it, readable by this user only, where it is not there. Not by the recursive mode of mkdir: where
 * nothing can be made, as in /proc, that never ends.
 */
export async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { mode: 0o700 });
  } catch (error) {
    if (await isFolder(folder)) return;
    const parent = dirname(folder);
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    if (!missing || (await isFolder(parent))) throw error;
    await makeFolder(parent);
    await makeFolder(folder);
  }
}

export async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (about) => about.isDirectory(),
    () => false,
  );
}

/** The secret under which earlier versions hashed API keys, which they kept here; undefined where there is none. */
export async function readFolderKeySecret(dataDir: string): Promise<Uint8Array | undefined> {
  const path = join(dataDir, 'key-secret');
  let stored: Uint8Array;
  try {
    stored = await readFile(path);
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown';
    if (code === 'ENOENT') return undefined;
    throw new NexusError('config_invalid', `${path} cannot be read (${code}): it must be a file of this user`, { cause });
  }
  if (stored.length === 32) return stored;
  throw new NexusError(
    'config_invalid',
    `${path} is damaged: it must hold 32 bytes; put a backup in its place, or remove it if no API key was made with this folder`,
  );
}
