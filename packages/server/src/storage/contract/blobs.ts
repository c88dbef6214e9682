import type { Aged, Removal } from './retention.ts';

/** A content by its hash. The same content of two tenants is two blobs. */
export interface Blob {
  readonly tenantId: string;
  /** SHA-256 in hex. */
  readonly sha256: string;
  readonly bytes: number;
}

/**
 * Where the contents of files are kept: never changed, found by their hash. A blob is put before the commit that names it, so
 * that one that nobody names may be left behind, which does no harm.
 */
export interface BlobStore {
  readonly kind: 'folder' | 'database' | 's3';
  /**
   * Keeps it, durably once this resolves; one that is there already is left as it is. `read` is called once for each attempt.
   * Throws `payload_too_large` for what the store has no room for, `storage_unavailable` when it cannot be reached.
   *
   * @param keepMs how long it stays though no file names it, where that is longer than contents do
   */
  put(blob: Blob, read: () => AsyncIterable<Uint8Array>, signal?: AbortSignal, keepMs?: number): Promise<void>;
  /**
   * Its content in pieces, each of which may still turn out to be wrong: see `readBlob`. Throws `not_found` where there is none,
   * and `storage_unavailable`.
   */
  get(blob: Blob, signal?: AbortSignal): AsyncIterable<Uint8Array>;
  /** Whether it can be written and read. Throws what is wrong, in words for whoever set it up. */
  check(signal?: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

/** A place where blobs can be kept. */
export interface BlobDriver extends BlobStore {
  /**
   * Deletes it for good, with what is left of one that was never whole; one that is not there is no error. Whether somebody needs
   * it is for the caller to know. Throws `storage_unavailable` while it may still be there.
   */
  remove(blob: Pick<Blob, 'tenantId' | 'sha256'>, signal?: AbortSignal): Promise<void>;
}

/**
 * Which contents are to be looked at again, as nobody may need them then: those that were put, and those that were named by files that
 * are gone. By the database's clock.
 */
export interface ContentTable {
  /**
   * It stays for at least half of `keepMs`; until when, or null: it is being removed at this moment. With `bytes` it counts as kept from now on;
   * throws `quota_exceeded` where there is no room for it.
   */
  touchContent(content: Pick<Blob, 'tenantId' | 'sha256'> & Partial<Blob>, keepMs: number, removingMs: number): Promise<number | null>;
  /**
   * The right to remove a content that is due, for `removingMs`. `kept`: a file names it, or somebody touched it. `busy`: another has
   * had that right for less than `removingMs`.
   */
  takeContent(removal: Removal, removingMs: number): Promise<'taken' | 'kept' | 'busy'>;
  /** Contents of a tenant that `takeContent` would give, counted up to `limit`. */
  countContents(tenantId: string, limit: number): Promise<Aged>;
}

/** Blobs within the database. */
export interface BlobTable {
  hasBlob(tenantId: string, sha256: string): Promise<boolean>;
  /** A piece of a blob that is not whole yet, as base64. The same piece again is ignored. */
  putBlobPiece(tenantId: string, sha256: string, index: number, data: string): Promise<void>;
  getBlobPiece(tenantId: string, sha256: string, index: number): Promise<string | null>;
  /** Makes it a whole one, and counts it. False when the tenant's blobs would have more than `maxTenantBytes`. */
  finishBlob(blob: Blob, maxTenantBytes: number): Promise<boolean>;
  /** Deletes it, whole or not, and gives its room back. */
  removeBlob(tenantId: string, sha256: string): Promise<void>;
}
