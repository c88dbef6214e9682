import { abortError, type Cancel, type Clock, NexusError, settlesWithin, type Timers, throwIfAborted } from '#core';
import type { McpConnection } from './connection.ts';
import { createRecentFailures } from './recent-failures.ts';

export interface McpConnectionsOptions {
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly timers: Pick<Timers, 'after'>;
  /** One that nobody used for so long is closed. */
  readonly idleMs: number;
  readonly maxConnections: number;
  readonly maxTenantConnections: number;
}

/** A conversation is one tenant's, with one version of one server. */
export interface ConnectionKey {
  readonly tenantId: string;
  readonly name: string;
  readonly version: string;
  /** Whoever uses it has it to themselves: there are as many as are used at a time. */
  readonly isAlone?: boolean;
}

export interface McpConnections {
  /**
   * Does something over the connection that there is, or a new one. Throws what opening throws, at once for a while after it failed, or
   * after servers ended themselves one after the other without anything done, and says when it is tried again; `rate_limited` where all connections are in use; and the reason of the signal when it fires while one is opened.
   */
  use<Result>(
    key: ConnectionKey,
    open: (signal: AbortSignal) => Promise<McpConnection>,
    signal: AbortSignal,
    work: (connection: McpConnection, isFresh: boolean) => Promise<Result>,
  ): Promise<Result>;
  /** Whoever comes next gets another one; who uses this one may go on. */
  drop(connection: McpConnection): void;
  /** Of the tenant's, drops all but those of these servers: what was removed, or put anew, keeps no program or socket. */
  keepOnly(tenantId: string, servers: readonly Omit<ConnectionKey, 'tenantId'>[]): void;
  /** A person has reached it: what went wrong before counts no more. */
  forgive(tenantId: string, name: string): void;
  /** Closes all, and what is being opened. */
  close(): Promise<void>;
}

interface Entry {
  readonly id: string;
  /** The same for all connections with one server. */
  readonly serverId: string;
  readonly tenantId: string;
  readonly opening: Promise<McpConnection>;
  readonly controller: AbortController;
  connection: McpConnection | undefined;
  users: number;
  isDropped: boolean;
  isShut: boolean;
  /** It ended by itself, which was counted. */
  isCounted: boolean;
  usedAt: number;
  cancelIdle: Cancel | undefined;
}

function idOf({ tenantId, name, version }: ConnectionKey): string {
  return JSON.stringify([tenantId, name, version]);
}

/** One for each conversation that nobody else takes part in. */
function freePlace(serverId: string, entries: ReadonlyMap<string, Entry>): string {
  for (let number = 0; ; number++) {
    const id = number === 0 ? serverId : `${serverId} ${number}`;
    if ((entries.get(id)?.users ?? 0) === 0) return id;
  }
}

export function createMcpConnections({
  clock,
  timers,
  idleMs,
  maxConnections,
  maxTenantConnections,
}: McpConnectionsOptions): McpConnections {
  const entries = new Map<string, Entry>();
  const failures = createRecentFailures(clock);
  /** All that are not closed yet, dropped ones too. */
  const open = new Set<Entry>();
  const closings = new Set<Promise<void>>();
  let isClosed = false;

  function shut(entry: Entry): void {
    if (entry.isShut) return;
    entry.isShut = true;
    entry.cancelIdle?.();
    entry.controller.abort(new NexusError('unavailable', 'the connection to the MCP server is closed'));
    const closing = entry.opening
      .then((connection) => connection.close())
      .catch(() => undefined) // it is gone either way
      .finally(() => {
        open.delete(entry);
        closings.delete(closing);
      });
    closings.add(closing);
  }

  function dropEntry(entry: Entry): void {
    if (entry.isDropped) return;
    entry.isDropped = true;
    if (entries.get(entry.id) === entry) entries.delete(entry.id);
    if (entry.users === 0) shut(entry);
  }

  function release(entry: Entry): void {
    entry.users -= 1;
    entry.usedAt = clock.monotonic();
    if (entry.users > 0) return;
    if (entry.isDropped) shut(entry);
    else entry.cancelIdle = timers.after(idleMs, () => dropEntry(entry));
  }

  /** Makes room by closing the one that was idle for the longest time. */
  function makeRoom(tenantId: string): void {
    const own = [...open].filter((entry) => entry.tenantId === tenantId);
    const crowd = own.length >= maxTenantConnections ? own : open.size >= maxConnections ? [...open] : null;
    if (crowd === null) return;
    const idle = crowd.filter(({ users, isDropped }) => users === 0 && !isDropped).sort((one, other) => one.usedAt - other.usedAt);
    const [oldest] = idle;
    if (oldest !== undefined) {
      dropEntry(oldest);
      return;
    }
    const setting = crowd === own ? 'mcpClient.maxTenantConnections' : 'mcpClient.maxConnections';
    throw new NexusError('rate_limited', `all connections to MCP servers are in use (${setting}); try later`, {
      details: { what: 'connections to MCP servers', limit: crowd === own ? maxTenantConnections : maxConnections, used: crowd.length },
    });
  }

  function openEntry(
    { id, serverId, tenantId }: Pick<Entry, 'id' | 'serverId' | 'tenantId'>,
    opener: (signal: AbortSignal) => Promise<McpConnection>,
  ): Entry {
    failures.requireDue(serverId);
    makeRoom(tenantId);
    const controller = new AbortController();
    const opening = opener(controller.signal);
    const entry: Entry = {
      ...{ id, serverId, tenantId, opening, controller, connection: undefined },
      ...{ users: 0, isDropped: false, isShut: false, isCounted: false, usedAt: clock.monotonic(), cancelIdle: undefined },
    };
    entries.set(id, entry);
    open.add(entry);
    opening.then(
      (connection) => {
        entry.connection = connection;
        failures.opened(serverId);
      },
      (error: unknown) => {
        if (!controller.signal.aborted) failures.notOpened(serverId, error);
        entry.isDropped = true;
        if (entries.get(id) === entry) entries.delete(id);
        open.delete(entry);
      },
    );
    return entry;
  }

  function countEnd(entry: Entry): void {
    if (entry.isCounted) return;
    entry.isCounted = true;
    failures.endedItself(entry.serverId);
    dropEntry(entry);
  }

  return {
    async use(key, opener, signal, work) {
      if (isClosed) throw new NexusError('unavailable', 'the connections to MCP servers are closed');
      throwIfAborted(signal);
      const serverId = idOf(key);
      const id = key.isAlone === true ? freePlace(serverId, entries) : serverId;
      const known = entries.get(id);
      const entry = known ?? openEntry({ id, serverId, tenantId: key.tenantId }, opener);
      entry.cancelIdle?.();
      entry.users += 1;
      try {
        const connection = entry.connection ?? (await orAborted(entry.opening, signal));
        try {
          const result = await work(connection, known === undefined);
          failures.worked(serverId);
          return result;
        } catch (error) {
          if (connection.hasEnded()) countEnd(entry);
          throw error;
        }
      } finally {
        release(entry);
      }
    },
    drop(connection) {
      for (const entry of open) if (entry.connection === connection) dropEntry(entry);
    },
    keepOnly(tenantId, servers) {
      const kept = new Set(servers.map(({ name, version }) => idOf({ tenantId, name, version })));
      for (const entry of [...open]) if (entry.tenantId === tenantId && !kept.has(entry.serverId)) dropEntry(entry);
    },
    forgive(tenantId, name) {
      failures.forgive(`${JSON.stringify([tenantId, name]).slice(0, -1)},`);
    },
    async close() {
      isClosed = true;
      for (const entry of [...open]) {
        if (entries.get(entry.id) === entry) entries.delete(entry.id);
        entry.isDropped = true;
        shut(entry);
      }
      await settlesWithin(timers, Promise.all(closings), maxCloseMs);
    },
  };
}

const maxCloseMs = 5_000;

async function orAborted<Result>(work: Promise<Result>, signal: AbortSignal): Promise<Result> {
  let onAbort: () => void = () => undefined;
  const aborted = new Promise<never>((_resolve, reject) => {
    onAbort = () => reject(abortError(signal));
    signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
