import type { SessionId, TenantId } from '@nexus-agent/protocol';

/** What goes by its age, row by row. What is still needed stays, however old: see `prune`. */
export type AgingKind = 'decisions' | 'idempotencyKeys' | 'reservations' | 'ledgerEntries' | 'idleBalances';

/** What is left of something that was deleted, and is still to go in steps. */
export interface Removal {
  readonly tenantId: TenantId;
  /**
   * `run`: its journal, approvals and closed reservations. `session`: its files and artifacts. `wanted`: a session that is deleted once its runs have
   * ended. `content`: what a file held, by its hash, to be looked at when it is due. `leaving`: one that is being removed.
   */
  readonly kind: 'run' | 'session' | 'wanted' | 'content' | 'leaving';
  readonly id: string;
}

export interface Aged {
  /** Counted up to the limit that was given. */
  readonly count: number;
  /** When the oldest of them came to be; null where that is not kept. */
  readonly oldest: number | null;
}

/** Deletes what is no longer kept, in bounded steps, each a transaction of its own that leaves the rest consistent. */
export interface RetentionStore {
  /** Takes or renews the right to do a job until `ttlMs` from now, by the database's clock. False while another has it. */
  claimJob(name: string, owner: string, ttlMs: number): Promise<boolean>;
  /** Gives it up, so that another need not wait. */
  releaseJob(name: string, owner: string): Promise<void>;
  /** Every tenant that has anything. */
  listTenants(): Promise<readonly TenantId[]>;
  /**
   * Looks at up to `limit` old sessions, from `after` on, for those in which nothing has happened since then, with no run that has not
   * ended; `next` is null after the last.
   */
  listIdleSessions(
    tenantId: TenantId,
    before: number,
    page: { readonly limit: number; readonly after?: string },
  ): Promise<{ readonly sessions: readonly SessionId[]; readonly next: string | null }>;
  countIdleSessions(tenantId: TenantId, before: number, limit: number): Promise<Aged>;
  /**
   * The session, its runs and their balances are gone for whoever looks, and what is left of them is noted as removals. `busy`: a run has
   * not ended, something is reserved, or, with `idleBefore`, something has happened since. `more`: it is closed, its oldest runs are gone,
   * and it has others, which go when it is asked for again.
   */
  removeSession(tenantId: TenantId, sessionId: SessionId, idleBefore?: number): Promise<'removed' | 'more' | 'busy' | 'not_found'>;
  /** Notes that a session is to be deleted once that can be. */
  wantSessionRemoved(tenantId: TenantId, sessionId: SessionId): Promise<void>;
  /** Those noted before then, and contents that are due then, oldest first. */
  listRemovals(before: number, limit: number): Promise<readonly Removal[]>;
  /** Deletes up to `limit` rows of a run, or of the files and artifacts of a session, whose contents are then due in `keepMs`; false when nothing is left. */
  removeSome(removal: Removal, limit: number, keepMs: number): Promise<boolean>;
  endRemoval(removal: Removal): Promise<void>;
  /** Adds up to `limit` entries of days before `day` to the sums of their days; how many. The books stay as they are. */
  foldEntries(tenantId: TenantId, day: string, limit: number): Promise<number>;
  /**
   * Looks through up to `limit` of what is older, from `after` on, and deletes what of it may go; `next` is where to go on, null at the
   * end. Never what belongs to a run that has not ended, an open reservation, an entry that is not in the sums of its day or whose run is
   * there, or a balance that somebody set a limit for.
   */
  prune(
    tenantId: TenantId,
    kind: AgingKind,
    step: { readonly before: number; readonly limit: number; readonly after?: string | undefined },
  ): Promise<{ readonly gone: number; readonly next: string | null }>;
  /**
   * What `prune` would delete once entries are in the sums of their days, and the sessions that are idle since `idleBefore` gone (null:
   * none go). `before` lies at least a day back.
   */
  countAged(
    tenantId: TenantId,
    kind: AgingKind,
    range: { readonly before: number; readonly idleBefore: number | null },
    limit: number,
  ): Promise<Aged>;
  /** Rows of processes that have long ended; how many. */
  pruneWorkers(before: number, limit: number): Promise<number>;
}
