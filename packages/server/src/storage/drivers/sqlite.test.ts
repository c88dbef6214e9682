import { mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { createManualClock } from '#core/testing';
import { openSqlite } from './sqlite.ts';

/** Files below the folder that this process has open. */
function openFilesIn(folder: string): string[] {
  return readdirSync('/proc/self/fd').flatMap((descriptor) => {
    try {
      const path = readlinkSync(`/proc/self/fd/${descriptor}`);
      return path.startsWith(folder) ? [path] : [];
    } catch {
      return []; // closed meanwhile
    }
  });
}

it.runIf(process.platform === 'linux')('leaves nothing open when the file is no database', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'nexus-sqlite-'));
  const open = () => openSqlite({ dataDir, synchronous: 'NORMAL', clock: createManualClock() });
  try {
    const driver = await open();
    expect(openFilesIn(dataDir)).not.toEqual([]);
    await driver.close();
    expect(openFilesIn(dataDir)).toEqual([]);
    writeFileSync(join(dataDir, 'nexus.db'), 'this is a letter'.repeat(100));
    await expect(open()).rejects.toMatchObject({ code: 'internal' });
    expect(openFilesIn(dataDir)).toEqual([]);
  } finally {
    rmSync(dataDir, { recursive: true, force: true });
  }
});
