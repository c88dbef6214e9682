import type { TenantId } from '@nexus-agent/protocol';
import { canonicalJson, NexusError } from '#core';
import type { ToolSourceHead, ToolSourceStore } from '#storage';
import { type KeptServer, type McpContent, rowOf, serverFromRow, serverPlace } from './content.ts';
import { differences, type ListedTool } from './pins.ts';

/** Hears of a server that lists other tools than were approved, and of what could not be found out. */
export type OnNotice = (about: { readonly tenantId: string; readonly server: string; readonly error?: unknown }, message: string) => void;

/** The servers of tenants, as they are kept. */
export interface Register {
  find(tenantId: TenantId, name: string): Promise<KeptServer | null>;
  /** Throws `not_found`. */
  require(tenantId: TenantId, name: string): Promise<KeptServer>;
  heads(tenantId: TenantId): Promise<readonly ToolSourceHead[]>;
  /** Changes one by what it is now, whichever process changes it meanwhile: the work is asked again then. It gives null to leave it as it is. */
  change(
    tenantId: TenantId,
    name: string,
    work: (now: KeptServer | null) => { readonly createdAt: number; readonly content: McpContent } | null,
  ): Promise<KeptServer | null>;
  remove(tenantId: TenantId, name: string): Promise<void>;
  /** Leaves out from now on, on every node, what the server lists otherwise than it was approved. Gives the server as it is then. */
  note(server: KeptServer, listed: readonly ListedTool[]): Promise<KeptServer>;
}

export interface RegisterOptions {
  readonly store: ToolSourceStore;
  readonly onNotice: OnNotice;
  /** Hears of each change that is made here. */
  readonly onChange: (tenantId: string) => void;
}

/** Each round that somebody else won changed the server: more of them than this are no accident. */
const maxRounds = 20;

export function createRegister({ store, onNotice, onChange }: RegisterOptions): Register {
  const writing = new Map<string, Promise<unknown>>();

  async function inTurn<Result>(key: string, work: () => Promise<Result>): Promise<Result> {
    const result = (writing.get(key) ?? Promise.resolve()).then(work);
    const settled = result.catch(() => undefined); // its caller hears of it
    writing.set(key, settled);
    try {
      return await result;
    } finally {
      if (writing.get(key) === settled) writing.delete(key);
    }
  }

  async function find(tenantId: TenantId, name: string): Promise<KeptServer | null> {
    const row = await store.getToolSource(tenantId, 'mcp', name);
    return row === null ? null : serverFromRow(row);
  }

  const change: Register['change'] = (tenantId, name, work) =>
    inTurn(JSON.stringify([tenantId, name]), async () => {
      for (let round = 0; round < maxRounds; round += 1) {
        const kept = await store.getToolSource(tenantId, 'mcp', name);
        const now = kept === null ? null : serverFromRow(kept);
        const next = work(now);
        if (next === null) return now;
        const row = rowOf({ tenantId, name, createdAt: next.createdAt }, next.content);
        if (!(await store.putToolSource(row, kept?.version ?? null))) continue;
        onChange(tenantId);
        return serverFromRow(row);
      }
      throw new NexusError('conflict', `the MCP server ${name} is being changed elsewhere; try again`);
    });

  return {
    find,
    change,
    async require(tenantId, name) {
      const found = await find(tenantId, name);
      if (found === null) throw noSuchServer(name);
      return found;
    },
    heads: async (tenantId) => (await store.toolSourceHeads(tenantId)).filter(({ kind }) => kind === 'mcp'),
    async remove(tenantId, name) {
      if (!(await store.deleteToolSource(tenantId, 'mcp', name))) throw noSuchServer(name);
      onChange(tenantId);
    },
    async note(server, listed) {
      const { tenantId, name, definition } = server;
      const kept = await change(tenantId, name, (now) => {
        if (now === null || now.pins === null || serverPlace(now.definition) !== serverPlace(definition)) return null;
        const pending = differences(now.pins, listed);
        if (canonicalJson(pending) === canonicalJson(now.pending)) return null;
        if (pending.length > 0)
          onNotice(
            { tenantId, server: name },
            'an MCP server lists other tools than were approved; those are left out until a person approves them',
          );
        return { createdAt: now.createdAt, content: { ...contentOf(now), pending } };
      });
      return kept ?? server;
    },
  };
}

export function contentOf({ definition, pins, pending, offers, addedWith }: KeptServer): McpContent {
  return { definition, pins, pending, offers, ...(addedWith === undefined ? {} : { addedWith }) };
}

function noSuchServer(name: string): NexusError {
  return new NexusError('not_found', `there is no MCP server ${JSON.stringify(name)}`);
}
