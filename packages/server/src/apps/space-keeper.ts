import { stat, statfs } from 'node:fs/promises';
import { type Clock, NexusError } from '#core';

/** What is left on a disk, in what it keeps: bytes, and names of files where it has a number of those. */
export interface DiskRoom {
  readonly freeBytes: number;
  readonly allBytes: number;
  readonly freeFiles: number;
  /** 0 where there is no such number. */
  readonly allFiles: number;
}

async function roomOf(folder: string): Promise<DiskRoom> {
  const { bavail, blocks, bsize, ffree, files } = await statfs(folder);
  return { freeBytes: bavail * bsize, allBytes: blocks * bsize, freeFiles: ffree, allFiles: files };
}

/**
 * Says that so many bytes more of a file are about to be written, and that those before are. Throws `quota_exceeded` when that would
 * leave the database too little.
 */
export type RequireSpace = (bytes: number) => Promise<void>;

/** The room of one disk. */
export interface SpaceKeeper {
  /** Runs what writes a file. What it is granted is held for it until it asks for more, or ends. */
  writing<T>(write: (require: RequireSpace) => Promise<T>): Promise<T>;
}

interface SpaceKeeperOptions {
  readonly folder: string;
  /** Left out: 512 MiB, or a tenth of the disk where that is less. */
  readonly keepFreeBytes: number | undefined;
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly look?: (folder: string) => Promise<DiskRoom>;
}

/** How long what was seen of the disk is believed, while there is more room than others fill in that time. */
const believedMs = 250;
const plentyBytes = 512 * 1024 * 1024;
const standardBytes = 512 * 1024 * 1024;
const mostOfDisk = 0.1;
const keptFiles = 0.01;

interface Taken {
  bytes: number;
  files: number;
}

interface Seen {
  readonly at: number;
  readonly bytes: number;
  readonly files: number;
  readonly kept: number;
}

/** Files of sessions leave some room on their disk: a full one stops the database that lies on it as well. */
function createSpaceKeeper({ folder, keepFreeBytes, clock, look = roomOf }: SpaceKeeperOptions): SpaceKeeper {
  let seen: Seen | undefined;
  let looking: Promise<Seen> | undefined;
  /** Granted, and not known to be on the disk. A look may show it already: it counts twice sooner than not at all. */
  const held = { bytes: 0, files: 0 };
  /** On the disk, or never will be, since the last look began. */
  let ended = { bytes: 0, files: 0 };

  async function refresh(): Promise<Seen> {
    // A look that fails is no reason to believe the one before.
    seen = undefined;
    ended = { bytes: 0, files: 0 };
    const room = await look(folder);
    const kept = keepFreeBytes ?? Math.min(standardBytes, Math.floor(room.allBytes * mostOfDisk));
    const files = room.allFiles > 0 ? room.freeFiles - Math.ceil(room.allFiles * keptFiles) : Number.POSITIVE_INFINITY;
    seen = { at: clock.monotonic(), bytes: room.freeBytes - kept, files, kept };
    return seen;
  }

  async function current(): Promise<Seen> {
    if (seen !== undefined && seen.bytes - ended.bytes > plentyBytes && clock.monotonic() - seen.at <= believedMs) return seen;
    looking ??= refresh().finally(() => {
      looking = undefined;
    });
    return await looking;
  }

  function settle(mine: Taken): void {
    for (const unit of ['bytes', 'files'] as const) {
      held[unit] -= mine[unit];
      ended[unit] += mine[unit];
      mine[unit] = 0;
    }
  }

  async function grant(wanted: Taken, mine: Taken): Promise<void> {
    settle(mine);
    const { kept, ...room } = await current();
    const tooMuch = wanted.bytes > room.bytes - held.bytes - ended.bytes;
    if (!tooMuch && wanted.files <= room.files - held.files - ended.files) {
      // In the same step as the check, or two would be granted the same room.
      for (const unit of ['bytes', 'files'] as const) {
        mine[unit] = wanted[unit];
        held[unit] += wanted[unit];
      }
      return;
    }
    const { bytes } = wanted;
    const full = tooMuch ? `${kept} bytes of it are kept free` : 'it takes hardly any more files, however small';
    throw new NexusError(
      'quota_exceeded',
      `there is no room for ${bytes === 0 ? 'another file' : `${bytes} more bytes`} on the disk of this process: ${full} (tools.files.keepFreeBytes); free some space, or delete sessions`,
      { details: { what: 'disk', limit: kept, used: bytes, setting: 'tools.files.keepFreeBytes' } },
    );
  }

  return {
    async writing(write) {
      const mine = { bytes: 0, files: 0 };
      let files = 1;
      try {
        return await write(async (bytes) => {
          await grant({ bytes, files }, mine);
          files = 0;
        });
      } finally {
        settle(mine);
      }
    },
  };
}

/** The keeper of the disk that a folder lies on. Whoever writes to one disk asks one keeper, or two would grant the same room. */
export type SpaceKeepers = (folder: string) => Promise<SpaceKeeper>;

export interface SpaceKeepersOptions extends Omit<SpaceKeeperOptions, 'folder'> {
  /** Which disk a folder lies on. */
  readonly diskOf?: (folder: string) => Promise<number>;
}

/** Each `folder` exists. */
export function createSpaceKeepers({ diskOf = async (folder) => (await stat(folder)).dev, ...options }: SpaceKeepersOptions): SpaceKeepers {
  const keepers = new Map<number, SpaceKeeper>();
  return async (folder) => {
    const disk = await diskOf(folder);
    const keeper = keepers.get(disk) ?? createSpaceKeeper({ ...options, folder });
    keepers.set(disk, keeper);
    return keeper;
  };
}
