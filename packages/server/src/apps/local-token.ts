import { randomBytes } from 'node:crypto';
import { chmod, lstat, open, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type NexusConfig, tokenFolders } from '#apps/config';
import type { Logger } from '#telemetry';
import { makeFolder } from './data-folder.ts';

/** A token of the local operator: for one server, and for as long as it runs. */
export function createLocalToken(): string {
  return `nxl_${randomBytes(32).toString('base64url')}`;
}

export interface LocalToken {
  readonly token: string;
  readonly port: number;
  /** The hosts of URLs that lead to this server and to no other program. */
  readonly hosts: readonly string[];
}

/**
 * Writes the token where only this user can read it, as headers that `curl -H @file` sends. Where neither folder can be written this is
 * said and only keys count. Gives the function that removes what was written.
 */
export async function publishLocalToken(
  { token, port, hosts }: LocalToken,
  config: Pick<NexusConfig, 'stateHome' | 'dataDir'>,
  logger: Pick<Logger, 'info' | 'warn'>,
): Promise<() => Promise<void>> {
  const text = `Authorization: Bearer ${token}\nX-Nexus-Hosts: ${hosts.join(' ')}\n`;
  const written: string[] = [];
  const faults: { readonly folder: string; readonly err: unknown }[] = [];
  for (const folder of tokenFolders(config)) {
    const path = join(folder, `${port}.token`);
    try {
      await requireOwnFolder(folder);
      await writePrivately(path, text);
      written.push(path);
    } catch (err) {
      faults.push({ folder, err }); // the other folder does
    }
  }
  if (written.length > 0) {
    for (const { folder, err } of faults)
      logger.info(
        { folder, why: err instanceof Error ? err.message : String(err), written },
        'the token of the local operator could not be written into one of its folders: programs that look only there are visitors',
      );
  } else {
    logger.warn(
      { err: faults[0]?.err },
      'the token of the local operator can be written nowhere: make a key with nexus keys create --embedded, or make stateHome (XDG_STATE_HOME) or dataDir a folder that this user can write',
    );
  }
  return async () => {
    for (const path of written) if ((await readFile(path, 'utf8').catch(() => '')) === text) await rm(path, { force: true });
  };
}

/** A folder that another user owns or may write is no place: that user could put another file in the place of ours. */
export async function requireOwnFolder(folder: string): Promise<void> {
  await makeFolder(folder);
  const about = await lstat(folder);
  const user = process.getuid?.();
  if (!about.isDirectory() || (user !== undefined && about.uid !== user)) throw new Error(`${folder} is no folder of this user`);
  if (user !== undefined && (about.mode & 0o077) !== 0) await chmod(folder, 0o700);
}

/** The file is never seen half written, and never follows a link that was put in its place. */
export async function writePrivately(path: string, text: string): Promise<void> {
  const unfinished = `${path}.${process.pid}.part`;
  await rm(unfinished, { force: true });
  const file = await open(unfinished, 'wx', 0o600);
  try {
    await file.chmod(0o600);
    await file.writeFile(text);
  } finally {
    await file.close();
  }
  await rename(unfinished, path);
}
