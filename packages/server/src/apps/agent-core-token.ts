import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { NexusConfig } from '#apps/config';
import { NexusError } from '#core';
import { requireOwnFolder, writePrivately } from './local-token.ts';

type Place = Pick<NexusConfig, 'dataDir'>;

const tokenPath = ({ dataDir }: Place) => join(dataDir, 'local', 'agent-core.token');

/** What callers on this machine present to an agent core that was given no token: kept in the data folder, for this user only. */
export async function keepAgentCoreToken(config: Place): Promise<string> {
  const known = await readAgentCoreToken(config);
  if (known !== undefined) return known;
  const token = `nxc_${randomBytes(32).toString('base64url')}`;
  await requireOwnFolder(join(config.dataDir, 'local'));
  await writePrivately(tokenPath(config), `${token}\n`);
  return token;
}

/** Undefined where none was made. Throws `config_invalid` for a file that cannot be read. */
export async function readAgentCoreToken(config: Place): Promise<string | undefined> {
  try {
    const token = (await readFile(tokenPath(config), 'utf8')).trim();
    return token === '' ? undefined : token;
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return undefined;
    throw new NexusError('config_invalid', `${tokenPath(config)} cannot be read: it must be a file of this user`, { cause });
  }
}
