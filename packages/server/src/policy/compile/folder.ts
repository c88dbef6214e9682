import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { NexusError } from '#core';
import type { PolicySource } from './types.ts';

/** All `*.cedar` files of a folder, sorted by name; a source is named after its file. Throws `config_invalid` when one cannot be read. */
export async function loadPolicyFolder(path: string): Promise<PolicySource[]> {
  try {
    const names = (await readdir(path)).filter((name) => name.endsWith('.cedar')).sort();
    return await Promise.all(names.map(async (name) => ({ name, text: await readFile(join(path, name), 'utf8') })));
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new NexusError('config_invalid', `the policy folder ${path} cannot be read: ${why}`, { cause });
  }
}
