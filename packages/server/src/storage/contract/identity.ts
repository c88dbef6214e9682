import type { KeyScope, TenantId } from '@nexus-agent/protocol';
import type { PageOf, PageRequest } from './pages.ts';

export interface KeyRow {
  readonly tenantId: TenantId;
  readonly keyId: string;
  readonly name: string;
  /** HMAC-SHA-256 of the secret, hex. */
  readonly hash: string;
  readonly scopes: readonly KeyScope[];
  /** Besides those that follow from the scopes. */
  readonly roles: readonly string[];
  readonly createdAt: number;
  readonly expiresAt: number | null;
  readonly revokedAt: number | null;
}

/** Who may come in. */
export interface IdentityStore {
  putKey(row: KeyRow): Promise<void>;
  getKey(keyId: string): Promise<KeyRow | null>;
  listKeys(tenantId: TenantId, page: PageRequest): Promise<PageOf<KeyRow>>;
  revokeKey(tenantId: TenantId, keyId: string, at: number): Promise<boolean>;
}
