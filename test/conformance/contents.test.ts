import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SessionId, TenantId } from '@nexus-agent/protocol';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock, systemTimers } from '../../packages/server/src/core/index.ts';
import { createManualClock } from '../../packages/server/src/core/testing/index.ts';
import {
  createDatabaseBlobs,
  createKeptBlobs,
  createS3Blobs,
  type KeptBlobs,
  openFolderBlobs,
} from '../../packages/server/src/storage/blobs/index.ts';
import { type Blob, type BlobDriver, type Removal, readBlob, type Store } from '../../packages/server/src/storage/index.ts';
import { startS3Server } from '../support/s3-server.ts';
import { execute } from '../support/sql.ts';
import { ids, newTenant, postgresSubject, type StoreSubject, sessionRow, sqliteSubject } from '../support/stores.ts';
import { verifies } from '../support/verifies.ts';
import { blobOf, contentOf, piecesOf } from './blobs.ts';

const day = 86_400_000;
const removingMs = 300_000;
type OpenDriver = (store: Store) => Promise<BlobDriver>;

/** Contents go when nobody needs them, and never before: over each place where blobs are kept. */
function describeContents(name: string, subject: StoreSubject, openDriver: OpenDriver, close: () => Promise<void>): void {
  describe(`contents of files: ${name}`, () => {
    const stores: Store[] = [];
    let store: Store;
    let driver: BlobDriver;
    beforeAll(async () => {
      stores.push(await subject.open(), await subject.open());
      store = stores[0] as Store; // pushed above
      driver = await openDriver(store);
    });
    afterAll(async () => {
      await driver.close();
      await close();
      await Promise.all(stores.map((each) => each.close()));
      await subject.close();
    });
    const processOn = (at: number, wrapped: BlobDriver = driver, clock = systemClock): KeptBlobs =>
      createKeptBlobs({ driver: wrapped, store: stores[at] as Store, clock, timers: systemTimers, keepMs: day });

    async function treeOf(tenantId: TenantId): Promise<string> {
      const sessionId = ids.next<SessionId>('session');
      await store.commit({ tenantId, sessions: [sessionRow(tenantId, { sessionId })] });
      await store.beginFileTree(tenantId, { treeId: sessionId, sessionId }, []);
      return sessionId;
    }
    let calls = 0;
    async function commit(tenantId: TenantId, treeId: string, blob: Blob): Promise<void> {
      calls += 1;
      const content = { sha256: blob.sha256, bytes: blob.bytes, executable: false };
      const changes = [{ path: `f${calls}`, content }];
      await store.commit({ tenantId, files: [{ treeId, runId: null, callId: `call_${calls}`, changes }] });
    }
    const isThere = async (blob: Blob) =>
      contentOf(readBlob(driver, blob)).then(
        () => true,
        (error: { code?: string }) => {
          if (error.code === 'not_found') return false;
          throw error;
        },
      );
    /** Lets a day pass for what is noted of a tenant. */
    const pass = (tenantId: TenantId, days = 1) =>
      execute(subject.location, `update removals set at = at - ${days * day} where tenant_id = '${tenantId}'`);
    const removalsOf = async (tenantId: TenantId) =>
      (await store.listRemovals(Date.now(), 10_000)).filter((removal) => removal.tenantId === tenantId);
    async function sweep(tenantId: TenantId, by: KeptBlobs) {
      const outcomes: string[] = [];
      for (const removal of await removalsOf(tenantId)) outcomes.push(await by.removeContent(removal, AbortSignal.timeout(20_000)));
      return outcomes;
    }

    it(`go when they were put and never named, and not before their time ${verifies('files.contents')}`, async () => {
      const tenantId = newTenant();
      const content = Buffer.from('nobody names it');
      const blob = blobOf(content, tenantId);
      const blobs = processOn(0);
      await blobs.put(blob, piecesOf(content));
      expect(await sweep(tenantId, blobs)).toEqual([]);
      await pass(tenantId, 0.9);
      expect(await sweep(tenantId, blobs)).toEqual([]);
      // Whoever puts it again, by another process too, has it for as long again.
      await processOn(1).put(blob, piecesOf(content));
      await pass(tenantId, 0.9);
      expect(await sweep(tenantId, blobs)).toEqual([]);
      await pass(tenantId, 0.2);
      expect(await store.countContents(tenantId, 10)).toMatchObject({ count: 1 });
      expect(await store.countContents(newTenant(), 10)).toMatchObject({ count: 0 });
      expect(await sweep(tenantId, processOn(1))).toEqual(['removed']);
      expect(await isThere(blob)).toBe(false);
      expect(await store.countContents(tenantId, 10)).toMatchObject({ count: 0 });
      expect(await sweep(tenantId, blobs)).toEqual([]);
      await processOn(0).put(blob, piecesOf(content));
      expect(await isThere(blob)).toBe(true);
    });

    it(`stay for as long as whoever puts them asks, though no file names them ${verifies('code.kept')}`, async () => {
      const tenantId = newTenant();
      const content = Buffer.from('what a program goes on from');
      const blob = blobOf(content, tenantId);
      await processOn(0).put(blob, piecesOf(content), undefined, 10 * day);
      // Another one that needs it for less does not have it go earlier.
      await processOn(1).put(blob, piecesOf(content));
      await pass(tenantId, 10);
      expect(await sweep(tenantId, processOn(1))).toEqual([]);
      expect(await isThere(blob)).toBe(true);
      await pass(tenantId, 11);
      expect(await sweep(tenantId, processOn(1))).toEqual(['removed']);
    });

    it(`are named by nobody once they were taken, whenever that was and whatever clocks say ${verifies('files.contents')}`, async () => {
      const tenantId = newTenant();
      const content = Buffer.from('put before the clock was set');
      const blob = blobOf(content, tenantId);
      const [slow, sweeper] = [processOn(0), processOn(1)];
      const treeId = await treeOf(tenantId);
      await slow.put(blob, piecesOf(content));
      await pass(tenantId, 2);
      const due = await removalsOf(tenantId);
      // While it is being removed, and once it is gone.
      expect(await store.takeContent(due[0] as Removal, 300_000)).toBe('taken');
      await expect(commit(tenantId, treeId, blob)).rejects.toMatchObject({ code: 'storage_unavailable' });
      expect(await store.touchContent(blob, day, 300_000)).toBeNull(); // somebody waits for it to be gone
      await expect(commit(tenantId, treeId, blob)).rejects.toMatchObject({ code: 'storage_unavailable' });
      await pass(tenantId, 1);
      expect(await sweep(tenantId, sweeper)).toEqual(['removed']);
      await expect(commit(tenantId, treeId, blob)).rejects.toMatchObject({ code: 'storage_unavailable' });
      // A process that puts it again may name it.
      await processOn(0).put(blob, piecesOf(content));
      await commit(tenantId, treeId, blob);
      expect(await isThere(blob)).toBe(true);
      // What a file has is there without a note.
      await pass(tenantId, 2);
      expect(await sweep(tenantId, sweeper)).toEqual(['kept']);
      await commit(tenantId, treeId, blob);
    });

    it(`stay as long as any file of any version has them, and go a day after the last ${verifies('files.contents')}`, async () => {
      const [tenantId, other] = [newTenant(), newTenant()];
      const content = Buffer.from('shared by two sessions');
      const blob = blobOf(content, tenantId);
      const blobs = processOn(0);
      const trees = [await treeOf(tenantId), await treeOf(tenantId)];
      for (const treeId of trees) {
        await blobs.put(blob, piecesOf(content));
        await commit(tenantId, treeId, blob);
      }
      // What another tenant has is another blob.
      await blobs.put(blobOf(content, other), piecesOf(content));
      await pass(tenantId, 2);
      expect(await store.countContents(tenantId, 10)).toMatchObject({ count: 0 });
      expect(await sweep(tenantId, blobs)).toEqual(['kept']);
      for (const [index, id] of trees.entries()) {
        const removal = { tenantId, kind: 'session', id } as const;
        while (await store.removeSome(removal, 1, day));
        await pass(tenantId, 0.9);
        expect(await sweep(tenantId, blobs), `${index}`).toEqual([]);
        expect(await isThere(blob)).toBe(true);
        await pass(tenantId, 0.2);
        expect(await sweep(tenantId, blobs), `${index}`).toEqual(index === 0 ? ['kept'] : ['removed']);
      }
      expect(await isThere(blob)).toBe(false);
      expect(await isThere(blobOf(content, other))).toBe(true);
    });

    it(`are never removed under a process that writes the same at that moment ${verifies('files.contents')}`, async () => {
      const tenantId = newTenant();
      const treeId = await treeOf(tenantId);
      const outcomes = new Map<string, number>();
      const moment = () => new Promise<void>((resolve) => setTimeout(resolve, Math.random() * 4));
      const slow: BlobDriver = {
        ...driver,
        async put(...given) {
          await moment();
          await driver.put(...given);
          await moment();
        },
        async remove(...given) {
          await moment();
          await driver.remove(...given);
          await moment();
        },
      };
      for (let round = 0; round < 6; round++) {
        const contents = Array.from({ length: 10 }, (_, index) => Buffer.from(`${round} ${index}`));
        for (const content of contents) await processOn(0).put(blobOf(content, tenantId), piecesOf(content));
        await pass(tenantId, 2);
        const due = await removalsOf(tenantId);
        const [writer, remover] = [processOn(0, slow), processOn(1, slow)];
        await Promise.all([
          ...contents.map(async (content) => {
            await moment();
            await writer.put(blobOf(content, tenantId), piecesOf(content));
            await commit(tenantId, treeId, blobOf(content, tenantId));
          }),
          ...due.map(async (removal) => {
            await moment();
            const outcome = await remover.removeContent(removal, AbortSignal.timeout(20_000));
            outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
          }),
        ]);
        for (const content of contents) expect(await isThere(blobOf(content, tenantId)), String(content)).toBe(true);
      }
      // Both went first, or the test shows nothing.
      expect([...outcomes.keys()].sort()).toEqual(['kept', 'removed']);
    });

    it(`whose remover is lost are removed by another later, and written by who needs them ${verifies('files.contents')}`, async () => {
      const tenantId = newTenant();
      const [content, wanted] = [Buffer.from('left half way'), Buffer.from('left half way, and needed')];
      for (const each of [content, wanted]) await processOn(0).put(blobOf(each, tenantId), piecesOf(each));
      await pass(tenantId, 2);
      for (const removal of await removalsOf(tenantId)) expect(await store.takeContent(removal, removingMs)).toBe('taken');
      expect(await sweep(tenantId, processOn(1))).toEqual(['busy', 'busy']);
      const stopped = processOn(1).put(blobOf(wanted, tenantId), piecesOf(wanted), AbortSignal.timeout(300));
      await expect(stopped).rejects.toMatchObject({ code: 'cancelled' });
      await pass(tenantId, 0.1);
      await processOn(1).put(blobOf(wanted, tenantId), piecesOf(wanted));
      expect(await sweep(tenantId, processOn(1))).toEqual(['removed']);
      expect([await isThere(content && blobOf(content, tenantId)), await isThere(blobOf(wanted, tenantId))]).toEqual([false, true]);
    });

    it('are left alone by a remover that stood still, and noted until they are really gone', async () => {
      const tenantId = newTenant();
      const content = Buffer.from('stood still');
      await processOn(0).put(blobOf(content, tenantId), piecesOf(content));
      await pass(tenantId, 2);
      const [removal] = await removalsOf(tenantId);
      if (removal === undefined) throw new Error('nothing is due');
      const clock = createManualClock(Date.now());
      const paused = createKeptBlobs({
        driver,
        store: {
          ...store,
          async takeContent(...given) {
            const taken = await store.takeContent(...given);
            clock.advance(removingMs);
            return taken;
          },
        },
        clock,
        timers: systemTimers,
        keepMs: day,
      });
      expect(await paused.removeContent(removal, AbortSignal.timeout(20_000))).toBe('busy');
      expect(await isThere(blobOf(content, tenantId))).toBe(true);
      await pass(tenantId, 0.1);
      const failing = processOn(0, { ...driver, remove: () => Promise.reject(new Error('the disk is gone')) });
      await expect(sweep(tenantId, failing)).rejects.toThrow('the disk is gone');
      expect(await store.countContents(tenantId, 10)).toMatchObject({ count: 1 });
      await pass(tenantId, 0.1);
      expect(await sweep(tenantId, processOn(0))).toEqual(['removed']);
      expect(await isThere(blobOf(content, tenantId))).toBe(false);
    });
  });
}

const folder = mkdtempSync(join(tmpdir(), 'nexus-contents-'));
const limits = { maxBlobBytes: 2_000_000, maxTenantBytes: 50_000_000 };
const nothing = async () => undefined;
describeContents(
  'a folder',
  sqliteSubject(),
  () => openFolderBlobs(folder),
  async () => rmSync(folder, { recursive: true }),
);
describeContents('sqlite', sqliteSubject(), async (table) => createDatabaseBlobs({ table, ...limits }), nothing);
for (const place of ['postgres', 's3'] as const) {
  const subject = await postgresSubject();
  if ('reason' in subject) {
    describe(`contents of files: ${place}`, () => it.skip(`not run: ${subject.reason}`));
  } else if (place === 'postgres') {
    describeContents(place, subject, async (table) => createDatabaseBlobs({ table, ...limits }), nothing);
  } else {
    const { url: endpoint, ...server } = await startS3Server();
    const options = { ...server, endpoint, prefix: 'x', timeoutMs: 5_000, clock: systemClock, timers: systemTimers };
    describeContents(place, subject, async () => createS3Blobs(options), server.close);
  }
}
