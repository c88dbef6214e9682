import type { KeyRow, PageOf, PageRequest } from '#storage/contract';
import {
  beyond,
  change,
  cutPage,
  defineTable,
  insertMany,
  json,
  type Program,
  parse,
  queriesOn,
  type Row,
  run,
  startOf,
} from '#storage/program';

export const apiKeys = defineTable('api_keys', {
  tenant_id: 'text',
  key_id: 'text',
  name: 'text',
  hash: 'text',
  secret_id: 'text?',
  scopes: 'text',
  created_at: 'int',
  expires_at: 'int?',
  revoked_at: 'int?',
  roles: 'text',
});
type Stored = Row<typeof apiKeys>;

function keyFromRow(row: Stored): KeyRow {
  return {
    tenantId: row.tenant_id as KeyRow['tenantId'],
    keyId: row.key_id,
    name: parse(row.name),
    hash: row.hash,
    secretId: row.secret_id,
    scopes: parse(row.scopes),
    roles: parse(row.roles),
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    revokedAt: row.revoked_at,
  };
}

function keyToRow(key: KeyRow): Stored {
  return {
    tenant_id: key.tenantId,
    key_id: key.keyId,
    name: json(key.name),
    hash: key.hash,
    secret_id: key.secretId,
    scopes: json(key.scopes),
    roles: json(key.roles),
    created_at: key.createdAt,
    expires_at: key.expiresAt,
    revoked_at: key.revokedAt,
  };
}

const { statement, query } = queriesOn(apiKeys);

export function* insertKeyRow(key: KeyRow): Program<void> {
  yield* insertMany(apiKeys, [keyToRow(key)]);
}

const keyById = statement('key_by_id', ({ db }, params: { id: string }) =>
  db.selectFrom('api_keys').selectAll().where('key_id', '=', params.id),
);

export function* getKey(id: string): Program<KeyRow | null> {
  const [row] = yield* run(keyById, { id });
  return row ? keyFromRow(row) : null;
}

/** Oldest first. */
export function* listKeys(tenant: string, page: PageRequest): Program<PageOf<KeyRow>> {
  const position = startOf(page, ['number', 'string']);
  const rows = yield* query(({ db }) => {
    let select = db.selectFrom('api_keys').selectAll().where('tenant_id', '=', tenant);
    if (position) select = select.where(beyond(['created_at', 'key_id'], position, 'asc'));
    return select
      .orderBy('created_at')
      .orderBy('key_id')
      .limit(page.limit + 1);
  });
  return cutPage(rows, page.limit, keyFromRow, (row) => [row.created_at, row.key_id]);
}

const revoke = statement('revoke_key', ({ db }, params: { tenant: string; id: string; at: number }) =>
  db
    .updateTable('api_keys')
    .set({ revoked_at: params.at })
    .where('tenant_id', '=', params.tenant)
    .where('key_id', '=', params.id)
    .where('revoked_at', 'is', null),
);

export function* revokeKey(tenant: string, id: string, at: number): Program<boolean> {
  return (yield* change(revoke, { tenant, id, at })) > 0;
}
