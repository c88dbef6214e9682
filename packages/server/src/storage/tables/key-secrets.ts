import {
  type KeyRow,
  type KeySecretRow,
  type KeySecretsResult,
  type MissingKeySecret,
  requireQuota,
  type TenantQuotas,
} from '#storage/contract';
import { change, defineTable, insertMany, type Program, queriesOn, type Row, run } from '#storage/program';
import { apiKeys, insertKeyRow } from './keys.ts';
import { countUpTo, lockCounts } from './quotas.ts';

export const keySecrets = defineTable('key_secrets', { fingerprint: 'text', origin: 'text', secret: 'text?', created_at: 'int' });
type Stored = Row<typeof keySecrets>;

const { statement } = queriesOn(keySecrets, apiKeys);

function secretFromRow({ fingerprint, origin, secret, created_at }: Stored): KeySecretRow {
  return { fingerprint, origin: origin as KeySecretRow['origin'], secret, createdAt: created_at }; // written from one
}

function secretToRow({ fingerprint, origin, secret, createdAt }: KeySecretRow): Stored {
  return { fingerprint, origin, secret, created_at: createdAt };
}

const everySecret = statement('key_secrets', ({ db }, _params: Record<string, never>) =>
  db.selectFrom('key_secrets').selectAll().orderBy('created_at').orderBy('fingerprint'),
);

export function* listKeySecrets(): Program<readonly KeySecretRow[]> {
  return (yield* run(everySecret, {})).map(secretFromRow);
}

// Locked: whoever stores a key holds its secret the same way, so that none is forgotten under a key that is being made.
const lockedSecrets = statement('locked_key_secrets', ({ db, dialect }, _params: Record<string, never>) =>
  dialect.forUpdate(db.selectFrom('key_secrets').selectAll().orderBy('fingerprint')),
);

const activeUses = statement('key_secret_uses', ({ db }, params: { now: number }) =>
  db
    .selectFrom('api_keys')
    .select((eb) => ['secret_id', eb.fn.countAll<number>().as('keys')])
    .where('secret_id', 'is not', null)
    .where('revoked_at', 'is', null)
    .where((eb) => eb.or([eb('expires_at', 'is', null), eb('expires_at', '>', params.now)]))
    .groupBy('secret_id')
    .orderBy('secret_id'),
);

const forgetSecret = statement('forget_key_secret', ({ db }, params: { fingerprint: string }) =>
  db.deleteFrom('key_secrets').where('fingerprint', '=', params.fingerprint),
);

function usableSecrets(kept: readonly KeySecretRow[], brought: readonly Pick<KeySecretRow, 'fingerprint'>[]): ReadonlySet<string> {
  return new Set([...kept.filter(({ secret }) => secret !== null), ...brought].map(({ fingerprint }) => fingerprint));
}

function* firstMissing(usable: ReadonlySet<string>, nowMs: number): Program<MissingKeySecret | null> {
  for (const { secret_id, keys } of yield* run(activeUses, { now: nowMs })) {
    if (secret_id !== null && !usable.has(secret_id)) return { fingerprint: secret_id, keys: Number(keys) };
  }
  return null;
}

export function* missingKeySecret(brought: readonly string[], nowMs: number): Program<MissingKeySecret | null> {
  const kept = yield* listKeySecrets();
  const given = brought.map((fingerprint) => ({ fingerprint }));
  return yield* firstMissing(usableSecrets(kept, given), nowMs);
}

export function* settleKeySecrets(brought: readonly KeySecretRow[], nowMs: number): Program<KeySecretsResult> {
  const kept = (yield* run(lockedSecrets, {})).map(secretFromRow);
  const usable = usableSecrets(kept, brought);
  const missing = yield* firstMissing(usable, nowMs);
  if (missing !== null) return { type: 'missing', ...missing };
  const forgotten = kept.map(({ fingerprint }) => fingerprint).filter((fingerprint) => !usable.has(fingerprint));
  for (const fingerprint of forgotten) yield* change(forgetSecret, { fingerprint });
  const needed = kept.every(({ secret }) => secret === null) && brought.every(({ origin }) => origin === 'made');
  const rows = brought.filter(({ origin }) => origin !== 'made' || needed).map(secretToRow);
  yield* insertMany(keySecrets, rows, 'ignore');
  return { type: 'settled', secrets: yield* listKeySecrets(), forgotten };
}

const holdSecret = statement('hold_key_secret', ({ db, dialect }, params: { fingerprint: string }) =>
  dialect.forUpdate(db.selectFrom('key_secrets').selectAll().where('fingerprint', '=', params.fingerprint)),
);

export function* putKey(key: KeyRow, quotas: TenantQuotas): Program<boolean> {
  yield* lockCounts(key.tenantId, ['keys']);
  requireQuota(quotas, 'keys', yield* countUpTo(key.tenantId, 'keys', quotas.keys));
  if (key.secretId !== null && (yield* run(holdSecret, { fingerprint: key.secretId })).length === 0) return false;
  yield* insertKeyRow(key);
  return true;
}
