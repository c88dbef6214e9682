import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { PackedFiles } from '#tools';
import type { CliContext } from '../context.ts';
import { UsageError } from '../exit-codes.ts';
import { fetchNpmPackage, isNpmPackage } from '../npm-package.ts';
import { readNpmSettings } from '../npm-settings.ts';

/** The files of a plugin in a folder: its manifest, its signature and what the manifest names. */
export async function readPluginFolder(folder: string): Promise<{ readonly text: string; readonly files: PackedFiles }> {
  const { manifestName, parseManifest, signatureName } = await import('#tools');
  const text = await readOptional(join(folder, manifestName));
  if (text === null) throw new UsageError(`there is no ${manifestName} in ${folder}; make one with nexus plugin new`);
  const manifest = await parseManifest(text.toString('utf8'));
  const files = new Map<string, Uint8Array>([[manifestName, text]]);
  for (const name of Object.keys(manifest.files)) {
    const content = await readOptional(join(folder, name));
    if (content === null) throw new UsageError(`there is no ${name} in ${folder}; run nexus plugin build`);
    files.set(name, content);
  }
  const signature = await readOptional(join(folder, signatureName));
  if (signature !== null) files.set(signatureName, signature);
  return { text: text.toString('utf8'), files };
}

/** A plugin as it is sent: a package of npm or a `.tgz` as it is, a folder packed. */
export async function readPackage({ io, note, err }: CliContext, path: string): Promise<Uint8Array> {
  if (isNpmPackage(path)) {
    const { maxPackageBytes } = await import('#tools');
    const found = await fetchNpmPackage(path, { settings: await readNpmSettings(io), maxBytes: maxPackageBytes });
    note(err('dim', `${found.name} ${found.version} from ${new URL(found.url).host}, ${found.integrity}`));
    return found.bytes;
  }
  const found = await stat(path).catch(() => null);
  if (found === null) throw new UsageError(`there is no ${path}`);
  if (!found.isDirectory()) return readFile(path);
  const [{ packTarball }, { files }] = await Promise.all([import('#tools'), readPluginFolder(path)]);
  return packTarball(files);
}

export async function readOptional(path: string): Promise<Buffer | null> {
  return readFile(path).catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
    throw error;
  });
}
