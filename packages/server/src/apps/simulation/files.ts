import { createHash } from 'node:crypto';
import type { SessionId, TenantId } from '@nexus-agent/protocol';
import { NexusError } from '#core';
import { type BlobStore, type FileChange, type FileContent, readBlob, type Store } from '#storage';
import type { CallFolders } from '#tools';

export interface FilesOptions {
  readonly store: Store;
  readonly blobs: BlobStore;
}

const mostFiles = 100;

/** Folders of session files without a disk: what calls write goes where it would, and each begins with reading what is there. */
export function createFolders({ store, blobs }: FilesOptions): CallFolders {
  /** Everything that the version holds, as a folder of a machine would be made of it. Throws where a content is not there, or is another one. */
  async function bring(
    tenantId: TenantId,
    treeId: string,
    version: number,
    signal: AbortSignal,
  ): Promise<ReadonlyMap<string, FileContent>> {
    const { items } = await store.listFiles(tenantId, treeId, { after: 0, version }, { limit: mostFiles });
    for (const { sha256, bytes } of items) for await (const _piece of readBlob(blobs, { tenantId, sha256, bytes }, signal));
    return new Map(items.map(({ path, sha256, bytes, executable }) => [path, { sha256, bytes, executable }]));
  }

  return {
    async open({ mayWrite, ...request }, signal) {
      const tenantId = request.tenantId as TenantId; // the caller names a session of the tenant
      const sessionId = request.sessionId as SessionId; // as above
      const treeId = request.filesOf ?? sessionId;
      const tree = (await store.getFileTree(tenantId, treeId)) ?? (await store.beginFileTree(tenantId, { treeId, sessionId }, []));
      const there = await bring(tenantId, treeId, tree.version, signal);
      const changes = new Map<string, FileChange>();
      const standing = (path: string) => {
        const own = changes.get(path);
        return own === undefined ? (there.get(path) ?? null) : own.content;
      };
      const requireMayWrite = () => {
        if (!mayWrite) throw new NexusError('path_not_allowed', 'a tool that does not declare fs.write changes no files');
      };
      const require = (path: string) => {
        const content = standing(path);
        if (content === null) throw new NexusError('not_found', `there is no ${path}`);
        return content;
      };
      const requireFree = (path: string) => {
        if (standing(path) !== null) throw new NexusError('conflict', `there is a file at ${path}`);
      };
      return {
        path: `/${treeId}`,
        files: {
          async write(path, content, stop, condition) {
            requireMayWrite();
            if (condition !== undefined && (standing(path)?.sha256 ?? null) !== condition.replaces)
              throw new NexusError('conflict', `another content is at ${path}`);
            const sha256 = createHash('sha256').update(content).digest('hex');
            const bytes = content.byteLength;
            const read = async function* () {
              yield content;
            };
            await blobs.put({ tenantId, sha256, bytes }, read, stop);
            changes.set(path, { path, content: { sha256, bytes, executable: false } });
            return { created: !there.has(path) };
          },
          async remove(path) {
            requireMayWrite();
            require(path);
            changes.set(path, { path, content: null });
          },
          async move(from, to, { replace }) {
            requireMayWrite();
            const content = require(from);
            if (!replace) requireFree(to);
            changes.set(from, { path: from, content: null });
            changes.set(to, { path: to, content });
          },
        },
        keep: async () => ({ treeId, version: tree.version, changes: [...changes.values()], note: '' }),
        discard: () => undefined,
        abandon: () => undefined,
      };
    },
  };
}
