import { NexusError, throwIfAborted } from '#core';
import type { BlobDriver, BlobTable } from '#storage/contract';
import { checkBlob } from '../read-blob.ts';
import { checkStore } from './check.ts';

/** Bytes of a row, which is base64. The same for all processes: two that write one blob write the same rows. */
const pieceBytes = 192 * 1024;

export interface DatabaseBlobsOptions {
  readonly table: BlobTable;
  /** Largest blob. */
  readonly maxBlobBytes: number;
  /** Most bytes of all blobs of a tenant. */
  readonly maxTenantBytes: number;
}

/** Blobs in the database itself, bounded: for installations that have no other place that all machines share. */
export function createDatabaseBlobs({ table, maxBlobBytes, maxTenantBytes }: DatabaseBlobsOptions): BlobDriver {
  const store: BlobDriver = {
    kind: 'database',
    async put(blob, read, signal) {
      const { tenantId, sha256, bytes } = blob;
      throwIfAborted(signal);
      if (await table.hasBlob(tenantId, sha256)) return;
      if (bytes > maxBlobBytes) {
        throw new NexusError(
          'payload_too_large',
          `the database keeps files of up to ${maxBlobBytes} bytes (tools.files.database.maxBlobBytes), this has ${bytes}`,
        );
      }
      let index = 0;
      for await (const piece of inPieces(checkBlob(blob, read()))) {
        throwIfAborted(signal);
        await table.putBlobPiece(tenantId, sha256, index, piece.toString('base64'));
        index += 1;
      }
      if (await table.finishBlob(blob, maxTenantBytes)) return;
      throw new NexusError(
        'payload_too_large',
        `the database keeps ${maxTenantBytes} bytes of files for a tenant (tools.files.database.maxTenantBytes), and there is no room for ${bytes} more`,
      );
    },
    async *get({ tenantId, sha256, bytes }, signal) {
      for (let index = 0; index * pieceBytes < bytes; index++) {
        throwIfAborted(signal);
        const data = await table.getBlobPiece(tenantId, sha256, index);
        if (data === null) throw new NexusError('not_found', 'the content of a file is not where it was kept');
        yield Buffer.from(data, 'base64');
      }
    },
    async remove({ tenantId, sha256 }, signal) {
      throwIfAborted(signal);
      await table.removeBlob(tenantId, sha256);
    },
    check: (signal) => checkStore(store, signal),
    close: async () => undefined,
  };
  return store;
}

/** The same bytes in pieces of one size. */
async function* inPieces(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  let held: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.byteLength; ) {
      const part = chunk.subarray(at, at + pieceBytes - size);
      held.push(part);
      size += part.byteLength;
      at += part.byteLength;
      if (size < pieceBytes) continue;
      yield Buffer.concat(held);
      held = [];
      size = 0;
    }
  }
  if (size > 0) yield Buffer.concat(held);
}
