import { statfs } from 'node:fs/promises';

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
