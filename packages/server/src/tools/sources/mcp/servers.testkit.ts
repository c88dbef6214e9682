import type { McpServerDefinition, TenantId } from '@nexus-agent/protocol';
import { McpServerDefinition as Definition } from '@nexus-agent/protocol';
import { NexusError, sha256, systemClock, systemTimers } from '#core';
import type { McpGrantRow, McpGrantStore, ToolSourceRow, ToolSourceStore } from '#storage';
import { createJail, createToolService, type JailLimits, type ToolService } from '#tools';
import { plainFolders } from '../../testing/index.ts';
import { createMcpServers, type McpServersOfNode } from './index.ts';
import { createSeal } from './oauth-seal.ts';
import type { McpServersOptions } from './servers.ts';

/** Rows in memory, as the store keeps them. */
export function createRows(): ToolSourceStore &
  McpGrantStore & { readonly rows: Map<string, ToolSourceRow>; readonly grants: Map<string, McpGrantRow> } {
  const grants = new Map<string, McpGrantRow>();
  const rows = new Map<string, ToolSourceRow>();
  const keyOf = (...parts: readonly string[]) => JSON.stringify(parts);
  const of = (tenantId: string) =>
    [...rows.values()].filter((row) => row.tenantId === tenantId).sort((one, other) => (one.name < other.name ? -1 : 1));
  return {
    rows,
    grants,
    getMcpGrant: async (...key) => structuredClone(grants.get(keyOf(...key)) ?? null),
    async swapMcpGrant(row, version) {
      const key = keyOf(row.tenantId, row.server, row.slot);
      if ((grants.get(key)?.version ?? null) !== version) return false;
      grants.set(key, structuredClone(row));
      return true;
    },
    async deleteMcpGrant(tenantId, server, slot, version) {
      const key = keyOf(tenantId, server, slot);
      return (version === undefined || grants.get(key)?.version === version) && grants.delete(key);
    },
    async putToolSource(row, before) {
      const key = keyOf(row.tenantId, row.kind, row.name);
      if (before !== undefined && (rows.get(key)?.version ?? null) !== before) return false;
      rows.set(key, structuredClone(row));
      return true;
    },
    getToolSource: async (tenantId, kind, name) => structuredClone(rows.get(keyOf(tenantId, kind, name)) ?? null),
    listToolSources: async (tenantId, kind) => ({ items: of(tenantId).filter((row) => row.kind === kind), nextCursor: null }),
    toolSourceHeads: async (tenantId) => of(tenantId).map(({ kind, name, version }) => ({ kind, name, version })),
    deleteToolSource: async (tenantId, kind, name) => rows.delete(keyOf(tenantId, kind, name)),
  };
}

/** What is kept of calls, in memory. */
function inMemoryStates(): McpServersOptions['states'] {
  const kept = new Map<string, Uint8Array>();
  return {
    async keep(_tenantId, state) {
      const sha = sha256(Buffer.from(state).toString('latin1'));
      kept.set(sha, state);
      return { sha256: sha, bytes: state.byteLength };
    },
    async read(_tenantId, { sha256: sha }) {
      const state = kept.get(sha);
      if (state === undefined) throw new NexusError('not_found', 'it is gone');
      return state;
    },
  };
}

export const tenant = 'ten_1' as TenantId;

const testSeal = createSeal(Buffer.alloc(32, 7));

const mebibyte = 1024 * 1024;
const jailLimits: JailLimits = {
  ...{ wallMs: 600_000, cpuMs: 20_000, memoryBytes: 1024 * mebibyte, processes: 64, files: 256, fileBytes: mebibyte, outputBytes: 4_096 },
};

export interface TestServers extends McpServersOfNode {
  readonly service: ToolService;
  readonly rows: Map<string, ToolSourceRow>;
  readonly notices: string[];
  readonly leftOut: string[];
}

export function startServers(options: Partial<McpServersOptions> & { readonly store?: ReturnType<typeof createRows> } = {}): TestServers {
  const store = options.store ?? createRows();
  const notices: string[] = [];
  const leftOut: string[] = [];
  const servers = createMcpServers({
    ...{ store, clock: systemClock, timers: systemTimers, version: '0.0.0-test', secrets: [] },
    ...{ allowPrivate: (hostname: string) => hostname === '127.0.0.1', idleMs: 60_000, maxConnections: 20, maxTenantConnections: 10 },
    ...{ connectTimeoutMs: 5_000, answerTimeoutMs: 10_000, maxTools: 100, maxResponseBytes: 1024 * 1024, maxResponseValues: 20_000 },
    jail: createJail({ clock: systemClock, timers: systemTimers }),
    jailLimits,
    stdio: { mode: 'jailed', tenants: [tenant], readOnly: [] },
    states: inMemoryStates(),
    isRunOver: async () => false,
    loginMs: 60_000,
    publicUrl: undefined,
    seal: async () => testSeal,
    onNotice: (_about, message) => notices.push(message),
    ...options,
  });
  const service = createToolService({
    sources: [servers.source],
    clock: systemClock,
    timers: systemTimers,
    folders: plainFolders(async () => '/nonexistent'),
    onLeftOut: (_tenantId, faults) => leftOut.push(...faults),
  });
  return {
    ...servers,
    ...{ service, rows: store.rows, notices, leftOut },
    close: async () => {
      await service.close();
      await servers.close();
    },
  };
}

export function definitionOf(url: string, more: Partial<McpServerDefinition> = {}): McpServerDefinition {
  return Definition.parse({ transport: { type: 'http', url }, ...more });
}
