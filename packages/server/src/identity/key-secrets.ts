import { createHmac, randomBytes } from 'node:crypto';
import { type Clock, NexusError } from '#core';
import type { IdentityStore, KeySecretRow, MissingKeySecret } from '#storage';

/** A server secret under which API keys are hashed, by the fingerprint that keys name it by. */
export interface KeySecret {
  readonly fingerprint: string;
  readonly bytes: Uint8Array;
}

export interface KeySecrets {
  /** What new keys are hashed under: the configured secret, else the oldest that the database keeps. */
  readonly current: KeySecret;
  /** Fingerprints of secrets that other nodes were configured with, and that no key needs: this node has another or none. */
  readonly forgotten: readonly string[];
  /** Those that a key may have been hashed under: the one it names, or for a key of an earlier version each that is known. */
  of(secretId: string | null): readonly KeySecret[];
  /** Reads those that other nodes have brought since; true when there are more now. Looks at most once a second. */
  refresh(): Promise<boolean>;
}

export interface KeySecretsOptions {
  readonly store: Pick<IdentityStore, 'settleKeySecrets' | 'listKeySecrets'>;
  readonly clock: Clock;
  /** The operator's own; it is not written into the database. */
  readonly configured?: string;
  /** What earlier versions kept in the data folder. */
  readonly adopted?: Uint8Array;
  /**
   * For one command at a server of its own: where active keys need a secret that is not there, goes on without it and calls this. Those
   * keys open nothing here, and can be revoked.
   */
  readonly onMissing?: (error: NexusError) => void;
}

const refreshMs = 1_000;

/** Tells secrets apart without telling them. */
export function keySecretFingerprint(bytes: Uint8Array): string {
  return createHmac('sha256', bytes).update('fingerprint of a key secret').digest('hex').slice(0, 16);
}

/**
 * The key secrets of all nodes on the database, which keeps them: made once, by whichever node comes first. Throws `config_invalid`
 * when active keys were hashed under a configured secret that this node does not have: it would refuse keys that other nodes take.
 */
export async function openKeySecrets({ store, clock, configured, adopted, onMissing }: KeySecretsOptions): Promise<KeySecrets> {
  const own = configured === undefined ? null : secretOf(Buffer.from(configured));
  const result = await store.settleKeySecrets(broughtBy(own, adopted, clock.now()), clock.now());
  const missing = result.type === 'missing' ? missingKeySecretError(result, own?.fingerprint ?? null) : null;
  if (missing !== null && onMissing === undefined) throw missing;
  let stored = secretsOf(result.type === 'missing' ? await store.listKeySecrets() : result.secrets);
  let readAt = clock.monotonic();
  const current = own ?? stored[0];
  if (current === undefined) throw missing ?? new NexusError('internal', 'the database kept no key secret');
  if (missing !== null) onMissing?.(missing);
  const known = () => (own === null ? stored : [own, ...stored]);

  return {
    current,
    forgotten: result.type === 'missing' ? [] : result.forgotten,
    of: (secretId) => (secretId === null ? known() : known().filter(({ fingerprint }) => fingerprint === secretId)),
    async refresh() {
      if (clock.monotonic() - readAt < refreshMs) return false;
      readAt = clock.monotonic();
      const before = stored.length;
      stored = secretsOf(await store.listKeySecrets());
      return stored.length > before;
    },
  };
}

function broughtBy(own: KeySecret | null, adopted: Uint8Array | undefined, createdAt: number): KeySecretRow[] {
  const kept = (origin: KeySecretRow['origin'], secret: KeySecret): KeySecretRow => ({
    fingerprint: secret.fingerprint,
    origin,
    secret: origin === 'configured' ? null : Buffer.from(secret.bytes).toString('hex'),
    createdAt,
  });
  const rows = adopted === undefined ? [] : [kept('adopted', secretOf(adopted))];
  return own === null ? [...rows, kept('made', secretOf(randomBytes(32)))] : [...rows, kept('configured', own)];
}

function secretOf(bytes: Uint8Array): KeySecret {
  return { fingerprint: keySecretFingerprint(bytes), bytes };
}

function secretsOf(rows: readonly KeySecretRow[]): KeySecret[] {
  return rows.flatMap(({ fingerprint, secret }) => (secret === null ? [] : [{ fingerprint, bytes: Buffer.from(secret, 'hex') }]));
}

/** Why a node may not start that was given the secret `own`, or none. */
export function missingKeySecretError({ fingerprint, keys }: MissingKeySecret, own: string | null): NexusError {
  const were = keys === 1 ? '1 active API key of this database was' : `${keys} active API keys of this database were`;
  const has = own === null ? 'this node has none configured' : `the one that this node is given is ${own}`;
  return new NexusError(
    'config_invalid',
    `auth.keySecret (NEXUS_KEY_SECRET): ${were} made under the configured secret ${fingerprint}, and ${has}; give every node the same secret, or revoke those keys first (nexus keys list --embedded, with --tenant <name> for those of other tenants, and nexus keys revoke --embedded <key>)`,
  );
}
