import { chmodSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { systemClock, systemTimers } from '../../packages/server/src/core/index.ts';
import { createDatabaseBlobs, createS3Blobs, openFolderBlobs } from '../../packages/server/src/storage/blobs/index.ts';
import { readBlob, type Store } from '../../packages/server/src/storage/index.ts';
import { type S3Server, startS3Server } from '../support/s3-server.ts';
import { execute } from '../support/sql.ts';
import { postgresSubject, type StoreSubject, sqliteSubject } from '../support/stores.ts';
import { blobOf, contentOf, describeBlobs, noise, piecesOf } from './blobs.ts';

/** As the driver for databases has it. */
const pieceBytes = 192 * 1024;
const folder = mkdtempSync(join(tmpdir(), 'nexus-blobs-'));
const pathOf = ({ tenantId, sha256 }: ReturnType<typeof blobOf>) => join(folder, tenantId, sha256.slice(0, 2), sha256);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describeBlobs({
  name: 'folder',
  open: () => openFolderBlobs(folder),
  async damage(blob, bytes) {
    chmodSync(pathOf(blob), 0o600);
    writeFileSync(pathOf(blob), bytes);
  },
  close: async () => undefined,
});

function describeDatabase(subject: StoreSubject): void {
  const stores: Store[] = [];
  const open = async (limits = { maxBlobBytes: 2_000_000, maxTenantBytes: 50_000_000 }) => {
    const table = await subject.open();
    stores.push(table);
    return createDatabaseBlobs({ table, ...limits });
  };
  describeBlobs({
    name: subject.name,
    open,
    async damage({ tenantId, sha256 }, bytes) {
      const where = `tenant_id = '${tenantId}' and sha256 = '${sha256}'`;
      await execute(subject.location, `delete from blob_pieces where ${where}`);
      for (let at = 0; at < bytes.byteLength; at += pieceBytes) {
        const data = bytes.subarray(at, at + pieceBytes).toString('base64');
        await execute(subject.location, `insert into blob_pieces values ('${tenantId}', '${sha256}', ${at / pieceBytes}, '${data}')`);
      }
    },
    async close() {
      await Promise.all(stores.map((store) => store.close()));
      await subject.close();
    },
  });
}

describeDatabase(sqliteSubject());
const postgres = await postgresSubject();
if ('reason' in postgres) describe('blobs: postgres', () => it.skip(`not run: ${postgres.reason}`));
else describeDatabase(postgres);

const s3Options = ({ url, bucket, region, accessKeyId, secretAccessKey }: S3Server) => ({
  ...{ endpoint: url, bucket, region, accessKeyId, secretAccessKey },
  ...{ prefix: 'nexus/files', timeoutMs: 300, clock: systemClock, timers: systemTimers },
});
let conforming: S3Server | undefined;
describeBlobs({
  name: 's3',
  async open() {
    conforming ??= await startS3Server();
    return createS3Blobs(s3Options(conforming));
  },
  async damage({ tenantId, sha256 }, bytes) {
    conforming?.objects.set(`nexus/files/${tenantId}/${sha256.slice(0, 2)}/${sha256}`, bytes);
  },
  close: async () => conforming?.close(),
});

describe('blobs: the folder', () => {
  it('removes what a process that was killed had begun, and not what one may still write', async () => {
    const unfinished = join(folder, 'unfinished');
    for (const name of ['old', 'new']) writeFileSync(join(unfinished, name), 'x');
    utimesSync(join(unfinished, 'old'), new Date(), new Date(Date.now() - 2 * 60 * 60_000));
    await openFolderBlobs(folder);
    expect(readdirSync(unfinished)).toEqual(['new']);
  });

  it('says where it lies when it cannot be used', async () => {
    writeFileSync(join(folder, 'a-file'), '');
    await expect(openFolderBlobs(join(folder, 'a-file'))).rejects.toMatchObject({ code: 'storage_unavailable', message: /a-file/ });
  });
});

describe('blobs: the database', () => {
  it('refuses what is larger than it may be, and what is more than a tenant may have [verifies files.bounded]', async () => {
    const subject = sqliteSubject();
    const table = await subject.open();
    const blobs = createDatabaseBlobs({ table, maxBlobBytes: 1_000, maxTenantBytes: 1_500 });
    const put = (size: number, tenantId = 'ten_1') => blobs.put(blobOf(noise(size), tenantId), piecesOf(noise(size)));
    await expect(put(1_001)).rejects.toMatchObject({ code: 'payload_too_large', message: /maxBlobBytes/ });
    await put(1_000);
    await expect(put(501)).rejects.toMatchObject({ code: 'payload_too_large', message: /maxTenantBytes/ });
    expect(await execute(subject.location, 'select count(distinct sha256) as n from blob_pieces')).toEqual([{ n: 1 }]);
    await put(1_000);
    await put(500);
    await put(501, 'ten_2');
    // What is removed gives its room back, once.
    for (const size of [1_000, 1_000, 500]) await blobs.remove(blobOf(noise(size)));
    await put(999);
    await put(501);
    await expect(put(1)).rejects.toMatchObject({ code: 'payload_too_large' });
    expect(await execute(subject.location, 'select bytes from blob_usage order by tenant_id')).toEqual([{ bytes: 1_500 }, { bytes: 501 }]);
    await table.close();
    await subject.close();
  });
});

describe('blobs: a server that speaks S3 and misbehaves', () => {
  let server: S3Server;
  let blobs: ReturnType<typeof createS3Blobs>;
  beforeAll(async () => {
    server = await startS3Server();
    blobs = createS3Blobs(s3Options(server));
  });
  afterAll(async () => {
    await blobs.close();
    await server.close();
  });
  beforeEach(() => {
    server.requests.length = 0;
    server.ignoresRanges = false;
  });
  let sizes = 200_000;
  async function kept(): Promise<Buffer> {
    sizes += 1;
    const content = noise(sizes);
    await blobs.put(blobOf(content), piecesOf(content));
    server.requests.length = 0;
    return content;
  }
  const count = (method: string) => server.requests.filter((request) => request.startsWith(method)).length;

  it('is asked again after an error of its own, a connection that ended, and silence', async () => {
    sizes += 1;
    const content = noise(sizes);
    server.fail('HEAD', { type: 'status', status: 500 });
    server.fail('HEAD', { type: 'silent' });
    server.fail('PUT', { type: 'status', status: 503, code: 'SlowDown' });
    server.fail('PUT', { type: 'hang-up' });
    server.fail('PUT', { type: 'silent' });
    await blobs.put(blobOf(content), piecesOf(content));
    expect([count('HEAD'), count('PUT')]).toEqual([3, 4]);
    server.fail('GET', { type: 'status', status: 500 });
    server.fail('GET', { type: 'hang-up' });
    expect((await contentOf(readBlob(blobs, blobOf(content)))).equals(content)).toBe(true);
    expect(count('GET')).toBe(3);
  });

  it('is given up after a few attempts, and the error may pass', async () => {
    const content = await kept();
    server.fail('GET', { type: 'status', status: 500 }, 4);
    await expect(contentOf(readBlob(blobs, blobOf(content)))).rejects.toMatchObject({
      code: 'storage_unavailable',
      retryable: true,
      message: /bucket files at 127.0.0.1.*500/,
    });
    expect(count('GET')).toBe(4);
    expect((await contentOf(readBlob(blobs, blobOf(content)))).equals(content)).toBe(true);
  });

  it('is asked for the rest of what it cut, stalled in or gave slowly', async () => {
    for (const type of ['cut', 'stall', 'slow'] as const) {
      for (const ignoresRanges of [false, true]) {
        const content = await kept();
        server.ignoresRanges = ignoresRanges;
        server.fail('GET', { type });
        expect((await contentOf(readBlob(blobs, blobOf(content)))).equals(content), type).toBe(true);
        expect(count('GET')).toBe(type === 'slow' ? 1 : 2);
      }
    }
  });

  it('is not believed when it gives other bytes [verifies files.blobs]', async () => {
    const content = await kept();
    server.fail('GET', { type: 'wrong' });
    await expect(contentOf(readBlob(blobs, blobOf(content)))).rejects.toMatchObject({ code: 'storage_unavailable', retryable: false });
    expect((await contentOf(readBlob(blobs, blobOf(content)))).equals(content)).toBe(true);
  });

  it('is not asked again what it refuses, and the refusal is told', async () => {
    const wrongKey = createS3Blobs({ ...s3Options(server), secretAccessKey: 'another' });
    await expect(wrongKey.check()).rejects.toMatchObject({
      code: 'storage_unavailable',
      retryable: false,
      message: /403 SignatureDoesNotMatch/,
    });
    const wrongBucket = createS3Blobs({ ...s3Options(server), bucket: 'missing' });
    await expect(wrongBucket.check()).rejects.toMatchObject({ retryable: false, message: /bucket missing .*404 NoSuchBucket/ });
    await Promise.all([wrongKey.close(), wrongBucket.close()]);
    expect(server.requests.map((request) => request.split(' ')[0])).toEqual(['HEAD', 'PUT', 'HEAD', 'PUT']);
  });

  it('keeps a base path, and a hash that was changed on the way is refused by the server', async () => {
    const content = noise(2_000);
    server.fail('PUT', { type: 'status', status: 400, code: 'XAmzContentSHA256Mismatch' });
    await expect(blobs.put(blobOf(content), piecesOf(content))).rejects.toMatchObject({ message: /XAmzContentSHA256Mismatch/ });
  });

  it('that tells nobody what is missing is put to all the same', async () => {
    sizes += 1;
    const content = noise(sizes);
    server.fail('HEAD', { type: 'status', status: 403, code: 'AccessDenied' });
    await blobs.put(blobOf(content), piecesOf(content));
    expect((await contentOf(readBlob(blobs, blobOf(content)))).equals(content)).toBe(true);
  });

  it('does not hold up who stops waiting for it', async () => {
    const content = await kept();
    const slow = createS3Blobs({ ...s3Options(server), timeoutMs: 60_000 });
    server.fail('GET', { type: 'stall' });
    const controller = new AbortController();
    const reading = contentOf(readBlob(slow, blobOf(content), controller.signal));
    setTimeout(() => controller.abort(), 50);
    await expect(reading).rejects.toMatchObject({ code: 'cancelled' });
    server.fail('HEAD', { type: 'silent' });
    const putting = new AbortController();
    setTimeout(() => putting.abort(), 50);
    await expect(slow.put(blobOf(noise(3)), piecesOf(noise(3)), putting.signal)).rejects.toMatchObject({ code: 'cancelled' });
    await slow.close();
  });
});
