import { createHash } from 'node:crypto';
import { afterAll, describe, expect, it } from 'vitest';
import { type Blob, type BlobDriver, readBlob } from '../../packages/server/src/storage/index.ts';

export interface BlobSubject {
  readonly name: string;
  open(): Promise<BlobDriver>;
  /** Puts other bytes in the place of the blob's. */
  damage(blob: Blob, bytes: Buffer): Promise<void>;
  close(): Promise<void>;
}

export const blobOf = (content: Buffer, tenantId = 'ten_1'): Blob => ({
  tenantId,
  sha256: createHash('sha256').update(content).digest('hex'),
  bytes: content.byteLength,
});

/** The content in pieces of a size that no driver uses. */
export const piecesOf = (content: Buffer, size = 50_001) =>
  async function* () {
    for (let at = 0; at < content.byteLength; at += size) yield content.subarray(at, at + size);
  };

export async function contentOf(pieces: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const found: Uint8Array[] = [];
  for await (const piece of pieces) found.push(Uint8Array.from(piece));
  return Buffer.concat(found);
}

/** Bytes that repeat nothing, the same each time. */
export function noise(bytes: number): Buffer {
  const parts = Array.from({ length: Math.ceil(bytes / 32) }, (_, index) => createHash('sha256').update(`${bytes} ${index}`).digest());
  return Buffer.concat(parts).subarray(0, bytes);
}

/** What every {@link BlobDriver} must do. */
export function describeBlobs(subject: BlobSubject): void {
  describe(`blobs: ${subject.name}`, () => {
    const opened: BlobDriver[] = [];
    const open = async () => {
      const store = await subject.open();
      opened.push(store);
      return store;
    };
    afterAll(async () => {
      await Promise.all(opened.map((store) => store.close()));
      await subject.close();
    });

    it('gives to one process what another one put, whatever its size', async () => {
      const [writer, reader] = [await open(), await open()];
      for (const size of [0, 1, 192 * 1024, 192 * 1024 + 1, 1_000_000]) {
        const content = noise(size);
        await writer.put(blobOf(content), piecesOf(content));
        expect((await contentOf(readBlob(reader, blobOf(content)))).equals(content)).toBe(true);
      }
    });

    it('takes the same again, also at once, and reads none of it a second time', async () => {
      const store = await open();
      const content = noise(300_000);
      await Promise.all([1, 2, 3].map(() => store.put(blobOf(content), piecesOf(content))));
      await store.put(blobOf(content), () => {
        throw new Error('it was read');
      });
      expect((await contentOf(readBlob(store, blobOf(content)))).equals(content)).toBe(true);
    });

    it('keeps nothing under a hash that is not its own', async () => {
      const store = await open();
      for (const [claimed, given] of [
        [noise(400_000), noise(400_001)],
        [noise(500), Buffer.alloc(500)],
        [noise(501), noise(501).subarray(1)],
      ] as const) {
        await expect(store.put(blobOf(claimed), piecesOf(given))).rejects.toThrow();
        await expect(contentOf(readBlob(store, blobOf(claimed)))).rejects.toMatchObject({ code: 'not_found' });
      }
    });

    it('knows nothing of another tenant', async () => {
      const store = await open();
      const content = Buffer.from('secret');
      await store.put(blobOf(content), piecesOf(content));
      await expect(contentOf(readBlob(store, blobOf(content, 'ten_2')))).rejects.toMatchObject({ code: 'not_found' });
    });

    it('never gives the whole of what has been changed where it is kept [verifies files.blobs]', async () => {
      const store = await open();
      for (const [content, damaged] of [
        [noise(600_000), Buffer.alloc(600_000)],
        [noise(1_001), noise(1_001).subarray(1)],
        [noise(1_002), Buffer.concat([noise(1_002), Buffer.from('more')])],
      ] as const) {
        await store.put(blobOf(content), piecesOf(content));
        await subject.damage(blobOf(content), damaged);
        let given = 0;
        const reading = (async () => {
          for await (const piece of readBlob(store, blobOf(content))) given += piece.byteLength;
        })();
        await expect(reading).rejects.toMatchObject({ code: 'storage_unavailable' });
        expect(given).toBeLessThan(content.byteLength);
      }
    });

    it('stops when it is told to, and leaves no part behind', async () => {
      const store = await open();
      const content = noise(700_000);
      const stopped = AbortSignal.abort();
      await expect(store.put(blobOf(content), piecesOf(content), stopped)).rejects.toMatchObject({ code: 'cancelled' });
      const controller = new AbortController();
      const pieces = async function* () {
        yield content.subarray(0, 350_000);
        controller.abort();
        yield content.subarray(350_000);
      };
      await expect(store.put(blobOf(content), pieces, controller.signal)).rejects.toMatchObject({ code: 'cancelled' });
      await expect(contentOf(readBlob(store, blobOf(content)))).rejects.toMatchObject({ code: 'not_found' });
      await store.put(blobOf(content), piecesOf(content));
      await expect(contentOf(readBlob(store, blobOf(content), stopped))).rejects.toMatchObject({ code: 'cancelled' });
    });

    it('removes what is there, what was never whole, and what is not there', async () => {
      const store = await open();
      const [whole, part] = [noise(250_000), noise(450_000)];
      await store.put(blobOf(whole), piecesOf(whole));
      const broken = async function* () {
        yield part.subarray(0, 300_000);
        throw new Error('the source broke off');
      };
      await expect(store.put(blobOf(part), broken)).rejects.toThrow();
      for (const content of [whole, part, noise(7)]) {
        await store.remove(blobOf(content));
        await expect(contentOf(readBlob(store, blobOf(content)))).rejects.toMatchObject({ code: 'not_found' });
      }
      await store.put(blobOf(whole), piecesOf(whole));
      expect((await contentOf(readBlob(store, blobOf(whole)))).equals(whole)).toBe(true);
      await expect(store.remove(blobOf(whole), AbortSignal.abort())).rejects.toMatchObject({ code: 'cancelled' });
    });

    it('says that it works', async () => {
      const store = await open();
      await store.check();
      await store.check();
    });
  });
}
