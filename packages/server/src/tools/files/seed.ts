import { NexusError } from '#core';
import type { BlobStore, FileContent } from '#storage';
import { openRoot, parseWorkspacePath, walkFolder } from '#tools/workspace';
import { identify, readPieces } from './content.ts';
import { requirePathFits } from './limits.ts';

export interface SeedLimits {
  readonly maxSeedFiles: number;
  readonly maxSeedBytes: number;
}

/** The regular files of a folder, kept for a tenant, as what a session begins with. Links, devices and the like are left out. */
export async function keepSeed(
  { blobs, tenantId, signal }: { readonly blobs: BlobStore; readonly tenantId: string; readonly signal: AbortSignal },
  folder: string,
  { maxSeedFiles, maxSeedBytes }: SeedLimits,
): Promise<readonly (FileContent & { readonly path: string })[]> {
  const files: (FileContent & { readonly path: string })[] = [];
  let left = maxSeedBytes;
  const root = await openRoot(folder, { follow: true });
  try {
    for await (const item of walkFolder(root, '', { recursive: true, maxVisited: maxSeedFiles, signal })) {
      if (item.type === 'incomplete')
        throw new NexusError('payload_too_large', `the seed of the workspace has more than ${maxSeedFiles} files`);
      if (item.type !== 'file' || !isPath(item.path)) continue;
      requirePathFits(item.path);
      left -= item.sizeBytes;
      if (left < 0) throw new NexusError('payload_too_large', `the seed of the workspace has more than ${maxSeedBytes} bytes`);
      const content = await item.use(async (file) => {
        const known = await identify(readPieces(file));
        await blobs.put({ tenantId, ...known }, () => readPieces(file), signal);
        return known;
      });
      files.push({ path: item.path, ...content, executable: (item.stats.mode & 0o100) !== 0 });
    }
    return files;
  } finally {
    await root.handle.close();
  }
}

/** Whether a file of this name can be one of a session: a folder may hold names that no path can say. */
export function isPath(path: string): boolean {
  try {
    return parseWorkspacePath(path).join('/') === path;
  } catch {
    return false;
  }
}
