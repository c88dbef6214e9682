import { join } from 'node:path';
import { prepareWorkspace } from '#tools';

/** Gives a session's folder, made and filled when it is first asked for. The newest `capacity` are known to be there. */
export function createSessionFolders(options: {
  readonly root: string;
  readonly seedFrom?: string | undefined;
  readonly capacity?: number;
}) {
  const { root, seedFrom, capacity = 10_000 } = options;
  const prepared = new Map<string, Promise<string>>();

  return (tenantId: string, sessionId: string): Promise<string> => {
    const key = `${tenantId}/${sessionId}`;
    let folder = prepared.get(key);
    if (folder === undefined) {
      folder = prepareWorkspace({ root: join(root, tenantId), sessionId, ...(seedFrom === undefined ? {} : { seedFrom }) });
      folder.catch(() => prepared.delete(key)); // the caller hears of it; the next call tries again
      prepared.set(key, folder);
      const oldest = prepared.keys().next();
      if (prepared.size > capacity && oldest.done === false) prepared.delete(oldest.value);
    }
    return folder;
  };
}
