import { expect, it } from 'vitest';
import { createSpaceKeeper, type DiskRoom } from './disk-space.ts';

const mebibyte = 1024 * 1024;
function keeper(room: Partial<DiskRoom>, keepFreeBytes?: number) {
  let now = 0;
  const disk = { freeBytes: 1_000 * mebibyte, allBytes: 10_000 * mebibyte, freeFiles: 5_000, allFiles: 100_000, ...room };
  const space = createSpaceKeeper({ folder: '/data', keepFreeBytes, clock: { monotonic: () => now }, look: async () => ({ ...disk }) });
  const later = () => {
    now += 1_000;
  };
  return { disk, space, later };
}

it('leaves the room that is set, and takes files again when there is more [verifies hostile.shares.disk]', async () => {
  const { disk, space, later } = keeper({ freeBytes: 1_500 }, 1_000);
  await expect(space.require(500)).resolves.toBeUndefined();
  // What was granted counts before it is on the disk.
  await expect(space.require(1)).rejects.toMatchObject({
    code: 'quota_exceeded',
    message: expect.stringMatching(
      /no room for 1 more bytes .* 1000 bytes of the disk are kept free for the database \(tools\.files\.keepFreeBytes\)/,
    ),
  });
  disk.freeBytes = 5_000;
  later();
  await expect(space.require(4_000)).resolves.toBeUndefined();
  await expect(space.require(1)).rejects.toMatchObject({ code: 'quota_exceeded' });
});

it('leaves 512 MiB, or a tenth of a small disk', async () => {
  await expect(keeper({ freeBytes: 500 * mebibyte }).space.require(1)).rejects.toMatchObject({ details: { limit: 512 * mebibyte } });
  const small = { allBytes: 60 * mebibyte, freeBytes: 10 * mebibyte };
  await expect(keeper(small).space.require(4 * mebibyte)).resolves.toBeUndefined();
  await expect(keeper(small).space.require(5 * mebibyte)).rejects.toMatchObject({ details: { limit: 6 * mebibyte } });
});

it('leaves names of files as well, where the disk has a number of them', async () => {
  await expect(keeper({ freeFiles: 1_000 }).space.require(0)).rejects.toThrow(/hardly any more files/);
  await expect(keeper({ freeFiles: 1_001 }).space.require(0)).resolves.toBeUndefined();
  await expect(keeper({ freeFiles: 0, allFiles: 0 }).space.require(0)).resolves.toBeUndefined();
});
