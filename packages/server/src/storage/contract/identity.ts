import type { KeyScope, TenantId } from '@nexus-agent/protocol';
import type { PageOf, PageRequest } from './pages.ts';

export interface KeyRow {
  readonly tenantId: TenantId;
  readonly keyId: string;
  readonly name: string;
  /** HMAC-SHA-256 of the secret, hex. */
  readonly hash: string;
  /** Fingerprint of the server secret that it was hashed under; null for keys of an earlier version, which did not say. */
  readonly secretId: string | null;
  readonly scopes: readonly KeyScope[];
  /** Besides those that follow from the scopes. */
  readonly roles: readonly string[];
  readonly createdAt: number;
  readonly expiresAt: number | null;
  readonly revokedAt: number | null;
}

/** A server secret under which API keys are hashed. */
export interface KeySecretRow {
  readonly fingerprint: string;
  /** `made` by this database, of which there is one; `adopted` from a data folder; `configured`, of which only the fingerprint is kept. */
  readonly origin: 'made' | 'adopted' | 'configured';
  /** Hex; null for a configured one. */
  readonly secret: string | null;
  readonly createdAt: number;
}

/**
 * `forgotten`: fingerprints of configured secrets that the node did not bring and no active key needs. `missing`: active keys were
 * hashed under a secret that is neither kept here nor brought; nothing was changed then.
 */
export type KeySecretsResult =
  | { readonly type: 'settled'; readonly secrets: readonly KeySecretRow[]; readonly forgotten: readonly string[] }
  | ({ readonly type: 'missing' } & MissingKeySecret);

/** A secret that so many active keys need. */
export interface MissingKeySecret {
  readonly fingerprint: string;
  readonly keys: number;
}

/** Who may come in. */
export interface IdentityStore {
  /** False, and nothing is written, when the secret that the key was hashed under is no longer one of this database. */
  putKey(row: KeyRow): Promise<boolean>;
  getKey(keyId: string): Promise<KeyRow | null>;
  listKeys(tenantId: TenantId, page: PageRequest): Promise<PageOf<KeyRow>>;
  revokeKey(tenantId: TenantId, keyId: string, at: number): Promise<boolean>;
  /**
   * Keeps the secrets that a starting node brings, `made` only where none is kept or brought, and forgets configured ones
   * that it does not bring. Any number of nodes may do so at once.
   */
  settleKeySecrets(brought: readonly KeySecretRow[], nowMs: number): Promise<KeySecretsResult>;
  /** Oldest first. */
  listKeySecrets(): Promise<readonly KeySecretRow[]>;
  /** What `settleKeySecrets` would refuse a node for that brings secrets of these fingerprints; null for nothing. Changes nothing. */
  missingKeySecret(brought: readonly string[], nowMs: number): Promise<MissingKeySecret | null>;
}
