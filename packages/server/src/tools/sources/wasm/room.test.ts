import type { TenantId } from '@nexus-agent/protocol';
import { expect, it } from 'vitest';
import { createMemoryBus } from '#bus/drivers';
import { systemClock } from '#core';
import { checkPackage, sha256OfBytes, toInstalled, versionOfRow } from '#tools/plugins';
import { createPluginSource } from './index.ts';

const tenantId = 'ten_1' as TenantId;

it('no more of the plugins of a tenant is held than a process has room for, whatever their rows say [verifies plugins.install]', async () => {
  const [module, data] = [new Uint8Array(8), new Uint8Array(30_000_000)];
  const names = ['a', 'b', 'c', 'd', 'e', 'f'];
  const faults: string[] = [];
  const rows = new Map<string, unknown>();
  for (const name of names) {
    const manifest = `name: ${name}
version: 1.0.0
tier: T1
tools: [{ name: tool_${name}, description: for tests, module: m.wasm, effects: none, inputSchema: { type: object } }]
files: { m.wasm: ${sha256OfBytes(module)}, data: ${sha256OfBytes(data)} }
`;
    const opened = await checkPackage(
      new Map([
        ['plugin.yaml', Buffer.from(manifest)],
        ['m.wasm', module],
        ['data', data],
      ]),
    );
    rows.set(name, toInstalled(opened, false));
  }
  // As a version of before has it, which says no size.
  const version = versionOfRow('0', { isTrusted: false, signedBy: null, bytes: 0 });
  const source = createPluginSource({
    store: {
      toolSourceHeads: async () => [...rows.keys()].map((name) => ({ kind: 'plugin', name, version })),
      getToolSource: async (_tenant, kind, name) => ({ tenantId, kind, name, version, content: rows.get(name), createdAt: 1 }),
    },
    ...{ clock: systemClock, bus: createMemoryBus({ onError: () => undefined }), trustedKeys: [] },
    programs: { toolsOf: () => [], keepOnly: () => undefined },
    ...{ sandbox: { longestMs: 0 } as never, workspaces: {} as never, fetchTool: null }, // nothing is called
    onFault: ({ plugin, why }) => void faults.push(`${plugin}: ${why}`),
  });
  const held = async () => (await source.tools(tenantId)).map(({ name }) => name);
  expect(await held()).toEqual(['tool_a', 'tool_b', 'tool_c', 'tool_d']);
  expect(faults).toEqual([expect.stringMatching(/^e: .*more than 134217728 bytes/), expect.stringMatching(/^f: /)]);
  // What had no room has it once others are gone.
  rows.delete('b');
  source.changed(tenantId);
  expect(await held()).toEqual(['tool_a', 'tool_c', 'tool_d', 'tool_e']);
  await source.close();
});
