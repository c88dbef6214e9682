import { createHash } from 'node:crypto';
import type { RunId, SessionId, TenantId } from '@nexus-agent/protocol';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import type { FileChange, Store } from '../../packages/server/src/storage/index.ts';
import { ids, newTenant, noteContents, runRow, sessionRow } from '../support/stores.ts';
import { verifies } from '../support/verifies.ts';

const hash = (text: string) => createHash('sha256').update(text).digest('hex');
const content = (text: string) => ({ sha256: hash(text), bytes: text.length, executable: false });
const write = (path: string, text: string): FileChange => ({ path, content: content(text) });
const remove = (path: string): FileChange => ({ path, content: null });

/** The files of sessions, version by version, and the blobs that the database may hold. */
export function describeFileStore(open: () => Promise<Store>): void {
  let store: Store;
  let other: Store;
  beforeAll(async () => {
    store = await open();
    other = await open();
  });

  interface Tree {
    readonly tenantId: TenantId;
    readonly treeId: string;
  }

  async function begin(files: Readonly<Record<string, string>> = {}): Promise<Tree & { readonly sessionId: SessionId }> {
    const tenantId = newTenant();
    const sessionId = ids.next<SessionId>('session');
    const given = Object.entries(files).map(([path, text]) => ({ path, ...content(text) }));
    await store.commit({ tenantId, sessions: [sessionRow(tenantId, { sessionId })] });
    await noteContents(store, tenantId, given);
    await store.beginFileTree(tenantId, { treeId: sessionId, sessionId }, given);
    return { tenantId, treeId: sessionId, sessionId };
  }
  let calls = 0;
  const note = ({ tenantId }: Tree, changes: readonly FileChange[]) =>
    noteContents(
      store,
      tenantId,
      changes.flatMap(({ content: named }) => (named === null ? [] : [named])),
    );
  const commitNoted = ({ tenantId, treeId }: Tree, changes: readonly FileChange[], runId: RunId | null = null, on = store) => {
    calls += 1;
    return on.commit({ tenantId, files: [{ treeId, runId, callId: `call_${calls}`, changes }] });
  };
  const commit = async (tree: Tree, changes: readonly FileChange[], runId: RunId | null = null, on = store) => {
    await note(tree, changes);
    return commitNoted(tree, changes, runId, on);
  };
  const versionOf = async ({ tenantId, treeId }: Tree) => (await store.getFileTree(tenantId, treeId))?.version ?? 0;
  async function listed({ tenantId, treeId }: Tree, version?: number, after = 0, limit = 3) {
    const range = { after, version: version ?? (await versionOf({ tenantId, treeId })) };
    const files: Record<string, string> = {};
    let cursor: string | null = null;
    do {
      const page = await store.listFiles(tenantId, treeId, range, { limit, ...(cursor === null ? {} : { cursor }) });
      for (const { path, sha256 } of page.items) files[path] = sha256;
      cursor = page.nextCursor;
    } while (cursor !== null);
    return files;
  }
  const hashes = (files: Readonly<Record<string, string>>) =>
    Object.fromEntries(Object.entries(files).map(([path, text]) => [path, hash(text)]));

  describe(`the files of sessions ${verifies('files.committed')}`, () => {
    it('begin once, whoever asks first', async () => {
      const tenantId = newTenant();
      const tree = { treeId: 'ses_1', sessionId: ids.next<SessionId>('session') };
      await expect(store.beginFileTree(tenantId, tree, [])).rejects.toMatchObject({ code: 'not_found' }); // of a session that is gone
      expect(await store.getFileTree(tenantId, tree.treeId)).toBeNull();
      await store.commit({ tenantId, sessions: [sessionRow(tenantId, { sessionId: tree.sessionId })] });
      await noteContents(store, tenantId, [content('x')]);
      const begun = await Promise.all(
        [store, other, store, other].map((on, index) => on.beginFileTree(tenantId, tree, [{ path: `f${index}`, ...content('x') }])),
      );
      expect(new Set(begun.map((each) => JSON.stringify(each))).size).toBe(1);
      expect(begun[0]).toMatchObject({ version: 1, files: 1, bytes: 1 });
      expect(Object.keys(await listed({ tenantId, treeId: 'ses_1' }))).toHaveLength(1);
    });

    it('are written with the commit that names them, or not at all', async () => {
      const tree = await begin({ a: 'seed' });
      const { tenantId } = tree;
      const lost = { runId: ids.next<RunId>('run'), epoch: 1, owner: 'wrk_gone', lastSeq: 0, patch: {} };
      const files = [{ treeId: tree.treeId, runId: null, callId: 'call_x', changes: [write('a', 'new')] }];
      await note(tree, [write('a', 'new')]);
      expect((await store.commit({ tenantId, run: lost, files })).type).toBe('fenced');
      expect(await listed(tree)).toEqual(hashes({ a: 'seed' }));
      expect(await versionOf(tree)).toBe(1);
      await expect(
        store.commit({ tenantId, files: [{ ...files[0], treeId: 'ses_none', runId: null, callId: '', changes: [] }] }),
      ).rejects.toThrow(/ses_none/);
    });

    it(`name no content that is gone: the call fails, others that share the transaction do not ${verifies('files.contents')}`, async () => {
      const tree = await begin({ a: 'seed' });
      const { tenantId, treeId } = tree;
      await note(tree, [write('b', 'there')]);
      const [lost, kept] = await Promise.allSettled([
        commitNoted(tree, [write('c', 'kept elsewhere'), write('d', 'never put')]),
        commitNoted(tree, [write('b', 'there'), write('e', 'seed')]), // what a file has is there without a note
      ]);
      expect(lost).toMatchObject({
        status: 'rejected',
        reason: { code: 'storage_unavailable', retryable: false, details: { callId: `call_${calls - 1}` } },
      });
      expect(kept).toMatchObject({ status: 'fulfilled', value: { type: 'committed' } });
      expect(await listed(tree)).toEqual(hashes({ a: 'seed', b: 'there', e: 'seed' }));
      await expect(commitNoted({ ...tree, tenantId: newTenant() }, [write('b', 'there')])).rejects.toThrow();
      const anew = { treeId: `${treeId}2`, sessionId: tree.sessionId };
      const given = [{ path: 'x', ...content('never put') }];
      await expect(store.beginFileTree(tenantId, anew, given)).rejects.toMatchObject({ code: 'storage_unavailable', retryable: true });
      expect(await store.getFileTree(tenantId, anew.treeId)).toBeNull();
    });

    it('are seen by nobody of another tenant', async () => {
      const tree = await begin({ a: 'secret' });
      const stranger = { ...tree, tenantId: newTenant() };
      expect(await store.getFileTree(stranger.tenantId, tree.treeId)).toBeNull();
      expect(await listed(stranger, 1)).toEqual({});
      expect(await store.getFile(stranger.tenantId, tree.treeId, 'a', 1)).toBeNull();
    });

    it('keep what the last commit of a path said, also where many work at once', async () => {
      const tree = await begin();
      await Promise.all(
        Array.from({ length: 40 }, (_, index) =>
          commit(tree, [write('shared', `${index}`), write(`own/${index}`, `${index}`)], null, index % 2 ? store : other),
        ),
      );
      const files = await listed(tree);
      expect(await versionOf(tree)).toBe(41);
      expect(Object.keys(files)).toHaveLength(41);
      const last = await store.getFile(tree.tenantId, tree.treeId, 'shared', 41);
      expect(last?.version).toBe(41);
      expect(await store.getFileTree(tree.tenantId, tree.treeId)).toMatchObject({
        files: 41,
        bytes: 2 * (10 + 60) - (10 + 60) + (last?.bytes ?? 0),
      });
    });

    it('say what came and what went since a version, and hold every older one, as a model does', async () => {
      const path = fc.constantFrom('a', 'a/b', 'a/b/c', 'a/d', 'e', 'a0', 'a-', 'ä/ö');
      const change = fc.oneof(
        fc.record({ path, content: fc.constantFrom('1', '22', '333').map(content) }),
        path.map((each): FileChange => remove(each)),
      );
      const groups = fc.array(fc.array(fc.array(change, { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 4 }), {
        minLength: 1,
        maxLength: 5,
      });
      await fc.assert(
        fc.asyncProperty(groups, async (batches) => {
          const tree = await begin({ 'a/b': 'seed' });
          const model: Record<string, string>[] = [{}, hashes({ 'a/b': 'seed' })];
          for (const batch of batches) {
            await note(tree, batch.flat());
            await Promise.all(batch.map((changes) => commitNoted(tree, changes))); // they share a transaction, in this order
            for (const changes of batch) model.push(applied(model.at(-1) ?? {}, changes));
          }
          const version = model.length - 1;
          expect(await versionOf(tree)).toBe(version);
          for (const [at, files] of model.entries()) expect(await listed(tree, at)).toEqual(files);
          const current = model[version] ?? {};
          expect(await store.getFileTree(tree.tenantId, tree.treeId)).toMatchObject({ files: Object.keys(current).length });
          for (const [after, before] of model.entries()) {
            const range = { after, version };
            const gone = await store.listRemovedFiles(tree.tenantId, tree.treeId, range, { limit: 100 });
            const came = await listed(tree, version, after);
            const rebuilt = { ...before, ...came };
            for (const each of gone.items) delete rebuilt[each];
            expect(rebuilt).toEqual(current);
            expect(gone.items.filter((each) => each in current)).toEqual([]);
          }
        }),
        { numRuns: 15 },
      );
    });

    it('take a change of more paths than are looked for one by one', async () => {
      const tree = await begin({ 'd/0/below': 'x', 'd/1': 'y' });
      await commit(
        tree,
        Array.from({ length: 100 }, (_, index) => write(`d/${index}`, 'z')),
      );
      expect(Object.keys(await listed(tree, undefined, 0, 200))).toHaveLength(100);
      expect(await store.getFileTree(tree.tenantId, tree.treeId)).toMatchObject({ files: 100, bytes: 100 });
    });

    it('have paths as long as tools may write, whatever signs they have [verifies hostile.known.long-names]', async () => {
      // What an index cannot compress.
      const piece = (_: unknown, index: number) => createHash('sha512').update(`${index}`).digest('base64url');
      const path = Array.from({ length: 24 }, piece).join('').slice(0, 2_048);
      const tree = await begin();
      await commit(tree, [write(path, 'x'), write('a', 'y')]);
      expect(await listed(tree, undefined, 0, 1)).toEqual(hashes({ [path]: 'x', a: 'y' }));
    });

    it('are copied for a fork as of a version, and go their own way from there [verifies files.fork]', async () => {
      const tree = await begin({ a: '1' });
      const { tenantId, sessionId } = tree;
      await commit(tree, [write('a', '2'), write('b', '2')]);
      await commit(tree, [remove('a'), write('b', '3')]);
      const run = runRow(tenantId, { sessionId });
      await store.commit({ tenantId, createRun: run, copyFiles: { sessionId, from: { treeId: tree.treeId, version: 2 }, to: run.runId } });
      const fork = { tenantId, treeId: run.runId as string };
      expect(await listed(fork)).toEqual(hashes({ a: '2', b: '2' }));
      expect(await store.getFileTree(tenantId, run.runId)).toMatchObject({ version: 1, files: 2, bytes: 2, sessionId });
      await commit(fork, [write('c', '4')]);
      await commit(tree, [write('d', '5')]);
      expect(await listed(fork)).toEqual(hashes({ a: '2', b: '2', c: '4' }));
      expect(await listed(tree)).toEqual(hashes({ b: '3', d: '5' }));
    });

    it('tell which versions a run made, and which came with it or with later ones', async () => {
      const tree = await begin();
      const { tenantId, sessionId, treeId } = tree;
      const [first, second] = [runRow(tenantId, { sessionId, createdAt: 1_000 }), runRow(tenantId, { sessionId, createdAt: 2_000 })];
      for (const createRun of [first, second]) await store.commit({ tenantId, createRun });
      await commit(tree, [write('a', '1')], first.runId);
      await commit(tree, [write('a', '2')], first.runId);
      await commit(tree, [write('a', '3')], second.runId);
      const last = `call_${calls}`;
      expect(await store.listFileVersions(tenantId, treeId, [last, `call_${calls - 1}`, 'call_none'])).toEqual([3, 4]);
      expect(await store.listFileVersions(tenantId, 'ses_other', [last])).toEqual([]);
      expect(await store.firstFileVersionSince(tenantId, treeId, first)).toBe(2);
      expect(await store.firstFileVersionSince(tenantId, treeId, second)).toBe(4);
      expect(await store.firstFileVersionSince(tenantId, treeId, runRow(tenantId, { sessionId, createdAt: 3_000 }))).toBeNull();
    });
  });

  describe('blobs in the database', () => {
    it('count once for their tenant, and are refused beyond its bound', async () => {
      const tenantId = newTenant();
      const blob = (text: string) => ({ tenantId, sha256: hash(text), bytes: text.length });
      await store.putBlobPiece(tenantId, hash('12345'), 0, 'MTIzNDU=');
      await store.putBlobPiece(tenantId, hash('12345'), 0, 'again');
      expect(await store.hasBlob(tenantId, hash('12345'))).toBe(false);
      expect(await Promise.all([store, other].map((on) => on.finishBlob(blob('12345'), 8)))).toEqual([true, true]);
      expect(await store.hasBlob(tenantId, hash('12345'))).toBe(true);
      expect(await store.getBlobPiece(tenantId, hash('12345'), 0)).toBe('MTIzNDU=');
      expect(await store.finishBlob(blob('6789'), 8)).toBe(false);
      expect(await store.hasBlob(tenantId, hash('6789'))).toBe(false);
      expect(await store.finishBlob(blob('678'), 8)).toBe(true);
      expect(await store.hasBlob(newTenant(), hash('12345'))).toBe(false);
    });
  });
}

/** What the files are after a change: the last word on a path counts, and no file lies where another needs a folder. */
function applied(before: Readonly<Record<string, string>>, changes: readonly FileChange[]): Record<string, string> {
  const files = { ...before };
  for (const { path, content: given } of changes) {
    delete files[path];
    if (given === null) continue;
    for (const each of Object.keys(files)) if (path.startsWith(`${each}/`) || each.startsWith(`${path}/`)) delete files[each];
    files[path] = given.sha256;
  }
  return files;
}
