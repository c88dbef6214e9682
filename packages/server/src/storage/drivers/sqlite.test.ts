import { copyFileSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { expect, it, vi } from 'vitest';
import { createManualClock } from '#core/testing';
import { databaseNow } from '#storage/program';
import { openSqlite } from './sqlite.ts';

it('leaves nothing open when the file is no database', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'nexus-sqlite-'));
  const closed = vi.spyOn(DatabaseSync.prototype, 'close');
  try {
    writeFileSync(join(dataDir, 'nexus.db'), 'this is a letter'.repeat(100));
    await expect(openSqlite({ dataDir, synchronous: 'NORMAL', timeoutMs: 1_000, clock: createManualClock() })).rejects.toMatchObject({
      code: 'config_invalid',
    });
    expect(closed.mock.contexts.length).toBeGreaterThan(0);
    expect(closed.mock.contexts.filter((database) => (database as DatabaseSync).isOpen)).toEqual([]);
  } finally {
    closed.mockRestore();
    rmSync(dataDir, { recursive: true, force: true });
  }
});

it('takes no change for written once its files were deleted, moved or replaced, until they are back', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'nexus-sqlite-'));
  const path = join(dataDir, 'nexus.db');
  const [log, aside] = [`${path}-wal`, join(dataDir, 'aside')];
  const driver = await openSqlite({ dataDir, synchronous: 'NORMAL', timeoutMs: 1_000, clock: createManualClock() });
  const write = () => driver.write(databaseNow);
  const later = () => new Promise((resolve) => setTimeout(resolve, 120)); // what was seen is believed for a moment
  try {
    await write();
    for (const file of [path, log]) {
      renameSync(file, aside);
      await later();
      const refused = {
        code: 'storage_unavailable',
        message: expect.stringContaining(`${basename(file)} of the database was deleted, moved or replaced`),
      };
      await expect(write()).rejects.toMatchObject(refused);
      copyFileSync(aside, file);
      await expect(write()).rejects.toMatchObject(refused);
      rmSync(file);
      renameSync(aside, file);
      await write();
    }
    rmSync(path);
    await later();
    await expect(write()).rejects.toMatchObject({ code: 'storage_unavailable' });
  } finally {
    await driver.close();
    rmSync(dataDir, { recursive: true, force: true });
  }
});
