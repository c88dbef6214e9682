import { createHash } from 'node:crypto';
import type { BlobStore } from '#storage/contract';
import { readBlob } from '../read-blob.ts';

const content = Buffer.from('a blob that says that blobs can be kept\n');
const sha256 = createHash('sha256').update(content).digest('hex');

/** Writes a blob of a tenant that cannot be one, always the same, and reads it back. */
export async function checkStore(store: BlobStore, signal?: AbortSignal): Promise<void> {
  const blob = { tenantId: '.check', sha256, bytes: content.byteLength };
  await store.put(
    blob,
    async function* () {
      yield content;
    },
    signal,
  );
  for await (const _piece of readBlob(store, blob, signal));
}
