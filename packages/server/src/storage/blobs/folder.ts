import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { NexusError, throwIfAborted } from '#core';
import type { Blob, BlobDriver } from '#storage/contract';
import { checkBlob } from '../read-blob.ts';
import { checkStore } from './check.ts';

const chunkBytes = 128 * 1024;
/** What was being written when its process ended is removed after this time, when nobody can still be writing it. */
const staleMs = 60 * 60_000;

/** Blobs as files of a folder, for processes of one machine. */
export async function openFolderBlobs(root: string): Promise<BlobDriver> {
  const unfinished = join(root, 'unfinished');
  await reported(root, async () => {
    await mkdir(unfinished, { recursive: true, mode: 0o700 });
    await removeStale(unfinished);
  });
  type Name = Pick<Blob, 'tenantId' | 'sha256'>;
  const folderOf = ({ tenantId, sha256 }: Name) => join(root, tenantId, sha256.slice(0, 2));
  const pathOf = (blob: Name) => join(folderOf(blob), blob.sha256);

  const store: BlobDriver = {
    kind: 'folder',
    async put(blob, read, signal) {
      await reported(root, async () => {
        throwIfAborted(signal);
        if (await hasSize(pathOf(blob), blob.bytes)) return;
        const temporary = join(unfinished, randomBytes(12).toString('hex'));
        try {
          const file = await open(temporary, 'wx', 0o600);
          try {
            for await (const piece of checkBlob(blob, read())) {
              throwIfAborted(signal);
              await file.writeFile(piece);
            }
            // The commit that names it may outlast a loss of power: so must it.
            await file.sync();
          } finally {
            await file.close();
          }
          await mkdir(folderOf(blob), { recursive: true, mode: 0o700 });
          await rename(temporary, pathOf(blob));
          await syncFolder(folderOf(blob));
        } catch (error) {
          await rm(temporary, { force: true });
          throw error;
        }
      });
    },
    async *get(blob, signal) {
      const file = await reported(root, () => open(pathOf(blob), 'r'));
      try {
        for (;;) {
          throwIfAborted(signal);
          const { bytesRead, buffer } = await reported(root, () => file.read(Buffer.allocUnsafe(chunkBytes), 0, chunkBytes));
          if (bytesRead === 0) return;
          yield buffer.subarray(0, bytesRead);
        }
      } finally {
        await file.close();
      }
    },
    async remove(blob, signal) {
      throwIfAborted(signal);
      await reported(root, () => rm(pathOf(blob), { force: true }));
    },
    check: (signal) => checkStore(store, signal),
    close: async () => undefined,
  };
  return store;
}

async function hasSize(path: string, bytes: number): Promise<boolean> {
  return stat(path).then(
    (found) => found.size === bytes,
    () => false,
  );
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

async function removeStale(folder: string): Promise<void> {
  const probe = join(folder, `probe-${randomBytes(6).toString('hex')}`);
  await (await open(probe, 'wx', 0o600)).close();
  const { mtimeMs: now } = await stat(probe); // by the clock of the file system
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    const about = await stat(path).catch(() => undefined); // another process may have moved it
    if (path === probe || (about !== undefined && now - about.mtimeMs > staleMs)) await rm(path, { force: true });
  }
}

/** What the file system says, as what the store promises to say. */
async function reported<T>(root: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof NexusError || !(error instanceof Error) || !('code' in error)) throw error;
    const { code } = error;
    if (code === 'ENOENT') throw new NexusError('not_found', 'the content of a file is not where it was kept', { cause: error });
    if (code === 'ENOSPC' || code === 'EDQUOT')
      throw new NexusError('payload_too_large', 'there is no space left where files are kept', { cause: error });
    throw new NexusError('storage_unavailable', `the folder ${root}, where files are kept, cannot be used (${String(code)})`, {
      cause: error,
    });
  }
}
