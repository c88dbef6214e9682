import { readdir, readFile, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { NexusError } from '#core';

export interface DefinitionFolderOptions {
  /** The key of the configuration that names the folder, and its variable: for errors. */
  readonly setting: string;
  /** Nobody named this folder: it may be missing, and then holds nothing. */
  readonly mayBeMissing: boolean;
  /** Extensions that are read, in lower case, such as `.yaml`; files may have them in any case. */
  readonly extensions: readonly string[];
  /** A larger file is not read. */
  readonly maxBytes: number;
}

/** An entry of a folder that is not read, and why. */
export interface UnreadEntry {
  readonly name: string;
  readonly why: string;
  /** It may well have been meant to be read. */
  readonly suspicious: boolean;
}

export interface DefinitionFiles {
  /** Sorted by name. */
  readonly files: readonly { readonly name: string; readonly path: string; readonly text: string }[];
  readonly unread: readonly UnreadEntry[];
}

/** Reads the files of a folder that have one of the extensions, and says of every other entry why it is not read. Throws `config_invalid` for a folder that is not there or cannot be listed. */
export async function readDefinitionFolder(folder: string, options: DefinitionFolderOptions): Promise<DefinitionFiles> {
  const files: DefinitionFiles['files'][number][] = [];
  const unread: UnreadEntry[] = [];
  for (const name of (await namesIn(folder, options)).sort()) {
    const path = join(folder, name);
    const found = await readEntry(path, name, options);
    if ('text' in found) files.push({ name, path, text: found.text });
    else unread.push({ name, ...found });
  }
  return { files, unread };
}

/** Throws `config_invalid` unless the folder is there and can be listed. */
export async function requireFolder(folder: string, setting: string): Promise<void> {
  await namesIn(folder, { setting, mayBeMissing: false });
}

async function namesIn(folder: string, { setting, mayBeMissing }: Pick<DefinitionFolderOptions, 'setting' | 'mayBeMissing'>) {
  try {
    return await readdir(folder);
  } catch (cause) {
    const code = codeOf(cause);
    if (code === 'ENOENT' && mayBeMissing) return [];
    const fault =
      code === 'ENOENT'
        ? `there is no folder ${resolve(folder)}; make it, or correct the setting`
        : code === 'ENOTDIR'
          ? `${resolve(folder)} is a file and not a folder`
          : code === 'EACCES' || code === 'EPERM'
            ? `the folder ${resolve(folder)} may not be read by this user`
            : `the folder ${resolve(folder)} cannot be read (${code})`;
    throw new NexusError('config_invalid', `${setting}: ${fault}`, { cause });
  }
}

async function readEntry(
  path: string,
  name: string,
  { extensions, maxBytes }: DefinitionFolderOptions,
): Promise<{ readonly text: string } | Omit<UnreadEntry, 'name'>> {
  const wanted = extensions.some((extension) => name.toLowerCase().endsWith(extension));
  const hidden = name.startsWith('.');
  try {
    // What a name leads to: the files of a mounted volume are often links.
    const about = await stat(path);
    if (about.isDirectory()) return { why: 'it is a folder, and folders within are not looked into', suspicious: !hidden };
    if (hidden) return { why: 'it is hidden', suspicious: wanted };
    if (!wanted) return { why: `its name ends with none of ${extensions.join(', ')}`, suspicious: looksLikeDefinition(name) };
    if (!about.isFile()) return { why: 'it is no regular file', suspicious: true };
    if (about.size > maxBytes) return { why: `it has ${about.size} bytes, and at most ${maxBytes} are read`, suspicious: true };
    return { text: await readFile(path, 'utf8') };
  } catch (error) {
    const code = codeOf(error);
    const why =
      code === 'ENOENT'
        ? 'it is a link that leads nowhere'
        : code === 'ELOOP'
          ? 'it is a link that leads to itself'
          : code === 'EACCES' || code === 'EPERM'
            ? 'this user may not read it'
            : `it cannot be read (${code})`;
    return { why, suspicious: wanted || !hidden };
  }
}

/** Formats that people write definitions in, and copies that editors and package managers leave of them. */
function looksLikeDefinition(name: string): boolean {
  return /\.(ya?ml|json5?|jsonc|toml|cedar|cedarschema|txt)([.~_-][^/]*)?$/i.test(name) || !name.includes('.');
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
}
