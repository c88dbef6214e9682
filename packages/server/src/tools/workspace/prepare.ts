import { randomBytes } from 'node:crypto';
import { chmod, lstat, mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { NexusError } from '#core';
import { createFile, type Folder, hasErrorCode, openChild, openRoot } from './folder.ts';
import { type OpenFile, walkFolder } from './walk.ts';

export interface PrepareWorkspaceOptions {
  /** Folder that holds the sessions' folders; made when missing. */
  readonly root: string;
  readonly sessionId: string;
  /** Folder whose regular files a new workspace begins with. Links, devices and the like in it are left out. */
  readonly seedFrom?: string;
  /** A larger seed is refused. */
  readonly maxSeedBytes?: number;
  readonly maxSeedFiles?: number;
}

const chunkBytes = 64 * 1024;
const validSessionId = /^[A-Za-z0-9_-]{1,128}$/;

/**
 * Makes the session's folder, readable by this user only, and gives its path. A folder that exists is left as it is.
 * A seeded one appears whole or not at all, also when several processes prepare it at once or one dies halfway.
 */
export async function prepareWorkspace(options: PrepareWorkspaceOptions): Promise<string> {
  const { root, sessionId, seedFrom } = options;
  if (!validSessionId.test(sessionId)) throw new NexusError('path_not_allowed', 'the session id cannot name a folder');
  await mkdir(root, { recursive: true, mode: 0o700 });
  const path = join(root, sessionId);
  if (await isPrepared(path)) return path;
  const unfinished = join(root, `.unfinished-${randomBytes(9).toString('base64url')}`);
  await mkdir(unfinished, { mode: 0o700 });
  try {
    await chmod(unfinished, 0o700); // mkdir is subject to the umask
    if (seedFrom !== undefined) await copyTree(seedFrom, unfinished, options);
    await rename(unfinished, path);
  } catch (error) {
    await rm(unfinished, { recursive: true, force: true });
    if (hasErrorCode(error, 'EEXIST', 'ENOTEMPTY', 'ENOTDIR') && (await isPrepared(path))) return path;
    throw error;
  }
  return path;
}

/**
 * Deletes the session's folder, which is away at once and then cleared: links in it are deleted, not followed. What another death left
 * half cleared goes, too; done again, it does nothing.
 */
export async function removeWorkspace({ root, sessionId }: Pick<PrepareWorkspaceOptions, 'root' | 'sessionId'>): Promise<void> {
  if (!validSessionId.test(sessionId)) throw new NexusError('path_not_allowed', 'the session id cannot name a folder');
  const removed = join(root, `.removed-${sessionId}`);
  await rm(removed, { recursive: true, force: true });
  await rename(join(root, sessionId), removed).catch((error: unknown) => {
    if (!hasErrorCode(error, 'ENOENT')) throw error;
  });
  await rm(removed, { recursive: true, force: true });
}

async function isPrepared(path: string): Promise<boolean> {
  const stats = await lstat(path).catch((error: unknown) => {
    if (hasErrorCode(error, 'ENOENT')) return undefined;
    throw error;
  });
  if (stats === undefined) return false;
  if (!stats.isDirectory()) throw new NexusError('path_not_allowed', 'the folder of the session is a link or a file; remove it');
  return true;
}

async function copyTree(from: string, to: string, { maxSeedBytes = 256 * 1024 * 1024, maxSeedFiles = 10_000 }: PrepareWorkspaceOptions) {
  const source = await openRoot(from, { follow: true });
  const target = await openRoot(to);
  let bytes = 0;
  try {
    for await (const item of walkFolder(source, '', { recursive: true, maxVisited: maxSeedFiles })) {
      if (item.type === 'other') continue;
      if (item.type === 'incomplete')
        throw new NexusError('payload_too_large', `the seed of the workspace has more than ${maxSeedFiles} files`);
      const names = item.path.split('/');
      const name = names.pop() ?? '';
      if (item.type === 'folder') {
        await inFolder(target, [...names, name], async () => undefined);
        continue;
      }
      bytes += item.sizeBytes;
      if (bytes > maxSeedBytes) throw new NexusError('payload_too_large', `the seed of the workspace has more than ${maxSeedBytes} bytes`);
      await inFolder(target, names, (folder) => item.use((file) => copyFile(file, folder, name)));
    }
  } finally {
    await source.handle.close();
    await target.handle.close();
  }
}

async function inFolder(root: Folder, names: readonly string[], action: (folder: Folder) => Promise<void>): Promise<void> {
  const [name, ...rest] = names;
  if (name === undefined) return action(root);
  const folder = await openChild(root, name, { create: true });
  try {
    await inFolder(folder, rest, action);
  } finally {
    await folder.handle.close();
  }
}

async function copyFile(file: OpenFile, folder: Folder, name: string): Promise<void> {
  const target = await createFile(folder, name, 0o600);
  try {
    const buffer = Buffer.allocUnsafe(chunkBytes);
    for (let position = 0; position < file.sizeBytes; ) {
      const { bytesRead } = await file.handle.read(buffer, 0, chunkBytes, position);
      if (bytesRead === 0) break;
      await target.writeFile(buffer.subarray(0, bytesRead));
      position += bytesRead;
    }
  } finally {
    await target.close();
  }
}
