import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import type { KeyRow, KeySecretRow, Store } from '../../packages/server/src/storage/index.ts';
import { ids, newTenant, type StoreSubject } from '../support/stores.ts';
import { verifies } from '../support/verifies.ts';

/** What all nodes on a database decide by: definitions by version, and the secrets of keys. `fresh` gives empty databases. */
export function describeDefinitions(open: () => Promise<Store>, fresh: () => Promise<StoreSubject>): void {
  let store: Store;
  beforeAll(async () => {
    store = await open();
  });

  async function several(count: number): Promise<Store[]> {
    const subject = await fresh();
    const stores = await Promise.all(Array.from({ length: count }, () => subject.open()));
    onTestFinished(async () => {
      await Promise.all(stores.map((each) => each.close()));
      await subject.close();
    });
    return stores;
  }

  const offer = (fingerprint: string, again: number | 'always' | null = null) => ({
    kind: 'policies' as const,
    fingerprint,
    files: [{ name: 'a.cedar', text: `${fingerprint} \u0000 é😀` }],
    origin: 'host:/etc/policies \u0000',
    importedAt: 7,
    again,
  });

  describe('definitions', () => {
    it(`are numbered, and nobody brings an earlier version back without meaning to ${verifies('nodes.definitions.order')}`, async () => {
      const [one] = await several(1);
      if (one === undefined) throw new Error('no store');
      const importOf = (...args: Parameters<typeof offer>) => one.importDefinitions(offer(...args));
      expect(await one.definitionHeads()).toEqual([]);
      expect(await importOf('old')).toMatchObject({ type: 'imported', head: { version: 1, fingerprint: 'old' } });
      expect(await importOf('old')).toMatchObject({ type: 'same', head: { version: 1 } });
      expect(await importOf('new')).toMatchObject({ type: 'imported', head: { version: 2 } });
      // A node that starts with what was active before, and one whose folder changed to it after it had fallen behind.
      expect(await importOf('old')).toMatchObject({ type: 'known', head: { version: 2 }, version: 1 });
      expect(await importOf('old', 1)).toMatchObject({ type: 'known', head: { version: 2 }, version: 1 });
      expect(await importOf('old', 2)).toMatchObject({ type: 'imported', head: { version: 3, fingerprint: 'old' } });
      expect(await importOf('new', 'always')).toMatchObject({ type: 'imported', head: { version: 4 } });
      expect(await importOf('new', 'always')).toMatchObject({ type: 'same', head: { version: 4 } });
      const head = { kind: 'policies', version: 4, fingerprint: 'new', origin: 'host:/etc/policies \u0000', importedAt: 7 };
      expect(await one.definitionHeads()).toEqual([head]);
      expect(await one.definitionFiles('policies', 4)).toEqual(offer('new').files);
      expect(await one.findDefinitions('policies', 'old')).toMatchObject({ version: 3 });
      expect(await one.findDefinitions('agents', 'old')).toBeNull();
      expect(await one.definitionFiles('policies', 5)).toBeNull();
      expect(await one.importDefinitions({ ...offer('old'), kind: 'agents' })).toMatchObject({ type: 'imported', head: { version: 1 } });
      expect((await one.definitionHeads()).map(({ kind, version }) => [kind, version])).toEqual([
        ['agents', 1],
        ['policies', 4],
      ]);
    });

    it(`of nodes that start together get a number each, equal ones together one ${verifies('nodes.start.together')}`, async () => {
      const stores = await several(4);
      const same = await Promise.all(stores.map((each) => each.importDefinitions(offer('same'))));
      expect(same.map(({ type }) => type).sort()).toEqual(['imported', 'same', 'same', 'same']);
      const different = await Promise.all(stores.map((each, index) => each.importDefinitions(offer(`own-${index}`))));
      expect(different.map(({ type, head }) => `${type} ${head.version}`).sort()).toEqual([
        'imported 2',
        'imported 3',
        'imported 4',
        'imported 5',
      ]);
    });

    it('keep the files of the last versions, and know all the others', async () => {
      const [one] = await several(1);
      for (let version = 1; version <= 53; version++) await one?.importDefinitions(offer(`v${version}`));
      expect(await one?.definitionFiles('policies', 3)).toBeNull();
      expect(await one?.definitionFiles('policies', 4)).toEqual(offer('v4').files);
      expect(await one?.importDefinitions(offer('v1'))).toMatchObject({ type: 'known', version: 1 });
    });
  });

  describe('nodes', () => {
    it('are known as long as they speak', async () => {
      const [one] = await several(1);
      const row = (nodeId: string, seenAt: number) => ({ nodeId, name: `name of ${nodeId}`, status: { at: seenAt }, seenAt });
      await one?.reportNode(row('b', 10), 0);
      await one?.reportNode(row('a', 20), 0);
      await one?.reportNode(row('b', 30), 0);
      expect(await one?.listNodes(0)).toEqual([row('a', 20), row('b', 30)]);
      expect(await one?.listNodes(21)).toEqual([row('b', 30)]);
      await one?.reportNode(row('c', 40), 25);
      expect((await one?.listNodes(0))?.map(({ nodeId }) => nodeId)).toEqual(['b', 'c']);
      await one?.forgetNode('b');
      expect((await one?.listNodes(0))?.map(({ nodeId }) => nodeId)).toEqual(['c']);
    });
  });

  describe('key secrets', () => {
    const secret = (origin: KeySecretRow['origin'], fingerprint: string, createdAt = 1): KeySecretRow => ({
      origin,
      fingerprint,
      secret: origin === 'configured' ? null : `${fingerprint}00`,
      createdAt,
    });
    const key = (secretId: string | null, fields: Partial<KeyRow> = {}): KeyRow => ({
      tenantId: newTenant(),
      keyId: ids.next<string>('key'),
      name: 'k',
      hash: 'ab',
      secretId,
      scopes: ['runs'],
      roles: [],
      createdAt: 1,
      expiresAt: null,
      revokedAt: null,
      ...fields,
    });

    it(`are made once by nodes that start together ${verifies('nodes.start.together')}`, async () => {
      const stores = await several(5);
      const results = await Promise.all(stores.map((each, index) => each.settleKeySecrets([secret('made', `m${index}`)], 1)));
      const [first] = results;
      expect(first).toMatchObject({ type: 'settled', secrets: [{ origin: 'made' }] });
      for (const result of results) expect(result).toEqual(first);
      // A folder's own is kept besides, so that its keys open on all nodes.
      const adopted = await stores[0]?.settleKeySecrets([secret('adopted', 'f', 2), secret('made', 'x')], 1);
      expect(adopted).toMatchObject({ type: 'settled', secrets: [{ origin: 'made' }, { fingerprint: 'f', secret: 'f00' }] });
      expect(await stores[1]?.listKeySecrets()).toHaveLength(2);
    });

    it('are not made where a folder brings one', async () => {
      const [one] = await several(1);
      const result = await one?.settleKeySecrets([secret('adopted', 'f'), secret('made', 'm')], 1);
      expect(result).toEqual({ type: 'settled', secrets: [secret('adopted', 'f')], forgotten: [] });
    });

    it('that are configured are known by fingerprint, and missed by a node that has them not while a key needs them', async () => {
      const [one, two] = await several(2);
      if (one === undefined || two === undefined) throw new Error('no store');
      await one.settleKeySecrets([secret('configured', 'c1')], 1);
      expect(await one.listKeySecrets()).toEqual([secret('configured', 'c1')]);
      const used = key('c1');
      expect(await one.putKey(used)).toBe(true);
      expect(await one.putKey(key('c1', { expiresAt: 50 }))).toBe(true);
      expect(await two.settleKeySecrets([secret('made', 'm')], 49)).toEqual({ type: 'missing', fingerprint: 'c1', keys: 2 });
      expect(await two.settleKeySecrets([secret('configured', 'c2')], 50)).toEqual({ type: 'missing', fingerprint: 'c1', keys: 1 });
      expect(await two.listKeySecrets()).toEqual([secret('configured', 'c1')]);
      await one.revokeKey(used.tenantId, used.keyId, 2);
      expect(await two.settleKeySecrets([secret('configured', 'c2')], 50)).toMatchObject({ type: 'settled', forgotten: ['c1'] });
      // From now on nothing is stored under the one that is forgotten.
      expect(await one.putKey(key('c1'))).toBe(false);
      expect(await one.putKey(key('c2'))).toBe(true);
      expect(await one.putKey(key(null))).toBe(true);
    });

    it('are never forgotten under a key that is being made', async () => {
      const [one, two] = await several(2);
      if (one === undefined || two === undefined) throw new Error('no store');
      for (let round = 0; round < 20; round++) {
        await one.settleKeySecrets([secret('configured', 'a')], 1);
        const row = key('a');
        const [put, settled] = await Promise.all([one.putKey(row), two.settleKeySecrets([secret('configured', 'b')], 1)]);
        expect(settled.type).toBe(put ? 'missing' : 'settled');
        await one.revokeKey(row.tenantId, row.keyId, 2);
      }
    });
  });

  describe('agents of a tenant', () => {
    it(`are never replaced by shared ones of the same name ${verifies('nodes.agents.own')}`, async () => {
      const tenantId = newTenant();
      const put = (source: 'api' | 'file', version: string) =>
        store.putAgent({ tenantId, name: 'a', version, source, createdAt: 1, definition: { name: 'a', models: ['sim/x'] } as never });
      await put('file', 'f1');
      await put('file', 'f2');
      expect(await store.getAgent(tenantId, 'a')).toMatchObject({ version: 'f2', source: 'file' });
      await put('api', 'own');
      await put('file', 'f3');
      expect(await store.getAgent(tenantId, 'a')).toMatchObject({ version: 'own', source: 'api' });
      // What was known from a file is the tenant's own once the tenant puts it.
      await put('api', 'f1');
      await put('file', 'f2');
      expect(await store.getAgent(tenantId, 'a')).toMatchObject({ version: 'f1', source: 'api' });
      expect(await store.getAgent(tenantId, 'a', 'f3')).toMatchObject({ source: 'file' });
    });
  });
}
