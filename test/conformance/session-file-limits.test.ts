import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { NexusError } from '../../packages/server/src/core/index.ts';
import { said } from '../../packages/server/src/tools/testing/index.ts';

import { base, beginsAnew, commit, limits, machine, sessionId, store, tenantId } from './session-files-work.ts';

beginsAnew();

describe('limits of session files [verifies files.bounded]', () => {
  const tight = { ...limits, maxFiles: 5, maxBytes: 1_000, maxFileBytes: 600, maxChanged: 4 };

  it('hold for a file, for all of them and for their number, also for calls at the same time', async () => {
    const one = await machine('one', { limits: tight });
    expect(said(await one.write('large', 'x'.repeat(601)))).toMatch(/^payload_too_large: a file may have 600 bytes, "large" has 601/);
    const ends = await Promise.all(Array.from({ length: 9 }, (_, index) => one.write(`part-${index}`, 'x'.repeat(300))));
    const good = ends.filter(({ type }) => type === 'completed');
    expect(good).toHaveLength(3);
    expect(ends.map(said).find((text) => text !== 'wrote')).toMatch(/^payload_too_large: the session may hold 1000 bytes in 5 files/);
    for (const end of good) await commit(end);
    expect(said(await one.write('more', 'x'.repeat(101)))).toMatch(/^payload_too_large/);
    await commit(await one.write('part-0', 'x'));
    await commit(await one.write('more', 'x'.repeat(101)));
    for (const end of await Promise.all([1, 2, 3].map((index) => one.write(`n${index}`, ''))))
      if (end.type === 'completed') await commit(end);
    expect(await store.getFileTree(tenantId, sessionId)).toMatchObject({ files: 5 });
    expect(said(await one.write('n9', ''))).toMatch(/^payload_too_large/);
  });

  it('hold for what a tool leaves in its folder, of which then nothing is kept', async () => {
    const one = await machine('one', { limits: tight });
    await commit(await one.write('a', '1'));
    for (const [action, message] of [
      [(folder: string) => writeFile(join(folder, 'large'), 'x'.repeat(601)), /a file may have 600 bytes/],
      [async (folder: string) => Promise.all([1, 2].map((n) => writeFile(join(folder, `${n}`), 'x'.repeat(550)))), /may hold 1000 bytes/],
      [
        async (folder: string) => Promise.all([1, 2, 3, 4, 5].map((n) => writeFile(join(folder, `${n}`), ''))),
        /one call may change 4 files|in 5 files/,
      ],
      [async (folder: string) => mkdir(join(folder, Array.from({ length: 40 }, () => 'd').join('/')), { recursive: true }), /too deep/],
    ] as const) {
      const end = await one.work(action);
      expect(said(end)).toMatch(message);
      expect(said(end)).toMatch(/^payload_too_large: probe did its work, but the files that it wrote could not be kept/);
      expect(await one.see()).toEqual({ a: '1' });
    }
  });

  it('hold for a path, which an index of the database has to take [verifies hostile.known.long-names]', async () => {
    const long = (bytes: number) => `${`${'b'.repeat(200)}/`.repeat(9)}${'é'.repeat(50)}${'b'.repeat(bytes - 1_909)}`;
    const [fits, longer] = [long(2_048), long(2_049)];
    expect([fits, longer].map((path) => Buffer.byteLength(path))).toEqual([2_048, 2_049]);
    const one = await machine('one');
    await commit(await one.write(fits, '1'));
    const refusal = /^path_not_allowed: .*a path of a file may have 2048 bytes, .* has 2049/;
    expect(said(await one.write(longer, '2'))).toMatch(refusal);
    const folder = longer.slice(0, longer.lastIndexOf('/'));
    const left = await one.work(async (path) => {
      await mkdir(join(path, folder), { recursive: true });
      await writeFile(join(path, longer), '2');
    });
    expect(said(left)).toMatch(/^path_not_allowed: probe did its work, but .* may have 2048 bytes/);
    expect(await one.see()).toEqual({ [fits]: '1' });
    const seed = join(base, 'seed');
    await mkdir(join(seed, folder), { recursive: true });
    await writeFile(join(seed, longer), '2');
    const begun = await machine('seeded', { seedOf: async () => seed });
    await expect(begun.see('run_seeded')).rejects.toThrow(refusal);
  });

  it('forget what was refused, and what was never committed', async () => {
    const one = await machine('one', { limits: tight });
    for (let round = 0; round < 5; round++) {
      const end = await one.call(
        async (_input, { files }) => {
          await files.write('big', Buffer.alloc(600));
          throw new NexusError('tool_failed', 'no');
        },
        { sharesFolder: true },
      );
      expect(said(end)).toMatch(/^tool_failed/);
    }
    expect(said(await one.write('fits', 'x'.repeat(600)))).toBe('wrote');
  });
});
