import { createHash } from 'node:crypto';
import { NexusError } from '#core';
import type { Blob, BlobStore } from '#storage/contract';

/**
 * The content of a blob, none of it wrong unnoticed: the last piece is given once hash and length of the whole are right. Throws
 * what {@link BlobStore.get} throws, and `storage_unavailable` where something else is kept under the hash.
 */
export async function* readBlob(blobs: Pick<BlobStore, 'get'>, blob: Blob, signal?: AbortSignal): AsyncGenerator<Uint8Array> {
  const pieces = checkBlob(blob, blobs.get(blob, signal));
  let last: Uint8Array | undefined;
  for await (const piece of pieces) {
    if (last !== undefined) yield last;
    last = piece;
  }
  if (last !== undefined) yield last;
}

/** Passes the pieces on and throws at their end, or as soon as they are too many, unless they are the blob's. */
export async function* checkBlob({ sha256, bytes }: Blob, pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const hash = createHash('sha256');
  let seen = 0;
  for await (const piece of pieces) {
    seen += piece.byteLength;
    if (seen > bytes) break;
    hash.update(piece);
    yield piece;
  }
  if (seen === bytes && hash.digest('hex') === sha256) return;
  throw new NexusError('storage_unavailable', `the content of a file is not what it was when it was kept (${sha256.slice(0, 12)}…)`, {
    retryable: false,
  });
}
