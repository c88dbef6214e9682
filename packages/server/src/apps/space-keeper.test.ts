import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createSpaceKeepers, type DiskRoom, type SpaceKeeper, type SpaceKeepersOptions } from './space-keeper.ts';

/** Opened when it is first asked. */
function onOneDisk(options: SpaceKeepersOptions): SpaceKeeper {
  const opened = createSpaceKeepers({ ...options, diskOf: async () => 1 })('/data');
  return { writing: async (write) => (await opened).writing(write) };
}

const mebibyte = 1024 * 1024;
function keeper(room: Partial<DiskRoom>, keepFreeBytes?: number) {
  let now = 0;
  const disk = { freeBytes: 10_000 * mebibyte, allBytes: 100_000 * mebibyte, freeFiles: 5_000, allFiles: 100_000, ...room };
  let looks = 0;
  const space = onOneDisk({
    keepFreeBytes,
    clock: { monotonic: () => now },
    look: async () => {
      looks += 1;
      return { ...disk };
    },
  });
  return {
    disk,
    space,
    require: (bytes: number) => space.writing((require) => require(bytes)),
    looks: () => looks,
    later: () => {
      now += 1_000;
    },
  };
}
const refused = { code: 'quota_exceeded' };

it('leaves the room that is set, and takes files again when there is more [verifies hostile.shares.disk]', async () => {
  const { disk, space, require } = keeper({ freeBytes: 1_500 }, 1_000);
  await space.writing(async (mine) => {
    await mine(500);
    // What was granted counts before it is on the disk.
    await expect(require(1)).rejects.toMatchObject({
      ...refused,
      message: expect.stringMatching(
        /no room for 1 more bytes on the disk .* 1000 bytes of it are kept free \(tools\.files\.keepFreeBytes\)/,
      ),
    });
    disk.freeBytes = 1_000;
  });
  await expect(require(1)).rejects.toMatchObject(refused);
  disk.freeBytes = 5_000;
  await expect(require(4_000)).resolves.toBeUndefined();
});

it('leaves 512 MiB, or a tenth of a small disk', async () => {
  await expect(keeper({ freeBytes: 500 * mebibyte }).require(1)).rejects.toMatchObject({ details: { limit: 512 * mebibyte } });
  const small = { allBytes: 60 * mebibyte, freeBytes: 10 * mebibyte };
  await expect(keeper(small).require(4 * mebibyte)).resolves.toBeUndefined();
  await expect(keeper(small).require(5 * mebibyte)).rejects.toMatchObject({ details: { limit: 6 * mebibyte } });
});

it('leaves names of files as well, where the disk has a number of them', async () => {
  await expect(keeper({ freeFiles: 1_000 }).require(0)).rejects.toThrow(/hardly any more files/);
  await expect(keeper({ freeFiles: 1_001 }).require(0)).resolves.toBeUndefined();
  await expect(keeper({ freeFiles: 0, allFiles: 0 }).require(0)).resolves.toBeUndefined();
  const { space } = keeper({ freeFiles: 1_001 });
  await space.writing(async (require) => {
    for (let piece = 0; piece < 3; piece++) await require(10); // One file, in pieces.
    await expect(space.writing((other) => other(0))).rejects.toThrow(/hardly any more files/);
  });
});

it('looks at a disk with plenty of room now and then, and at one that is nearly full each time', async () => {
  const wide = keeper({});
  for (let writes = 0; writes < 10; writes++) await wide.require(100);
  expect(wide.looks()).toBe(1);
  wide.later();
  await wide.require(100);
  expect(wide.looks()).toBe(2);
  const narrow = keeper({ freeBytes: 600 * mebibyte });
  for (let writes = 0; writes < 10; writes++) await narrow.require(100);
  expect(narrow.looks()).toBe(10);
});

it('counts the pieces of one file once: what lies on the disk is not held as well', async () => {
  const { space, disk } = keeper({ freeBytes: 2_000 }, 1_000);
  await space.writing(async (require) => {
    for (let piece = 0; piece < 10; piece++) {
      await require(100);
      disk.freeBytes -= 100;
    }
    await expect(require(1)).rejects.toMatchObject(refused);
  });
});

it('gives room back that a writer asked for and did not use', async () => {
  const { require, space } = keeper({ freeBytes: 1_500 }, 1_000);
  await expect(
    space.writing(async (mine) => {
      await mine(500);
      throw new Error('the connection broke');
    }),
  ).rejects.toThrow('broke');
  await expect(require(500)).resolves.toBeUndefined();
});

it('keeps one account of a disk, whichever of its folders is written to', async () => {
  const look = async () => ({ freeBytes: 1_500, allBytes: 1, freeFiles: 0, allFiles: 0 });
  const diskOf = async (folder: string) => (folder.startsWith('/data') ? 1 : 2);
  const spaceOf = createSpaceKeepers({ keepFreeBytes: 1_000, clock: { monotonic: () => 0 }, look, diskOf });
  const [files, blobs, elsewhere] = await Promise.all([spaceOf('/data/folders'), spaceOf('/data/blobs'), spaceOf('/mnt')]);
  await files.writing(async (require) => {
    await require(300);
    await expect(blobs.writing((other) => other(300))).rejects.toMatchObject(refused);
    await expect(elsewhere.writing((other) => other(300))).resolves.toBeUndefined();
  });
});

describe('whatever the order of looks and writes', () => {
  it('never lets more be written than leaves the room that is kept', async () => {
    await fc.assert(
      fc.asyncProperty(fc.scheduler(), fc.array(fc.array(fc.nat(300), { maxLength: 4 }), { maxLength: 12 }), async (scheduler, files) => {
        const kept = 1_000;
        const disk = { free: kept + 900 };
        const space = onOneDisk({
          keepFreeBytes: kept,
          clock: { monotonic: () => 0 },
          look: async () => {
            const room = { freeBytes: disk.free, allBytes: 1, freeFiles: 0, allFiles: 0 };
            await scheduler.schedule(Promise.resolve(), 'look');
            return room;
          },
        });
        const written = Promise.all(
          files.map((pieces) =>
            space
              .writing(async (require) => {
                for (const piece of pieces) {
                  await require(piece);
                  await scheduler.schedule(Promise.resolve(), 'write');
                  disk.free -= piece;
                  expect(disk.free).toBeGreaterThanOrEqual(kept);
                }
              })
              .catch((error) => expect(error).toMatchObject(refused)),
          ),
        );
        await scheduler.waitFor(written);
      }),
    );
  });
});
