import { statfs } from 'node:fs/promises';
import { type Clock, NexusError } from '#core';

/** What this user may still write there. */
export async function freeBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}

const megabyte = 1_000_000;
/** A start cannot write its first rows in less, and a server soon ends up there with little more. */
const least = { forStart: 1 * megabyte, forWork: 100 * megabyte };

/** A folder that may be written, but on a disk with so much left. */
export function spaceFinding(folder: string, free: number): { readonly status: 'ok' | 'warn' | 'fail'; readonly detail: string } {
  if (free >= least.forWork) return { status: 'ok', detail: `${folder} can be written` };
  const left = `${(free / megabyte).toFixed(1)} MB are left on the disk of ${folder}`;
  if (free < least.forStart) return { status: 'fail', detail: `${left}; free some, or name another folder with NEXUS_DATA_DIR` };
  return { status: 'warn', detail: `${left}; without room the embedded database and session files take no changes` };
}

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

export interface SpaceKeeper {
  /** Throws `quota_exceeded` when so many bytes more would leave the database too little; what is granted counts as written. */
  require(bytes: number): Promise<void>;
}

export interface SpaceKeeperOptions {
  readonly folder: string;
  /** Left out: 512 MiB, or a tenth of the disk where that is less. */
  readonly keepFreeBytes: number | undefined;
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly look?: (folder: string) => Promise<DiskRoom>;
}

/** How long what was seen of the disk is believed; what was granted meanwhile is taken from it. */
const believedMs = 250;
const standardBytes = 512 * 1024 * 1024;
const mostOfDisk = 0.1;
const keptFiles = 0.01;

/** Files of sessions leave some room on their disk: a full one stops the database that lies on it as well. */
export function createSpaceKeeper({ folder, keepFreeBytes, clock, look = roomOf }: SpaceKeeperOptions): SpaceKeeper {
  let seen: { readonly at: number; bytes: number; files: number; readonly kept: number; readonly countsFiles: boolean } | undefined;
  let looking: Promise<void> | undefined;

  async function refresh(): Promise<void> {
    const room = await look(folder);
    const kept = keepFreeBytes ?? Math.min(standardBytes, Math.floor(room.allBytes * mostOfDisk));
    const files = room.freeFiles - Math.ceil(room.allFiles * keptFiles);
    seen = { at: clock.monotonic(), bytes: room.freeBytes - kept, files, kept, countsFiles: room.allFiles > 0 };
  }

  return {
    async require(bytes) {
      if (seen === undefined || clock.monotonic() - seen.at > believedMs) {
        looking ??= refresh().finally(() => {
          looking = undefined;
        });
        await looking;
      }
      if (seen === undefined) return;
      const { kept, countsFiles } = seen;
      if (bytes > seen.bytes || (countsFiles && seen.files < 1)) {
        const full = bytes > seen.bytes ? `${kept} bytes of the disk are kept free` : 'the disk takes hardly any more files, however small';
        throw new NexusError(
          'quota_exceeded',
          `there is no room for ${bytes} more bytes where files are kept: ${full} for the database (tools.files.keepFreeBytes); free some space, or delete sessions`,
          { details: { what: 'disk', limit: kept, used: bytes, setting: 'tools.files.keepFreeBytes' } },
        );
      }
      seen.bytes -= bytes;
      seen.files -= 1;
    },
  };
}
