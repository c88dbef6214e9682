import { readdir, readFile, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { DefinitionFolder, UnreadEntry } from '#control';
import { NexusError } from '#core';
import type { DefinitionFile } from '#storage';

export interface DefinitionFolderOptions {
  /** The key of the configuration that names the folder, and its variable: for errors. */
  readonly setting: string;
  /** Nobody named this folder: it may be missing, and then holds nothing. */
  readonly mayBeMissing: boolean;
  /** Extensions that are read, in lower case, such as `.yaml`; files may have them in any case. */
  readonly extensions: readonly string[];
  /** A larger file is not read. */
  readonly maxBytes: number;
  /** The folder cannot be read while one of its files cannot: what is missing must not mean fewer rules. */
  readonly complete: boolean;
}

/**
 * A folder as a source of definitions. It is looked at by name and by what each name leads to, and not by the events of its file
 * system: those do not come for what a link leads to, for a volume that is swapped, nor over a network.
 */
export function createDefinitionFolder(path: string, options: DefinitionFolderOptions): DefinitionFolder {
  const folder = resolve(path);
  return {
    path: folder,
    async mark() {
      const names = await readdir(folder).catch((error: unknown) => codeOf(error));
      if (typeof names === 'string') return names;
      return (await Promise.all(names.sort().map((name) => markOf(folder, name)))).join('\n');
    },
    async read() {
      const files: DefinitionFile[] = [];
      const unread: UnreadEntry[] = [];
      for (const name of (await namesIn(folder, options)).sort()) {
        const found = await readEntry(join(folder, name), name, options);
        if ('text' in found) files.push({ name, text: found.text });
        else unread.push({ name, ...found });
      }
      const lost = options.complete ? unread.find(({ name }) => isWanted(name, options)) : undefined;
      if (lost !== undefined) {
        throw new NexusError('config_invalid', `${lost.name} in ${folder} is not read: ${lost.why}; mend or remove it`);
      }
      return { files, unread };
    },
  };
}

async function markOf(folder: string, name: string): Promise<string> {
  try {
    const { ino, size, mtimeNs, ctimeNs, mode } = await stat(join(folder, name), { bigint: true });
    return [name, ino, size, mtimeNs, ctimeNs, mode].join('/');
  } catch (error) {
    return `${name}/${codeOf(error)}`;
  }
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
  { extensions, maxBytes }: Pick<DefinitionFolderOptions, 'extensions' | 'maxBytes'>,
): Promise<{ readonly text: string } | Omit<UnreadEntry, 'name'>> {
  const wanted = isWanted(name, { extensions });
  const hidden = name.startsWith('.');
  try {
    // What a name leads to: the files of a mounted volume are often links.
    const about = await stat(path);
    if (about.isDirectory()) return { why: 'it is a folder, and folders within are not looked into', suspicious: !hidden };
    if (hidden) return { why: 'it is hidden', suspicious: wanted };
    if (!wanted) return { why: `its name ends with none of ${extensions.join(', ')}`, suspicious: looksLikeDefinition(name) };
    if (!about.isFile()) return { why: 'it is no regular file', suspicious: true };
    if (about.size > maxBytes) return { why: `it has ${about.size} bytes, and at most ${maxBytes} are read`, suspicious: true };
    // Editors put a mark of the byte order in front, which is no part of the text.
    return { text: (await readFile(path, 'utf8')).replace(/^\uFEFF/, '') };
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

function isWanted(name: string, { extensions }: Pick<DefinitionFolderOptions, 'extensions'>): boolean {
  return extensions.some((extension) => name.toLowerCase().endsWith(extension));
}

/** Formats that people write definitions in, and copies that editors and package managers leave of them. */
function looksLikeDefinition(name: string): boolean {
  return /\.(ya?ml|json5?|jsonc|toml|cedar|cedarschema|txt)([.~_-][^/]*)?$/i.test(name) || !name.includes('.');
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
}
