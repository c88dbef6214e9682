import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { type Key, type KeyCreateRequest, type Page, TenantId } from '@nexus-agent/protocol';
import { type Clock, createCountedCache, type IdSource, NexusError, toTimestamp } from '#core';
import type { CommitStore, IdentityStore, KeyRow, PageRequest } from '#storage';
import { type CreateOptions, claimOf, idempotencyConflict } from './idempotency.ts';
import type { KeySecret, KeySecrets } from './key-secrets.ts';
import type { Principal } from './principal.ts';

/** `nx_<key id without its prefix>_<32 random bytes>`: the id finds the row, the rest is compared with its hash. */
const format = /^nx_([0-7][0-9a-hjkmnp-tv-z]{25})_([A-Za-z0-9_-]{43})$/;

const lookMs = 1_000;
const maxLooks = 1_000;

export interface Keys {
  /**
   * A repeat under the same idempotency key gives the key again without its secret, which is not kept. Throws `forbidden` for a scope
   * or role that the principal does not have, unless it is an owner.
   */
  create(principal: Principal, request: KeyCreateRequest, options?: CreateOptions): Promise<Key>;
  /** Of one's own tenant, or for an owner of the named one. Throws `forbidden` to anybody else. */
  list(principal: Principal, page: PageRequest, tenant?: string): Promise<Page<Key>>;
  /**
   * An owner revokes the keys of every tenant. Throws `not_found` for a key that one's tenant does not have, and `forbidden` for an
   * owner's, unless an owner revokes it.
   */
  revoke(principal: Principal, keyId: string): Promise<void>;
  /** The principal of an API key, or null when the key is unknown, wrong, expired or revoked. */
  authenticate(secret: string): Promise<Principal | null>;
  /** Whether the key of a principal still stands, as of at most a second ago: for what goes on after its request was let in. */
  stillStands(principal: Principal): Promise<boolean>;
}

export interface KeysDependencies {
  readonly store: CommitStore & IdentityStore;
  readonly clock: Clock;
  readonly ids: IdSource;
  readonly secrets: KeySecrets;
}

/** API keys. Their secrets are stored as HMAC-SHA-256 under a secret that all nodes share. */
export function createKeys({ store, clock, ids, secrets }: KeysDependencies): Keys {
  /** Whether the key's secret is right, or null when it was hashed under a server secret that this node does not know. */
  function matches(row: KeyRow, given: string): boolean | null {
    const candidates = secrets.of(row.secretId);
    if (candidates.some((secret) => sameHash(hashUnder(secret, given), row.hash))) return true;
    return row.secretId === null || candidates.length === 0 ? null : false;
  }

  function stands({ revokedAt, expiresAt }: KeyRow): boolean {
    return revokedAt === null && (expiresAt === null || expiresAt > clock.now());
  }

  /** The id of a new key: that of the first request with the idempotency key, which may have come no further than to take it. */
  async function idFor(principal: Principal, request: KeyCreateRequest, options: CreateOptions) {
    const keyId = ids.next<string>('key');
    const claim = claimOf(principal, options, 'key', request, keyId);
    if (claim.idempotency === undefined) return { keyId, isMade: false };
    const claimed = await store.commit({ tenantId: principal.tenantId, ...claim });
    if (claimed.type !== 'duplicate') return { keyId, isMade: false };
    if (!claimed.sameRequest) throw idempotencyConflict();
    return { keyId: claimed.resourceId, isMade: true };
  }

  /**
   * The key as it is kept, made by this request or by one that came first. Its secret is known here alone and told once, so that an
   * answer of the database that was lost is not passed on while it can be found out what became of the row.
   */
  async function keep(row: KeyRow): Promise<KeyRow> {
    for (let attempt = 1; ; attempt++) {
      try {
        if (await store.putKey(row)) return row;
        break;
      } catch (error) {
        const isOpen = error instanceof NexusError && (error.code === 'storage_unavailable' || error.code === 'conflict');
        const kept = isOpen && attempt < 3 ? await store.getKey(row.keyId) : null;
        if (kept !== null) return kept;
        if (!isOpen || attempt === 3) throw error;
      }
    }
    throw new NexusError('conflict', 'other nodes of this database have been given another key secret since this one started; restart it');
  }

  /** One look for all that goes on under a key. */
  const looks = createCountedCache<string, { readonly at: number; readonly answer: Promise<boolean> }>(maxLooks);

  return {
    async create(principal, request, options = {}) {
      const tenant = TenantId.safeParse(request.tenant ?? principal.tenantId);
      if (!tenant.success) throw new NexusError('invalid_request', `tenant: ${tenant.error.issues[0]?.message ?? 'not valid'}`);
      if (tenant.data !== principal.tenantId && !isOwner(principal)) {
        throw new NexusError('forbidden', 'only an owner may create keys for another tenant');
      }
      checkGrant(principal, request, (await store.getKey(principal.id))?.expiresAt ?? null);
      const { keyId, isMade } = await idFor(principal, request, options);
      const known = isMade ? await store.getKey(keyId) : null;
      if (known !== null) return keyView(known);
      const secret = randomBytes(32).toString('base64url');
      const row = {
        tenantId: tenant.data,
        keyId,
        name: request.name,
        hash: hashUnder(secrets.current, secret),
        secretId: secrets.current.fingerprint,
        scopes: request.scopes,
        roles: [...new Set(request.roles.map(oneForm))].filter((role) => role !== roleOf(request.scopes)),
        createdAt: clock.now(),
        expiresAt: request.expiresAt === undefined ? null : Date.parse(request.expiresAt),
        revokedAt: null,
      };
      const kept = await keep(row);
      return kept.hash === row.hash ? keyView(kept, `nx_${keyId.slice('key_'.length)}_${secret}`) : keyView(kept);
    },

    async list(principal, page, of = principal.tenantId) {
      if (of !== principal.tenantId && !isOwner(principal))
        throw new NexusError('forbidden', `only an owner lists keys of another tenant; this key is of tenant ${principal.tenantId}`);
      const { items, nextCursor } = await store.listKeys(TenantId.parse(of), page);
      return { data: items.map((row) => keyView(row)), nextCursor };
    },

    async revoke(principal, keyId) {
      const row = await store.getKey(keyId);
      if (row?.tenantId === principal.tenantId && rolesOf(row).includes('owner') && !isOwner(principal))
        throw new NexusError('forbidden', `key ${keyId} is an owner's, which only an owner may revoke`);
      const tenantId = row !== null && isOwner(principal) ? row.tenantId : principal.tenantId;
      if (!(await store.revokeKey(tenantId, keyId, clock.now()))) throw new NexusError('not_found', `there is no key ${keyId}`);
    },

    async authenticate(secret) {
      const match = format.exec(secret);
      if (match === null) return null;
      const [, suffix = '', rest = ''] = match;
      const row = await store.getKey(`key_${suffix}`);
      if (row === null || !stands(row)) return null;
      const matched = matches(row, rest) ?? ((await secrets.refresh()) && matches(row, rest));
      if (matched !== true) return null;
      return { tenantId: row.tenantId, id: row.keyId, scopes: row.scopes, roles: rolesOf(row) };
    },
    stillStands({ id }) {
      const last = looks.get(id);
      if (last !== undefined && clock.monotonic() - last.at < lookMs) return last.answer;
      const answer = store.getKey(id).then((row) => row !== null && stands(row));
      looks.set(id, { at: clock.monotonic(), answer });
      return answer;
    },
  };
}

/** The role that follows from what a key may do. */
function roleOf(scopes: KeyRow['scopes']): 'admin' | 'developer' {
  return scopes.includes('admin') ? 'admin' : 'developer';
}

/** All roles of a key, first the one that follows from its scopes. */
function rolesOf({ scopes, roles }: Pick<KeyRow, 'scopes' | 'roles'>): string[] {
  return [...new Set([roleOf(scopes), ...roles.map(oneForm)])];
}

function isOwner({ roles }: Pick<Principal, 'roles'>): boolean {
  return roles.includes('owner');
}

/** Roles are compared in small letters: whoever is `Owner` is an owner. */
function oneForm(role: string): string {
  return role.toLowerCase();
}

/**
 * Nobody climbs by a key that they make: it can have only what its maker has, and for no longer. An owner stands in for every role, in every tenant, and an
 * administrator for every scope.
 */
function checkGrant(principal: Principal, { roles, scopes, expiresAt }: KeyCreateRequest, makerExpiresAt: number | null): void {
  const wanted = roles.map(oneForm);
  if (wanted.includes('admin') && !scopes.includes('admin'))
    throw new NexusError('invalid_request', 'roles: admin comes with the scope admin; add that scope, or leave the role out');
  if (isOwner(principal)) return;
  const scope = scopes.find((each) => !principal.scopes.includes(each) && !principal.scopes.includes('admin'));
  if (scope !== undefined)
    throw new NexusError(
      'forbidden',
      `scopes: a key can only give what it has itself, and this one has ${principal.scopes.join(', ')}, not ${scope}`,
    );
  const has = new Set([...principal.roles, roleOf(scopes), 'developer']);
  const role = wanted.find((each) => !has.has(each));
  if (role === 'owner')
    throw new NexusError('forbidden', `only an owner may give the role owner; this key has ${principal.roles.join(', ')}`);
  if (role !== undefined)
    throw new NexusError(
      'forbidden',
      `roles: a key can only give roles that it has itself, and this one has ${principal.roles.join(', ')}, not ${role}; an owner can`,
    );
  if (makerExpiresAt !== null && (expiresAt === undefined || Date.parse(expiresAt) > makerExpiresAt))
    throw new NexusError(
      'forbidden',
      `expiresAt: a key cannot make one that outlives it, and this one expires at ${toTimestamp(makerExpiresAt)}; give that or an earlier time`,
    );
}

function hashUnder({ bytes }: KeySecret, secret: string): string {
  return createHmac('sha256', bytes).update(secret).digest('hex');
}

function sameHash(given: string, kept: string): boolean {
  const [a, b] = [Buffer.from(given, 'hex'), Buffer.from(kept, 'hex')];
  return a.length === b.length && timingSafeEqual(a, b);
}

function keyView(row: KeyRow, secret?: string): Key {
  return {
    id: row.keyId,
    name: row.name,
    tenant: row.tenantId,
    scopes: [...row.scopes],
    roles: rolesOf(row),
    createdAt: toTimestamp(row.createdAt),
    ...(row.expiresAt === null ? {} : { expiresAt: toTimestamp(row.expiresAt) }),
    ...(row.revokedAt === null ? {} : { revokedAt: toTimestamp(row.revokedAt) }),
    ...(secret === undefined ? {} : { secret }),
  };
}
