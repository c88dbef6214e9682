import { randomBytes, randomUUID } from 'node:crypto';
import { link, open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { NexusConfig } from '#apps/config';
import { NexusError } from '#core';
import { createSeal, type Seal } from '#tools/sources';
import { makeDataFolder } from './data-folder.ts';

const keyBytes = 32;
const fileName = 'mcp-token-key';

/** What tokens of MCP servers are sealed with, once it is needed. Throws `config_invalid` where there is no key and none may be made. */
export function tokenSeal({
  mcpClient: {
    oauth: { key },
  },
  databaseUrl,
  dataDir,
}: Pick<NexusConfig, 'mcpClient' | 'databaseUrl' | 'dataDir'>): () => Promise<Seal> {
  let made: Promise<Seal> | undefined;
  async function make(): Promise<Seal> {
    if (key !== undefined) return createSeal(Buffer.from(key));
    if (databaseUrl?.startsWith('postgres') === true)
      throw new NexusError(
        'config_invalid',
        'mcpClient.oauth.key is missing: with a database that several processes share, tokens of MCP servers are sealed with a key that all of them are given, of 32 characters or more',
      );
    return createSeal(await keyOfFolder(dataDir));
  }
  return () => {
    made ??= make().catch((error: unknown) => {
      made = undefined; // whoever asks next may find it in order
      throw error;
    });
    return made;
  };
}

/** Made by whoever comes first, whole or not at all, readable by this user only. */
async function keyOfFolder(dataDir: string): Promise<Uint8Array> {
  const path = join(dataDir, fileName);
  const known = await read(path);
  if (known !== null) return known;
  await makeDataFolder(dataDir);
  const draft = join(dataDir, `${fileName}.${randomUUID()}.tmp`);
  try {
    const file = await open(draft, 'wx', 0o600);
    try {
      await file.writeFile(randomBytes(keyBytes));
      await file.sync();
    } finally {
      await file.close();
    }
    await link(draft, path).catch((error: unknown) => {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
    });
  } catch (cause) {
    throw new NexusError('config_invalid', `${path}, the key of the tokens of MCP servers, cannot be made`, { cause });
  } finally {
    await rm(draft, { force: true });
  }
  const made = await read(path);
  if (made === null) throw new NexusError('config_invalid', `${path}, the key of the tokens of MCP servers, cannot be read`);
  return made;
}

async function read(path: string): Promise<Uint8Array | null> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return null;
    throw new NexusError('config_invalid', `${path} cannot be read: it must be a file of this user`, { cause });
  }
  if (bytes.length === keyBytes) return bytes;
  throw new NexusError(
    'config_invalid',
    `${path} is damaged: it must hold ${keyBytes} bytes; put a backup in its place, or remove it, and everybody logs in to MCP servers again`,
  );
}
