import type { TenantId } from '@nexus-agent/protocol';
import { expect, it } from 'vitest';
import { systemClock, systemTimers } from '#core';
import type { ToolSourceHead, ToolSourceRow } from '#storage';
import type { Tool } from '#tools';
import { makeTool } from '#tools/testing';
import { createFollowedSources, createSourceHeads } from './followed-sources.ts';

/** A table of sources, and how often it was asked. */
function createTable() {
  const rows = new Map<string, ToolSourceRow>();
  const asked = { heads: 0, rows: 0, built: 0 };
  let fault: Error | null = null;
  return {
    asked,
    failWith(error: Error | null) {
      fault = error;
    },
    put(tenant: string, name: string, version: string, kind: ToolSourceRow['kind'] = 'http') {
      const tenantId = tenant as TenantId; // a literal of these tests
      rows.set(`${tenant}/${kind}/${name}`, { tenantId, kind, name, version, content: null, createdAt: 0 });
    },
    remove: (tenant: string, name: string) => rows.delete(`${tenant}/http/${name}`),
    async toolSourceHeads(tenantId: TenantId): Promise<readonly ToolSourceHead[]> {
      asked.heads += 1;
      if (fault !== null) throw fault;
      return [...rows.values()].filter((row) => row.tenantId === tenantId).sort((a, b) => (a.name < b.name ? -1 : 1));
    },
    async getToolSource(tenantId: TenantId, kind: string, name: string) {
      asked.rows += 1;
      return rows.get(`${tenantId}/${kind}/${name}`) ?? null;
    },
  };
}

/** News that does not come through. */
const silentBus: Parameters<typeof createSourceHeads>[0]['bus'] = {
  spansProcesses: false,
  publish: () => undefined,
  subscribe: () => () => undefined,
  close: async () => undefined,
};

function follow() {
  const table = createTable();
  let now = 0;
  const heads = createSourceHeads({ store: table, bus: silentBus, clock: { ...systemClock, monotonic: () => now } });
  const tools = createFollowedSources<Tool>({
    ...{ kind: 'http', heads, store: table },
    async build({ name, version }) {
      table.asked.built += 1;
      await systemTimers.soon();
      return [makeTool({ name: `${name}_${version}` })];
    },
  });
  const names = async (tenant = 'acme') => (await tools(tenant)).map(({ name }) => name);
  const pass = (ms: number) => {
    now += ms;
  };
  return { table, followed: heads, source: { tools }, names, pass };
}

it('asks once a second for each tenant, whoever asks how often [verifies tools.sources.followed]', async () => {
  const { table, names, source, pass } = follow();
  table.put('acme', 'a', '1');
  await Promise.all([names(), names(), names('other')]);
  const list = await source.tools('acme');
  for (let index = 0; index < 100; index += 1) expect(await source.tools('acme')).toBe(list);
  expect(table.asked).toEqual({ heads: 2, rows: 1, built: 1 });
  pass(1_000);
  expect(await source.tools('acme')).toBe(list);
  expect(table.asked).toEqual({ heads: 3, rows: 1, built: 1 });
});

it('follows what is put and removed, and keeps the tools of what is unchanged [verifies tools.sources.followed]', async () => {
  const { table, names, source, followed, pass } = follow();
  table.put('acme', 'a', '1');
  table.put('acme', 'b', '1');
  table.put('acme', 'c', '1', 'mcp');
  table.put('other', 'z', '1');
  expect(await names()).toEqual(['a_1', 'b_1']);
  expect(await names('other')).toEqual(['z_1']);
  const [first] = await source.tools('acme');
  table.put('acme', 'b', '2');
  expect(await names()).toEqual(['a_1', 'b_1']);
  pass(1_000);
  expect(await names()).toEqual(['a_1', 'b_2']);
  expect((await source.tools('acme'))[0]).toBe(first);
  table.remove('acme', 'a');
  followed.changed('acme');
  expect(await names()).toEqual(['b_2']);
});

it('passes on that the store does not answer, and asks anew', async () => {
  const { table, names, pass } = follow();
  table.put('acme', 'a', '1');
  expect(await names()).toEqual(['a_1']);
  pass(1_000);
  table.failWith(new Error('away'));
  await expect(names()).rejects.toThrow('away');
  table.failWith(null);
  expect(await names()).toEqual(['a_1']);
});
