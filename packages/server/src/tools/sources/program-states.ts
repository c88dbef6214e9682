import { createHash } from 'node:crypto';
import { type BlobStore, readBlob } from '#storage';
import type { Suspension } from '#tools/contract';

/** What programs go on from, kept beside the contents of files: any process finds it. */
export interface ProgramStates {
  /** For at least `keepMs`. Throws `payload_too_large`, `quota_exceeded` and `storage_unavailable`. */
  keep(tenantId: string, state: Uint8Array, keepMs: number, signal: AbortSignal): Promise<Suspension['state']>;
  /** Throws `not_found` where it is gone, and `storage_unavailable`. */
  read(tenantId: string, state: Suspension['state'], signal: AbortSignal): Promise<Uint8Array>;
}

export function createProgramStates(blobs: Pick<BlobStore, 'get' | 'put'>): ProgramStates {
  return {
    async keep(tenantId, state, keepMs, signal) {
      const content = { sha256: createHash('sha256').update(state).digest('hex'), bytes: state.byteLength };
      const read = async function* () {
        yield state;
      };
      await blobs.put({ tenantId, ...content }, read, signal, keepMs);
      return content;
    },
    async read(tenantId, state, signal) {
      const pieces: Uint8Array[] = [];
      for await (const piece of readBlob(blobs, { tenantId, ...state }, signal)) pieces.push(piece);
      return Buffer.concat(pieces);
    },
  };
}
