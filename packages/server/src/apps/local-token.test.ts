import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { startTestPlatform } from './testing/index.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'nexus-token-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

it('a server whose user has no home that can be written starts, and says where its token is not and where it is', async () => {
  // Where nothing can be made, and a program that makes folder after folder never ends.
  const config = { auth: { local: 'token' }, stateHome: '/proc/none' } as const;
  const platform = await startTestPlatform({ dataDir: folder, config });
  try {
    const path = join(folder, 'local', `${platform.port}.token`);
    expect(existsSync(path)).toBe(true);
    expect(platform.logs).toContainEqual(
      expect.objectContaining({
        level: 'info',
        fields: expect.objectContaining({ folder: '/proc/none/nexus-agent', written: [path] }),
        message: expect.stringContaining('could not be written into one of its folders'),
      }),
    );
  } finally {
    await platform.close();
  }
}, 20_000);
