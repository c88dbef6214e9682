import type { Stats } from 'node:fs';
import { chmod, lstat, open, opendir, realpath, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';

/** What of a data folder others of this machine can still read, and why. */
export interface PrivacyFindings {
  /** So many files and folders were readable by others, and are not any more. */
  readonly changed: number;
  /** Sentences for the operator. */
  readonly notes: readonly string[];
}

/** What Nexus Agent makes in a data folder, and what lies there without being anybody's. */
const ownNames =
  /^(nexus\.db.*|local|nexus\.config\.ya?ml|agents|policies|blobs|folders|workspaces|seeds?|logs?|key-secret|.*token.*|.*\.(log|pid|sock|part|tmp)|\.gitignore|\.gitkeep|lost\+found)$/;

/** More are not looked at: what lies below a folder of 0700 is out of reach of others anyway. */
const mostEntries = 50_000;
const byOthers = 0o077;
const byStrangers = 0o007;
const setGroup = 0o2000;

interface Walk {
  /** Bits that are taken away. */
  readonly forbidden: number;
  left: number;
  changed: number;
  foreign: number;
  failed: number;
  code: string;
}

/**
 * Takes what others may do with the files of a data folder from them, whatever the files were before: files become 0600, folders 0700.
 * Follows no link. What is not of this user, or cannot be changed, is counted; so is what is none of ours, which is left alone.
 */
export async function makePrivate(dataDir: string): Promise<PrivacyFindings> {
  const folder = await realpath(resolve(dataDir));
  const about = await stat(folder);
  // A folder whose files get its group is shared by somebody who meant it.
  const isShared = (about.mode & setGroup) !== 0;
  const walk: Walk = { forbidden: isShared ? byStrangers : byOthers, left: mostEntries, changed: 0, foreign: 0, failed: 0, code: '' };
  const others: string[] = [];
  let readable = 0;
  for await (const { name } of await opendir(folder)) {
    const path = join(folder, name);
    if (ownNames.test(name)) {
      await tighten(path, walk);
      continue;
    }
    others.push(name);
    if (((await lstat(path).catch(() => null))?.mode ?? 0) & byOthers) readable += 1;
  }
  if (others.length === 0) await change(folder, about, walk);
  return { changed: walk.changed, notes: notesOn({ folder, mode: about.mode, isShared, others, readable, walk }) };
}

async function tighten(path: string, walk: Walk): Promise<void> {
  if (walk.left <= 0) return;
  walk.left -= 1;
  const about = await lstat(path).catch(() => null); // it may be gone by now: processes tidy up
  if (about === null || about.isSymbolicLink()) return;
  if (about.isDirectory()) {
    // From above: once a folder is closed nobody comes to what lies below.
    await change(path, about, walk);
    const entries = await opendir(path).catch(() => null);
    if (entries !== null) for await (const { name } of entries) await tighten(join(path, name), walk);
  } else if (about.isFile()) await change(path, about, walk);
}

async function change(path: string, about: Stats, walk: Walk): Promise<void> {
  if ((about.mode & walk.forbidden) === 0) return;
  const mode = about.mode & 0o7777 & ~walk.forbidden;
  try {
    if (about.isDirectory()) await chmod(path, mode);
    else {
      // By a handle: what stands under the name may be another file by now, or a link.
      const handle = await open(path, 'r');
      try {
        const now = await handle.stat();
        if (now.ino === about.ino && now.dev === about.dev) await handle.chmod(mode);
      } finally {
        await handle.close();
      }
    }
    walk.changed += 1;
  } catch (error) {
    walk.code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
    if (about.uid !== process.getuid?.()) walk.foreign += 1;
    else walk.failed += 1;
  }
}

interface Found {
  readonly folder: string;
  readonly mode: number;
  readonly isShared: boolean;
  readonly others: readonly string[];
  readonly readable: number;
  readonly walk: Walk;
}

function notesOn({ folder, mode, isShared, others, readable, walk }: Found): string[] {
  const notes: string[] = [];
  const count = (number: number, noun: string) => `${number} ${noun}${number === 1 ? '' : 's'}`;
  if (isShared) notes.push(`${folder} is shared with its group on purpose (set-group-id): its members can read what lies there`);
  if (walk.foreign > 0)
    notes.push(
      `${count(walk.foreign, 'file or folder')} in ${folder} can be read by others and belong to another user (${walk.code}); give them to this one, or remove what others may: chmod -R go= ${folder}`,
    );
  if (walk.failed > 0)
    notes.push(`${count(walk.failed, 'file or folder')} in ${folder} can be read by others, and that could not be changed (${walk.code})`);
  if (others.length > 0 && (mode & byOthers) !== 0)
    notes.push(
      `${folder} holds ${count(others.length, 'thing')} that Nexus Agent did not make, ${readable} of them readable by others; it and they were left as they are: name a folder of its own with NEXUS_DATA_DIR`,
    );
  return notes;
}
