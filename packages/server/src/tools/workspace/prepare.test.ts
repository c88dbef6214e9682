import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { prepareWorkspace } from './prepare.ts';

let base: string;

beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), 'nexus-prepare-'));
});
afterEach(() => rm(base, { recursive: true, force: true }));

it('makes a folder that only this user can open', async () => {
  const path = await prepareWorkspace({ root: join(base, 'a', 'b'), sessionId: 'ses_1' });
  expect(path).toBe(join(base, 'a', 'b', 'ses_1'));
  expect((await stat(path)).mode & 0o777).toBe(0o700);
});

it('copies the regular files of the seed and nothing that is behind a link', async () => {
  const seed = join(base, 'seed');
  await mkdir(join(seed, 'docs', 'empty'), { recursive: true });
  await writeFile(join(seed, 'docs', 'a.md'), 'a'.repeat(200_000));
  await symlink('/etc/passwd', join(seed, 'passwd'));
  await symlink('/etc', join(seed, 'etc'));
  const path = await prepareWorkspace({ root: join(base, 'root'), sessionId: 'ses_1', seedFrom: seed });
  expect((await readdir(path, { recursive: true })).sort()).toEqual(['docs', 'docs/a.md', 'docs/empty']);
  expect((await readFile(join(path, 'docs/a.md'))).length).toBe(200_000);
});

it('leaves an existing workspace alone, also when several prepare it at once', async () => {
  const seed = join(base, 'seed');
  await mkdir(seed);
  await writeFile(join(seed, 'a'), 'seed');
  const options = { root: join(base, 'root'), sessionId: 'ses_1', seedFrom: seed };
  const paths = await Promise.all(Array.from({ length: 8 }, () => prepareWorkspace(options)));
  await writeFile(join(paths[0] ?? '', 'a'), 'changed');
  await prepareWorkspace(options);
  expect(await readFile(join(options.root, 'ses_1', 'a'), 'utf8')).toBe('changed');
  expect(await readdir(options.root)).toEqual(['ses_1']);
});

it('leaves nothing behind when the seed is refused', async () => {
  const seed = join(base, 'seed');
  await mkdir(seed);
  await writeFile(join(seed, 'a'), 'x'.repeat(2_000));
  const options = { root: join(base, 'root'), sessionId: 'ses_1', seedFrom: seed };
  await expect(prepareWorkspace({ ...options, maxSeedBytes: 1_000 })).rejects.toMatchObject({ code: 'payload_too_large' });
  await writeFile(join(seed, 'b'), '');
  await expect(prepareWorkspace({ ...options, maxSeedFiles: 1 })).rejects.toMatchObject({ code: 'payload_too_large' });
  expect(await readdir(options.root)).toEqual([]);
});

it('refuses an id that is no folder name, and a folder that is a link', async () => {
  for (const sessionId of ['../x', '', '.', 'a/b', 'a\0']) {
    await expect(prepareWorkspace({ root: base, sessionId })).rejects.toMatchObject({ code: 'path_not_allowed' });
  }
  await mkdir(join(base, 'elsewhere'));
  await symlink(join(base, 'elsewhere'), join(base, 'ses_1'));
  await expect(prepareWorkspace({ root: base, sessionId: 'ses_1' })).rejects.toMatchObject({ code: 'path_not_allowed' });
});
