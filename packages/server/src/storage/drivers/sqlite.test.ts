import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { expect, it, vi } from 'vitest';
import { createManualClock } from '#core/testing';
import { openSqlite } from './sqlite.ts';

it('leaves nothing open when the file is no database', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'nexus-sqlite-'));
  const closed = vi.spyOn(DatabaseSync.prototype, 'close');
  try {
    writeFileSync(join(dataDir, 'nexus.db'), 'this is a letter'.repeat(100));
    await expect(openSqlite({ dataDir, synchronous: 'NORMAL', timeoutMs: 1_000, clock: createManualClock() })).rejects.toMatchObject({
      code: 'config_invalid',
    });
    expect(closed).toHaveBeenCalledTimes(1);
  } finally {
    closed.mockRestore();
    rmSync(dataDir, { recursive: true, force: true });
  }
});
