import type { TenantId } from '@nexus-agent/protocol';
import { LRUCache } from 'lru-cache';
import { type Clock, canonicalJson, NexusError, sha256, type Timers } from '#core';
import type { Tool, ToolSource } from '#tools/contract';
import { asksOf, offersOf } from './asked.ts';
import type { AskingCallParts } from './asking-call.ts';
import type { McpConnection } from './connection.ts';
import type { McpConnections } from './connections.ts';
import type { KeptServer } from './content.ts';
import { hashesOf, hashOf, type ListedTool } from './pins.ts';
import type { Reach } from './reach.ts';
import type { OnNotice, Register } from './register.ts';
import { toolsOfServer } from './server-tool.ts';
import { judgeTools } from './taken-tools.ts';

export interface McpSourceOptions {
  readonly register: Register;
  readonly reach: Reach;
  readonly connections: McpConnections;
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly timers: Pick<Timers, 'soon'>;
  readonly asking: AskingCallParts;
  readonly isGranted: (url: URL) => boolean;
  readonly onNotice: OnNotice;
  readonly closing: AbortSignal;
}

export interface McpSource extends ToolSource {
  /** What is known of a tenant's servers is looked up again when it is asked for next. */
  forget(tenantId: string): void;
  /** The servers of a tenant, as of a second ago, but for those that cannot be read. */
  servers(tenantId: TenantId): Promise<readonly ServerOfTenant[]>;
  /** Resolves when nothing is looked up in the background any more. */
  settled(): Promise<void>;
}

/** How long a process goes by what it knows of a tenant's servers. */
const freshMs = 1_000;
const maxTenants = 10_000;
/** A list is large, and it is the server who says when it is looked at: after so many looks whoever calls next has a connection of their own. */
const maxNotices = 3;

/** A server, and the tools that it gives. */
export interface ServerOfTenant {
  readonly kept: KeptServer;
  readonly tools: readonly Tool[];
}

interface TenantServers {
  /** The versions that these are. */
  readonly heads: string;
  readonly servers: readonly ServerOfTenant[];
  readonly tools: readonly Tool[];
  checkedAt: number;
}

/**
 * The tools of a tenant's servers, as they were approved: to list them nobody is asked. A server is connected to when something of it is
 * called, and then it is looked whether it still is what was approved.
 */
export function createMcpSource({
  register,
  reach,
  connections,
  clock,
  timers,
  asking,
  isGranted,
  onNotice,
  closing,
}: McpSourceOptions): McpSource {
  const tenants = new LRUCache<string, TenantServers>({ max: maxTenants });
  const loading = new Map<string, Promise<TenantServers>>();
  /** Hashes of what a server listed, over each connection. */
  const listings = new WeakMap<McpConnection, ReadonlyMap<string, string>>();
  const background = new Set<Promise<void>>();

  async function listOver(server: KeptServer, connection: McpConnection, signal: AbortSignal): Promise<void> {
    const listed = await connection.listTools(signal);
    listings.set(connection, hashesOf(listed));
    await register.note(server, listed);
  }

  async function open(server: KeptServer, signal: AbortSignal): Promise<McpConnection> {
    let connection: McpConnection | undefined;
    const relist = singly(async () => {
      if (connection !== undefined) await listOver(server, connection, closing);
    });
    let notices = 0;
    const onToolsChanged = () => {
      notices += 1;
      if (notices > maxNotices) {
        if (connection !== undefined) connections.drop(connection);
        return;
      }
      const work = relist()
        .catch((error: unknown) => {
          if (closing.aborted) return;
          // What it lists is not known any more: whoever calls next asks anew.
          if (connection !== undefined) connections.drop(connection);
          const about = { tenantId: server.tenantId, server: server.name, error };
          onNotice(about, 'an MCP server said that its tools have changed, and then did not list them');
        })
        .finally(() => background.delete(work));
      background.add(work);
    };
    const opened = await reach.open(server, onToolsChanged, signal);
    try {
      await listOver(server, opened, signal);
    } catch (error) {
      await opened.close();
      throw error;
    }
    connection = opened;
    return opened;
  }

  const isAsApproved = (connection: McpConnection, tool: ListedTool) => listings.get(connection)?.get(tool.name) === hashOf(tool);

  function toolsOf(server: KeptServer): readonly Tool[] {
    if (server.pins === null) return [];
    const { tenantId, definition } = server;
    const isAlone = asksOf(offersOf(definition)).length > 0; // else nobody could tell in which call it asks
    const key = { tenantId, ...connectionOf(server), isAlone };
    return toolsOfServer(
      {
        ...{ server, asking, isGranted },
        destination: reach.destinationOf(definition),
        tier: reach.tierOf(definition),
        drop: connections.drop,
        isAsApproved,
        converse: (signal, work) => connections.use(key, (during) => open(server, during), signal, work),
      },
      judgeTools(server).taken,
    );
  }

  async function load(tenantId: TenantId): Promise<TenantServers> {
    const checkedAt = clock.monotonic();
    const known = tenants.get(tenantId);
    const heads = await register.heads(tenantId);
    const text = heads.map(({ name, version }) => `${name} ${version}`).join('\n');
    if (known?.heads === text) {
      known.checkedAt = checkedAt;
      return known;
    }
    const before = new Map(known?.servers.map((server) => [`${server.kept.name} ${server.kept.version}`, server]));
    const servers: ServerOfTenant[] = [];
    for (const { name, version } of heads) {
      const same = before.get(`${name} ${version}`);
      const next = same ?? (await read(tenantId, name));
      if (next !== null) servers.push(next);
    }
    const loaded = { heads: text, servers, tools: servers.flatMap(({ tools }) => tools), checkedAt };
    tenants.set(tenantId, loaded);
    connections.keepOnly(
      tenantId,
      servers.map(({ kept }) => connectionOf(kept)),
    );
    return loaded;
  }

  async function read(tenantId: TenantId, name: string): Promise<ServerOfTenant | null> {
    await timers.soon();
    try {
      const kept = await register.find(tenantId, name);
      return kept === null ? null : { kept, tools: toolsOf(kept) };
    } catch (error) {
      if (!(error instanceof NexusError) || error.code !== 'internal') throw error;
      onNotice({ tenantId, server: name, error }, 'an MCP server is left out, as what is kept of it cannot be read');
      return null;
    }
  }

  async function current(tenantId: string): Promise<TenantServers> {
    const known = tenants.get(tenantId);
    if (known !== undefined && clock.monotonic() - known.checkedAt < freshMs) return known;
    let work = loading.get(tenantId);
    if (work === undefined) {
      // Sources are asked for tenants that there are. Another may be under way that is asked for after a change.
      const begun = load(tenantId as TenantId).finally(() => loading.get(tenantId) === begun && loading.delete(tenantId));
      work = begun;
      loading.set(tenantId, work);
    }
    return work;
  }

  return {
    tools: async (tenantId) => (await current(tenantId)).tools,
    servers: async (tenantId) => (await current(tenantId)).servers,
    forget(tenantId) {
      loading.delete(tenantId); // what is being looked up may be older than the change
      const known = tenants.peek(tenantId);
      if (known === undefined) return;
      known.checkedAt = Number.NEGATIVE_INFINITY;
      // Nobody may ask again for long, and the program of a server that was removed is to end now.
      const work = current(tenantId)
        .then(() => undefined)
        .catch(() => undefined) // whoever asks next is told
        .finally(() => background.delete(work));
      background.add(work);
    },
    async settled() {
      await Promise.all(background);
    },
  };
}

function connectionOf({ name, definition }: KeptServer) {
  return { name, version: sha256(canonicalJson(definition)) };
}

/** Runs the work; asked for meanwhile, it runs once more afterwards. */
function singly(work: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | undefined;
  let again = false;
  const run = async (): Promise<void> => {
    do {
      again = false;
      await work();
    } while (again);
  };
  return () => {
    if (running !== undefined) {
      again = true;
      return running;
    }
    running = run().finally(() => {
      running = undefined;
    });
    return running;
  };
}
