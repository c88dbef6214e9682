import { randomUUID } from 'node:crypto';
import type { OAuthDiscoveryState, StoredOAuthClientInformation } from '@modelcontextprotocol/client';
import type { TenantId } from '@nexus-agent/protocol';
import { type Clock, NexusError, type Timers } from '#core';
import type { McpGrantRow, McpGrantSlot, McpGrantStore } from '#storage';
import type { Seal } from './oauth-seal.ts';

/** What a tenant holds at a server. */
export interface Grant {
  /** The server and the `auth` that it was made for: for others it is nothing. */
  readonly place: string;
  readonly tokens: {
    readonly accessToken: string;
    readonly refreshToken: string | null;
    readonly scope: string | null;
    readonly obtainedAt: number;
    /** When the access token ends; null where that is not known. */
    readonly expiresAt: number | null;
  } | null;
  /** Since when the person is logged in. */
  readonly since: number | null;
  readonly discovery: OAuthDiscoveryState | null;
  readonly client: StoredOAuthClientInformation | null;
  readonly resource: string | null;
  /** What calls were refused for: asked for with the next login. */
  readonly wantedScope: string | null;
}

/** A login that was begun. */
export interface PendingLogin {
  readonly place: string;
  /** Of the state that the browser brings back. */
  readonly nonce: string;
  readonly by: string;
  readonly expiresAt: number;
  /** Where the person logs in, and what they type before they are sent there. */
  readonly address: string;
  readonly code: string;
  readonly redirectUrl: string;
  readonly codeVerifier: string;
  readonly discovery: OAuthDiscoveryState;
  readonly client: StoredOAuthClientInformation;
  readonly resource: string | null;
}

interface Held {
  readonly grant: Grant | null;
  readonly version: string;
}

export interface GrantKey {
  readonly tenantId: TenantId;
  readonly name: string;
  readonly place: string;
}

export interface Grants {
  find(key: GrantKey): Promise<Grant | null>;
  /**
   * Makes another grant of what is there, in one process of all at a time. `isNew` says of what another process has made meanwhile that it
   * will do. Throws `conflict` where it was removed meanwhile, and the reason of the signal while others are at it.
   */
  renew(
    key: GrantKey,
    isNew: (grant: Grant | null) => boolean,
    work: (grant: Grant | null) => Promise<Grant>,
    signal: AbortSignal,
  ): Promise<Grant>;
  put(key: GrantKey, grant: Grant): Promise<void>;
  /** Notes something of what is there, and takes nothing away from who renews it: where that takes long, it is not noted. */
  note(key: GrantKey, noted: (grant: Grant) => Grant): Promise<void>;
  remove(key: Pick<GrantKey, 'tenantId' | 'name'>): Promise<void>;
  begin(key: GrantKey, login: PendingLogin): Promise<void>;
  pending(key: Pick<GrantKey, 'tenantId' | 'name'>): Promise<{ readonly login: PendingLogin; readonly version: string } | null>;
  /** False where somebody else was first. */
  take(key: Pick<GrantKey, 'tenantId' | 'name'>, version: string): Promise<boolean>;
}

export interface GrantsOptions {
  readonly store: McpGrantStore;
  readonly seal: () => Promise<Seal>;
  readonly clock: Pick<Clock, 'now'>;
  readonly timers: Pick<Timers, 'sleep'>;
  /** How long a process may be at it before another one takes its place: longer than it takes at most. */
  readonly holdMs: number;
  /** How long others wait for it. */
  readonly patienceMs: number;
}

const lookMs = 100;
const maxSwaps = 20;

export function createGrants({ store, seal, clock, timers, holdMs, patienceMs }: GrantsOptions): Grants {
  const purposeOf = (tenantId: string, name: string, slot: McpGrantSlot) => [tenantId, name, slot];

  async function read(tenantId: TenantId, name: string, slot: McpGrantSlot): Promise<{ row: McpGrantRow; content: unknown } | null> {
    const row = await store.getMcpGrant(tenantId, name, slot);
    if (row === null) return null;
    const text = (await seal()).open(row.sealed, purposeOf(tenantId, name, slot));
    return { row, content: text === null ? null : JSON.parse(text) }; // written here
  }

  async function rowOf(tenantId: TenantId, name: string, slot: McpGrantSlot, content: unknown, heldUntil: number | null = null) {
    const sealed = (await seal()).seal(JSON.stringify(content), purposeOf(tenantId, name, slot));
    return { tenantId, server: name, slot, version: randomUUID(), sealed, heldUntil, updatedAt: clock.now() };
  }

  const ofPlace = (content: unknown, place: string): Grant | null => {
    const grant = content as Grant | null; // sealed here, so it is what was put
    return grant?.place === place ? grant : null;
  };

  async function find({ tenantId, name, place }: GrantKey): Promise<Grant | null> {
    return ofPlace((await read(tenantId, name, 'grant'))?.content, place);
  }

  /** Waits until nobody else is at it; gives what another one has made meanwhile, if that will do. */
  async function hold(
    { tenantId, name, place }: GrantKey,
    isNew: (grant: Grant | null) => boolean,
    signal: AbortSignal,
  ): Promise<Held | Grant> {
    for (let waitedMs = 0; ; waitedMs += lookMs) {
      signal.throwIfAborted();
      const found = await read(tenantId, name, 'grant');
      const grant = ofPlace(found?.content, place);
      const heldUntil = found?.row.heldUntil ?? null;
      if (heldUntil === null || heldUntil <= clock.now()) {
        if (grant !== null && isNew(grant)) return grant;
        const held = await rowOf(tenantId, name, 'grant', grant, clock.now() + holdMs);
        if (await store.swapMcpGrant(held, found?.row.version ?? null)) return { grant, version: held.version };
      } else if (waitedMs >= patienceMs) {
        const seconds = Math.ceil((heldUntil - clock.now()) / 1_000);
        throw new NexusError(
          'tool_failed',
          `the token of the MCP server ${name} is being renewed by another process, or one that ended meanwhile; in ${seconds} s at most it is tried again`,
          { details: { reason: 'connection' }, retryable: true },
        );
      }
      await timers.sleep(lookMs, signal);
    }
  }

  return {
    find,
    async renew(key, isNew, work, signal) {
      const held = await hold(key, isNew, signal);
      if (!('version' in held)) return held;
      const { tenantId, name } = key;
      const settle = async (grant: Grant | null) => store.swapMcpGrant(await rowOf(tenantId, name, 'grant', grant), held.version);
      let made: Grant;
      try {
        made = await work(held.grant);
      } catch (error) {
        await settle(held.grant); // the others need not wait until it is over by itself
        throw error;
      }
      if (await settle(made)) return made;
      const now = await find(key);
      if (now !== null && isNew(now)) return now;
      throw new NexusError('conflict', `the login to the MCP server ${name} was removed or made anew meanwhile`);
    },
    async put({ tenantId, name }, grant) {
      for (let swaps = 0; swaps < maxSwaps; swaps++) {
        const before = await store.getMcpGrant(tenantId, name, 'grant');
        if (await store.swapMcpGrant(await rowOf(tenantId, name, 'grant', grant), before?.version ?? null)) return;
      }
      throw new NexusError('conflict', `the login to the MCP server ${name} is changed all the time; try again`);
    },
    async note({ tenantId, name, place }, noted) {
      for (let looks = 0; looks < maxSwaps; looks++) {
        const found = await read(tenantId, name, 'grant');
        const grant = ofPlace(found?.content, place);
        if (grant === null || found === null) return;
        const isHeld = found.row.heldUntil !== null && found.row.heldUntil > clock.now();
        if (!isHeld && (await store.swapMcpGrant(await rowOf(tenantId, name, 'grant', noted(grant)), found.row.version))) return;
        await timers.sleep(lookMs);
      }
    },
    async remove({ tenantId, name }) {
      await store.deleteMcpGrant(tenantId, name, 'grant');
      await store.deleteMcpGrant(tenantId, name, 'login');
    },
    async begin({ tenantId, name }, login) {
      await store.deleteMcpGrant(tenantId, name, 'login'); // of several that are begun the last one counts
      if (!(await store.swapMcpGrant(await rowOf(tenantId, name, 'login', login), null)))
        throw new NexusError('conflict', `somebody else has begun to log in to the MCP server ${name} at this moment; try again`);
    },
    async pending({ tenantId, name }) {
      const found = await read(tenantId, name, 'login');
      return found === null || found.content === null ? null : { login: found.content as PendingLogin, version: found.row.version }; // sealed here
    },
    take: ({ tenantId, name }, version) => store.deleteMcpGrant(tenantId, name, 'login', version),
  };
}
