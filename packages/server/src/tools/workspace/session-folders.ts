import { join } from 'node:path';
import { createCountedCache } from '#core';
import { prepareWorkspace } from './prepare.ts';

/** Folders that are known to be there: an entry is a short path. */
const maxRemembered = 10_000;

/** Gives the folder of a tenant's session, made and filled when it is first asked for. */
export function createSessionFolders(options: {
  readonly root: string;
  readonly seedFrom?: string | undefined;
  /** A larger seed is refused. */
  readonly maxSeedBytes?: number;
  readonly maxSeedFiles?: number;
}) {
  const { root, seedFrom, ...limits } = options;
  const seed = seedFrom === undefined ? {} : { seedFrom, ...limits };
  const prepared = createCountedCache<string, Promise<string>>(maxRemembered);

  return (tenantId: string, sessionId: string): Promise<string> => {
    const key = `${tenantId}/${sessionId}`;
    let folder = prepared.get(key);
    if (folder === undefined) {
      folder = prepareWorkspace({ root: join(root, tenantId), sessionId, ...seed });
      folder.catch(() => prepared.delete(key)); // the caller hears of it; the next call tries again
      prepared.set(key, folder);
    }
    return folder;
  };
}
