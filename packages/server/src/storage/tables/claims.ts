import { byKey, defineTable, insertMany, type Program, type Row, selectMany } from '#storage/program';

export const idempotencyKeys = defineTable('idempotency_keys', {
  tenant_id: 'text',
  claim_key: 'text',
  request_hash: 'text',
  resource_id: 'text',
  created_at: 'int',
});
export type ClaimRow = Row<typeof idempotencyKeys>;

type KnownClaim = Pick<ClaimRow, 'claim_key' | 'request_hash' | 'resource_id'>;

/** Those of the keys that were claimed before. Nobody changes a claim, so that none is locked. */
export function selectClaims(tenantId: string, keys: readonly string[]): Program<readonly KnownClaim[]> {
  return selectMany(idempotencyKeys, ['claim_key', 'request_hash', 'resource_id'], {
    tenantId,
    key: 'claim_key',
    keys,
    orderBy: ['claim_key'],
    lock: false,
  });
}

export function insertClaims(rows: ClaimRow[]): Program<number> {
  return insertMany(idempotencyKeys, rows.sort(byKey('claim_key')));
}
