import { randomBytes } from 'node:crypto';
import { link, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { NexusConfig } from '#apps/config';
import { NexusError } from '#core';
import { requireOwnFolder, writePrivately } from './local-token.ts';

type Place = Pick<NexusConfig, 'dataDir'>;

const tokenPath = ({ dataDir }: Place) => join(dataDir, 'local', 'agent-core.token');

/**
 * What callers on this machine present to an agent core that was given no token: kept in the data folder, for this user only. Made by
 * whichever of the two starts first, of several at once by one.
 */
export async function keepAgentCoreToken(config: Place): Promise<string> {
  const known = await readAgentCoreToken(config);
  if (known !== undefined) return known;
  await requireOwnFolder(join(config.dataDir, 'local'));
  const made = `${tokenPath(config)}.${randomBytes(6).toString('hex')}`;
  await writePrivately(made, `nxc_${randomBytes(32).toString('base64url')}\n`);
  try {
    await link(made, tokenPath(config)); // fails where it is there, and never shows half of it
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
  } finally {
    await rm(made, { force: true });
  }
  const kept = await readAgentCoreToken(config);
  if (kept === undefined) throw new NexusError('config_invalid', `${tokenPath(config)} is empty: remove it, and one is made`);
  return kept;
}

/** Undefined where none was made. Throws `config_invalid` for a file that cannot be read. */
async function readAgentCoreToken(config: Place): Promise<string | undefined> {
  try {
    const token = (await readFile(tokenPath(config), 'utf8')).trim();
    return token === '' ? undefined : token;
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return undefined;
    throw new NexusError('config_invalid', `${tokenPath(config)} cannot be read: it must be a file of this user`, { cause });
  }
}
