import type { TenantId } from '@nexus-agent/protocol';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Store } from '../../packages/server/src/storage/index.ts';
import { all } from '../support/ledger-invariants.ts';
import { newTenant } from '../support/stores.ts';
import { verifies } from '../support/verifies.ts';

/** Where tools come from, and the queue between runs and workers. */
export function describeToolStore(open: () => Promise<Store>): void {
  let one: Store;
  let two: Store;
  beforeAll(async () => {
    [one, two] = [await open(), await open()];
  });
  const call = (tenantId: TenantId, callKey: string, createdAt = 1) => ({
    ...{ tenantId, callKey, pool: 'crm', status: 'queued' as const, request: { input: { text: 'a\u0000b' } }, answer: null },
    ...{ holder: null, delivery: 0, leaseUntil: null, cancelled: false, createdAt, expiresAt: 1_000_000 },
  });
  const take = (store: Store, tenantId: TenantId, workerId: string, limit = 10, nowMs = 100) =>
    store.takeToolCalls({ tenantId, pool: 'crm', workerId }, { limit, nowMs, leaseMs: 50 });

  describe('sources of tools', () => {
    it('are kept by kind and name, each in the place of the one before it, for their tenant alone', async () => {
      const tenantId = newTenant();
      const row = (kind: 'http' | 'mcp', name: string, version: string) => ({
        ...{ tenantId, kind, name, version, content: { version, text: 'x\u0000\ud800' }, createdAt: 5 },
      });
      await one.putToolSource(row('mcp', 'files', 'v1'));
      await one.putToolSource(row('http', 'files', 'h1'));
      await one.putToolSource(row('mcp', 'crm', 'c1'));
      await two.putToolSource(row('mcp', 'files', 'v2'));
      expect(await one.getToolSource(tenantId, 'mcp', 'files')).toEqual(row('mcp', 'files', 'v2'));
      expect(await one.getToolSource(tenantId, 'mcp', 'files\u0000')).toBeNull();
      expect(await one.getToolSource(newTenant(), 'mcp', 'files')).toBeNull();
      const listed = await all((page) => one.listToolSources(tenantId, 'mcp', { ...page, limit: 1 }));
      expect(listed.map(({ name, version }) => [name, version])).toEqual([
        ['crm', 'c1'],
        ['files', 'v2'],
      ]);
      expect((await one.toolSourceHeads(tenantId)).map(({ kind, name, version }) => `${kind} ${name} ${version}`)).toEqual([
        'http files h1',
        'mcp crm c1',
        'mcp files v2',
      ]);
      expect(await one.deleteToolSource(newTenant(), 'mcp', 'files')).toBe(false);
      expect(await one.deleteToolSource(tenantId, 'mcp', 'files')).toBe(true);
      expect(await one.deleteToolSource(tenantId, 'mcp', 'files')).toBe(false);
      expect(await one.getToolSource(tenantId, 'http', 'files')).not.toBeNull();
    });
  });

  it(`are put in the place of what whoever puts them has read, once ${verifies('tools.mcp.pins')}`, async () => {
    const tenantId = newTenant();
    const row = (version: string) => ({ tenantId, kind: 'mcp' as const, name: 'files', version, content: { version }, createdAt: 5 });
    const won = async (before: string | null, names: string) => {
      const all = [...names].map((name, index) => (index % 2 === 0 ? one : two).putToolSource(row(name), before));
      return (await Promise.all(all)).filter((isPut) => isPut).length;
    };
    expect(await won(null, 'abcd')).toBe(1);
    const first = (await one.getToolSource(tenantId, 'mcp', 'files'))?.version ?? '';
    expect(await won(first, 'efgh')).toBe(1);
    expect(await won(first, 'xyz')).toBe(0);
    expect('efgh').toContain((await one.getToolSource(tenantId, 'mcp', 'files'))?.version);
    await one.deleteToolSource(tenantId, 'mcp', 'files');
    expect(await won('e', 'x')).toBe(0);
  });

  describe(`what MCP servers have granted ${verifies('tools.mcp.oauth.refresh')}`, () => {
    it('is changed by whoever knows what it is, once, and does not come back when it was removed', async () => {
      const tenantId = newTenant();
      const row = (version: string, sealed = version) => ({
        ...{ tenantId, server: 'docs', slot: 'grant' as const, version, sealed, heldUntil: null, updatedAt: 5 },
      });
      expect(await Promise.all([one.swapMcpGrant(row('a'), null), two.swapMcpGrant(row('b'), null)])).toEqual(
        expect.arrayContaining([true, false]),
      );
      const first = (await one.getMcpGrant(tenantId, 'docs', 'grant'))?.version ?? '';
      const raced = await Promise.all(
        Array.from({ length: 8 }, (_, index) => (index % 2 === 0 ? one : two).swapMcpGrant({ ...row(`c${index}`), heldUntil: 9 }, first)),
      );
      expect(raced.filter((won) => won)).toHaveLength(1);
      const held = await two.getMcpGrant(tenantId, 'docs', 'grant');
      expect(held).toEqual({ ...row(`c${raced.indexOf(true)}`), heldUntil: 9 });
      expect(await one.getMcpGrant(tenantId, 'docs', 'login')).toBeNull();
      expect(await one.getMcpGrant(newTenant(), 'docs', 'grant')).toBeNull();
      expect(await one.getMcpGrant(tenantId, 'docs\u0000', 'grant')).toBeNull();
      expect(await one.deleteMcpGrant(tenantId, 'docs', 'grant', 'other')).toBe(false);
      expect(await one.deleteMcpGrant(newTenant(), 'docs', 'grant')).toBe(false);
      expect(await one.deleteMcpGrant(tenantId, 'docs', 'grant', held?.version)).toBe(true);
      expect(await two.swapMcpGrant(row('z'), held?.version ?? '')).toBe(false);
      expect(await two.getMcpGrant(tenantId, 'docs', 'grant')).toBeNull();
    });
  });

  describe(`calls for workers ${verifies('workers.queue')}`, () => {
    it('are there once for each key, however often they are offered', async () => {
      const tenantId = newTenant();
      expect(await one.offerToolCall(call(tenantId, 'k'))).toEqual(call(tenantId, 'k'));
      const [taken] = await take(one, tenantId, 'w1');
      expect(taken).toMatchObject({
        callKey: 'k',
        delivery: 1,
        holder: 'w1',
        leaseUntil: 150,
        status: 'held',
        request: call(tenantId, 'k').request,
      });
      expect(await two.offerToolCall(call(tenantId, 'k'))).toEqual(taken);
      expect(await one.endToolCall({ tenantId, workerId: 'w1' }, { callKey: 'k', delivery: 1 }, { output: 7 })).toBe(true);
      expect(await two.offerToolCall(call(tenantId, 'k'))).toMatchObject({ status: 'done', answer: { output: 7 } });
      expect(await one.offerToolCall(call(newTenant(), 'k'))).toMatchObject({ status: 'queued' });
    });

    it('go to one worker each, oldest first, also when two processes take at once', async () => {
      const tenantId = newTenant();
      for (let index = 0; index < 40; index++) await one.offerToolCall(call(tenantId, `k${index}`, 100 - index));
      expect((await take(one, tenantId, 'w1', 2)).map(({ callKey }) => callKey)).toEqual(['k39', 'k38']);
      expect(await one.takeToolCalls({ tenantId, pool: 'other', workerId: 'w' }, { limit: 5, nowMs: 1, leaseMs: 1 })).toEqual([]);
      const rounds = await Promise.all(
        Array.from({ length: 20 }, (_, index) => take(index % 2 === 0 ? one : two, tenantId, `w${index}`, 4)),
      );
      const keys = [...rounds.flat().map(({ callKey }) => callKey)];
      expect(new Set(keys).size).toBe(keys.length);
      while (keys.length < 38) keys.push(...(await take(one, tenantId, 'last')).map(({ callKey }) => callKey));
      expect(new Set(keys).size).toBe(38);
      expect(await take(one, tenantId, 'w1')).toEqual([]);
    });

    it('are answered once, and only under the delivery that stands', async () => {
      const tenantId = newTenant();
      await one.offerToolCall(call(tenantId, 'k'));
      await take(one, tenantId, 'w1');
      const held = (delivery: number) => ({ callKey: 'k', delivery });
      expect(await one.requeueToolCall(tenantId, held(1), 150)).toBe(false); // its lease is not over
      expect(await one.requeueToolCall(tenantId, held(1), 151)).toBe(true);
      expect(await two.requeueToolCall(tenantId, held(1), 151)).toBe(false);
      await take(two, tenantId, 'w2');
      expect(await one.endToolCall({ tenantId, workerId: 'w1' }, held(1), 'late')).toBe(false);
      expect(await one.endToolCall({ tenantId, workerId: 'w1' }, held(2), 'of another')).toBe(false);
      expect(await one.endToolCall({ tenantId, workerId: 'w2' }, held(1), 'of a delivery that is over')).toBe(false);
      const answers = await Promise.all(
        [one, two, one, two].map((store, index) => store.endToolCall({ tenantId, workerId: 'w2' }, held(2), index)),
      );
      expect(answers.filter(Boolean)).toHaveLength(1);
      const [state] = await one.toolCallStates(tenantId, ['k', 'nothing']);
      expect(state).toMatchObject({ callKey: 'k', status: 'done', answer: answers.indexOf(true), delivery: 2 });
    });

    it('are ended when their worker is lost, and begin anew when another attempt wants them', async () => {
      const tenantId = newTenant();
      await one.offerToolCall(call(tenantId, 'k'));
      const held = { callKey: 'k', delivery: 1 };
      expect(await one.reopenToolCall(tenantId, { callKey: 'k', delivery: 0 }, { nowMs: 5, expiresAt: 9 })).toBe(false);
      await take(one, tenantId, 'w1');
      expect(await one.endLostToolCall(tenantId, held, 150, 'lost')).toBe(false); // its lease is not over
      expect(await one.endLostToolCall(tenantId, held, 151, 'lost')).toBe(true);
      expect(await two.endToolCall({ tenantId, workerId: 'w1' }, held, 'late')).toBe(false);
      expect(await two.reopenToolCall(tenantId, held, { nowMs: 500, expiresAt: 900 })).toBe(true);
      expect(await one.reopenToolCall(tenantId, held, { nowMs: 500, expiresAt: 900 })).toBe(false);
      await take(one, tenantId, 'w2');
      expect(await one.returnToolCall({ tenantId, workerId: 'w1' }, { callKey: 'k', delivery: 2 })).toBe(false);
      expect(await one.returnToolCall({ tenantId, workerId: 'w2' }, { callKey: 'k', delivery: 2 })).toBe(true);
      const [again] = await take(two, tenantId, 'w3');
      expect(again).toMatchObject({ delivery: 3, createdAt: 500, expiresAt: 900, cancelled: false, answer: null });
    });

    it('are renewed by whoever holds them, who hears what nobody wants', async () => {
      const tenantId = newTenant();
      for (const key of ['a', 'b', 'c']) await one.offerToolCall(call(tenantId, key));
      await take(one, tenantId, 'w1', 2);
      const ofOne = await two.heldToolCalls(tenantId, 'w1');
      expect(ofOne.map(({ callKey }) => callKey).sort()).toEqual(['a', 'b']);
      expect(await two.heldToolCalls(newTenant(), 'w1')).toEqual([]);
      expect(await two.withdrawToolCall(tenantId, 'b', null)).toBe(false);
      expect(await two.toolCallStates(tenantId, ['b'])).toMatchObject([{ status: 'held', cancelled: false }]);
      expect(await two.cancelToolCall(tenantId, 'b', null)).toBe('marked');
      expect(await two.cancelToolCall(tenantId, 'c', { error: 'cancelled' })).toBe('ended');
      expect(await two.cancelToolCall(tenantId, 'nothing', null)).toBe('gone');
      expect(await two.withdrawToolCall(tenantId, 'nothing', null)).toBe(false);
      const held = ['a', 'b', 'c'].map((callKey) => ({ callKey, delivery: 1 }));
      const renewed = await one.renewToolCalls({ tenantId, workerId: 'w1' }, [...held, { callKey: 'a', delivery: 1 }], 900);
      expect([...renewed].sort((x, y) => (x.callKey < y.callKey ? -1 : 1))).toEqual([
        { callKey: 'a', delivery: 1, cancelled: false },
        { callKey: 'b', delivery: 1, cancelled: true },
      ]);
      expect(await one.renewToolCalls({ tenantId, workerId: 'w2' }, held, 999)).toEqual([]);
      expect(await one.renewToolCalls({ tenantId, workerId: 'w1' }, [{ callKey: 'a', delivery: 2 }], 999)).toEqual([]);
      expect(await one.requeueToolCall(tenantId, { callKey: 'a', delivery: 1 }, 800)).toBe(false);
      expect((await one.toolCallStates(tenantId, ['c']))[0]).toMatchObject({
        status: 'done',
        answer: { error: 'cancelled' },
        cancelled: true,
      });
      const pools = [{ tenantId, pool: 'crm' }];
      expect(await one.queuedToolPools(pools)).toEqual([]);
      await one.offerToolCall(call(tenantId, 'd'));
      expect(await two.queuedToolPools([...pools, { tenantId: newTenant(), pool: 'crm' }])).toEqual(pools);
    });

    it('are kept for nobody who reports a delivery that is over', async () => {
      const tenantId = newTenant();
      for (const key of ['a', 'b']) await one.offerToolCall(call(tenantId, key));
      await take(one, tenantId, 'w1', 2);
      await one.requeueToolCall(tenantId, { callKey: 'a', delivery: 1 }, 151);
      await take(one, tenantId, 'w1', 2, 200); // the same worker, which never hears of it
      const zombie = [
        { callKey: 'a', delivery: 1 },
        { callKey: 'b', delivery: 1 },
        { callKey: 'b', delivery: 2 },
      ];
      expect(await one.renewToolCalls({ tenantId, workerId: 'w1' }, zombie, 900)).toEqual([
        { callKey: 'b', delivery: 1, cancelled: false },
      ]);
      expect((await one.toolCallStates(tenantId, ['a', 'b'])).map(({ leaseUntil }) => leaseUntil)).toEqual([250, 900]);
      expect(await two.requeueToolCall(tenantId, { callKey: 'a', delivery: 2 }, 251)).toBe(true);
    });

    it('are forgotten when nobody can ask for them any more', async () => {
      const tenantId = newTenant();
      await one.offerToolCall({ ...call(tenantId, 'old'), expiresAt: -10 });
      await one.offerToolCall(call(tenantId, 'young'));
      while ((await one.pruneToolCalls(0, 5)) > 0);
      expect((await one.toolCallStates(tenantId, ['old', 'young'])).map(({ callKey }) => callKey)).toEqual(['young']);
    });

    it('know which workers there are', async () => {
      const tenantId = newTenant();
      const worker = (workerId: string, nodeId: string, seenAt: number) => ({
        ...{ tenantId, workerId, pool: 'crm', nodeId, about: { host: 'h' }, connectedAt: seenAt, seenAt },
      });
      const node = `node of ${tenantId}`;
      await one.putToolWorker(worker('w1', node, 10));
      await one.putToolWorker(worker('w2', 'other', 20));
      await two.putToolWorker(worker('w1', node, 11));
      await two.touchToolWorkers(node, 30);
      expect(await one.listToolWorkers(tenantId, 25, 10)).toEqual([{ ...worker('w1', node, 11), seenAt: 30 }]);
      expect((await one.listToolWorkers(tenantId, 0, 1)).map(({ workerId }) => workerId)).toEqual(['w2']);
      expect(await one.listToolWorkers(newTenant(), 0, 10)).toEqual([]);
      // It has come back elsewhere before the node that it left noticed.
      await one.deleteToolWorker(tenantId, 'w1', 'other');
      expect((await one.listToolWorkers(tenantId, 25, 10)).map(({ workerId }) => workerId)).toEqual(['w1']);
      await one.deleteToolWorker(newTenant(), 'w1', node);
      expect(await one.listToolWorkers(tenantId, 25, 10)).toHaveLength(1);
      await one.deleteToolWorker(tenantId, 'w1', node);
      while ((await one.pruneToolWorkers(25, 10)) > 0);
      expect(await two.listToolWorkers(tenantId, 0, 10)).toEqual([]);
    });
  });
}
