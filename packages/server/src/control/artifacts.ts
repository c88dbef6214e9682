import type { Artifact, Page } from '@nexus-agent/protocol';
import { NexusError, toTimestamp } from '#core';
import type { Principal } from '#identity';
import { type ArtifactRow, type BlobStore, type PageRequest, readBlob, type Store, viewPage } from '#storage';

/** Results of tools that were too long for a prompt. */
export interface Artifacts {
  /** The newest first. */
  list(
    principal: Principal,
    of: { readonly sessionId?: string | undefined; readonly runId?: string | undefined },
    page: PageRequest,
  ): Promise<Page<Artifact>>;
  /** Throws `not_found` for one that the tenant does not have. `read` gives its content, the last of it once all of it is known to be right. */
  get(principal: Principal, id: string): Promise<{ readonly artifact: Artifact; read(signal: AbortSignal): AsyncGenerator<Uint8Array> }>;
}

export interface ArtifactsDependencies {
  readonly store: Pick<Store, 'getArtifact' | 'listArtifacts'>;
  readonly blobs: Pick<BlobStore, 'get'>;
}

export function createArtifacts({ store, blobs }: ArtifactsDependencies): Artifacts {
  return {
    list: async ({ tenantId }, of, page) => viewPage(await store.listArtifacts(tenantId, of, page), artifactView),
    async get({ tenantId }, id) {
      const row = await store.getArtifact(tenantId, id);
      if (row === null) throw new NexusError('not_found', `there is no artifact ${id}`);
      const { sha256, bytes } = row;
      return { artifact: artifactView(row), read: (signal) => readBlob(blobs, { tenantId, sha256, bytes }, signal) };
    },
  };
}

function artifactView({ tenantId: _tenantId, artifactId: id, runId, createdAt, ...row }: ArtifactRow): Artifact {
  return { id, ...row, ...(runId === null ? {} : { runId }), createdAt: toTimestamp(createdAt) };
}
