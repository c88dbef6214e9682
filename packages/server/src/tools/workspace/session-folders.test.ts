import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createSessionFolders } from './session-folders.ts';

let root: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'nexus-folders-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

it('keeps the folders of tenants apart', async () => {
  const folderOf = createSessionFolders({ root });
  const folders = await Promise.all(['ten_1', 'ten_2'].map((tenant) => folderOf(tenant, 'ses_1')));
  expect(folders).toEqual(['ten_1', 'ten_2'].map((tenant) => join(root, tenant, 'ses_1')));
  expect((await stat(folders[0] ?? '')).isDirectory()).toBe(true);
});

it('tries again after a folder could not be made', async () => {
  const folderOf = createSessionFolders({ root });
  await writeFile(join(root, 'ten_1'), 'in the way');
  await expect(folderOf('ten_1', 'ses_1')).rejects.toThrow();
  await rm(join(root, 'ten_1'));
  expect(await folderOf('ten_1', 'ses_1')).toBe(join(root, 'ten_1', 'ses_1'));
});
