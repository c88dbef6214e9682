import { sql } from 'kysely';
import type { Blob } from '#storage/contract';
import { change, defineTable, insertMany, type Program, queriesOn, run } from '#storage/program';

export const blobs = defineTable('blobs', { tenant_id: 'text', sha256: 'text', bytes: 'int', created_at: 'int' });
export const blobPieces = defineTable('blob_pieces', { tenant_id: 'text', sha256: 'text', piece: 'int', data: 'text' });
export const blobUsage = defineTable('blob_usage', { tenant_id: 'text', bytes: 'int' });

const { statement } = queriesOn(blobs, blobPieces, blobUsage);

const blobByHash = statement('blob', ({ db }, params: { tenant: string; sha256: string }) =>
  db.selectFrom('blobs').select('bytes').where('tenant_id', '=', params.tenant).where('sha256', '=', params.sha256),
);

export function* hasBlob(tenant: string, sha256: string): Program<boolean> {
  return (yield* run(blobByHash, { tenant, sha256 })).length > 0;
}

export function* putBlobPiece(tenantId: string, sha256: string, piece: number, data: string): Program<void> {
  yield* insertMany(blobPieces, [{ tenant_id: tenantId, sha256, piece, data }], 'ignore');
}

const pieceOfBlob = statement('blob_piece', ({ db }, params: { tenant: string; sha256: string; piece: number }) =>
  db
    .selectFrom('blob_pieces')
    .select('data')
    .where('tenant_id', '=', params.tenant)
    .where('sha256', '=', params.sha256)
    .where('piece', '=', params.piece),
);

export function* getBlobPiece(tenant: string, sha256: string, piece: number): Program<string | null> {
  const [row] = yield* run(pieceOfBlob, { tenant, sha256, piece });
  return row?.data ?? null;
}

const countBlob = statement('count_blob', ({ db }, params: { tenant: string; bytes: number; most: number }) =>
  db
    .updateTable('blob_usage')
    .set({ bytes: sql<number>`bytes + ${params.bytes}` })
    .where('tenant_id', '=', params.tenant)
    .where(sql<boolean>`bytes + ${params.bytes} <= ${params.most}`),
);

export function* finishBlob({ tenantId, sha256, bytes }: Blob, maxTenantBytes: number, nowMs: number): Program<boolean> {
  yield* insertMany(blobUsage, [{ tenant_id: tenantId, bytes: 0 }], 'ignore');
  const isNew = (yield* insertMany(blobs, [{ tenant_id: tenantId, sha256, bytes, created_at: nowMs }], 'ignore')) > 0;
  if (!isNew) return true;
  if ((yield* change(countBlob, { tenant: tenantId, bytes, most: maxTenantBytes })) > 0) return true;
  yield* change(forgetBlob, { tenant: tenantId, sha256 });
  yield* change(forgetPieces, { tenant: tenantId, sha256 });
  return false;
}

const takeBlob = statement('take_blob', ({ db }, params: { tenant: string; sha256: string }) =>
  db.deleteFrom('blobs').where('tenant_id', '=', params.tenant).where('sha256', '=', params.sha256).returning('bytes'),
);

/** Of two at once, one finds it and gives its room back. */
export function* removeBlob(tenant: string, sha256: string): Program<void> {
  const [taken] = yield* run(takeBlob, { tenant, sha256 });
  if (taken !== undefined) yield* change(countBlob, { tenant, bytes: -taken.bytes, most: Number.MAX_SAFE_INTEGER });
  yield* change(forgetPieces, { tenant, sha256 });
}

const forgetBlob = statement('forget_blob', ({ db }, params: { tenant: string; sha256: string }) =>
  db.deleteFrom('blobs').where('tenant_id', '=', params.tenant).where('sha256', '=', params.sha256),
);

const forgetPieces = statement('forget_blob_pieces', ({ db }, params: { tenant: string; sha256: string }) =>
  db.deleteFrom('blob_pieces').where('tenant_id', '=', params.tenant).where('sha256', '=', params.sha256),
);
