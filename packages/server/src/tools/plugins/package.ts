import { createHash } from 'node:crypto';
import { NexusError } from '#core';
import { manifestName, type PluginManifest, parseManifest, signatureName } from './manifest.ts';
import { digestOf, verifySignature } from './signature.ts';
import { type PackedFiles, unpackTarball } from './tarball.ts';

/** A plugin that is what it says: every file has its hash, and the signature, where there is one, holds. */
export interface PluginPackage {
  readonly manifest: PluginManifest;
  readonly digest: string;
  /** Whose signature it has; null for none. */
  readonly signedBy: string | null;
  /** Its modules, or its program and what belongs to it. */
  readonly files: PackedFiles;
}

/** Unpacked, and what a registry may send of one. */
export const maxPackageBytes = 16 * 1024 * 1024;

export function sha256OfBytes(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Reads a `.tgz`. Throws `invalid_request`, `config_invalid` and `payload_too_large` with what is wrong. */
export async function openPackage(packed: Uint8Array): Promise<PluginPackage> {
  return checkPackage(unpackTarball(packed, { maxBytes: maxPackageBytes }));
}

/** The same for files that are unpacked already. What the manifest does not name is no part of the plugin. */
export async function checkPackage(all: PackedFiles): Promise<PluginPackage> {
  const text = all.get(manifestName);
  if (text === undefined) throw new NexusError('invalid_request', `there is no ${manifestName} in the package`);
  const manifest = await parseManifest(new TextDecoder().decode(text));
  const files = new Map<string, Uint8Array>();
  for (const [name, expected] of Object.entries(manifest.files)) {
    const content = all.get(name);
    if (content === undefined) throw new NexusError('invalid_request', `the package lacks ${name}, which its manifest names`);
    const found = sha256OfBytes(content);
    if (found !== expected) throw new NexusError('invalid_request', `${name} has the SHA-256 ${found}; the manifest says ${expected}`);
    files.set(name, content);
  }
  requireApart(Object.keys(manifest.files));
  const { server } = manifest;
  if (server?.command.startsWith('./') === true && !files.has(server.command.slice(2)))
    throw new NexusError('invalid_request', `the program ${server.command} is not among the files of the manifest; run nexus plugin build`);
  for (const { name, module } of manifest.tools) {
    if (module !== undefined && !files.has(module))
      throw new NexusError(
        'invalid_request',
        `the module ${module} of ${name} is not among the files of the manifest; run nexus plugin build`,
      );
  }
  const signature = all.get(signatureName);
  const signedBy = signature === undefined ? null : verifySignature(manifest, new TextDecoder().decode(signature));
  return { manifest, digest: digestOf(manifest), signedBy, files };
}

/** Names that one file system takes for one, and files that are folders of others. Throws `invalid_request`. */
function requireApart(names: readonly string[]): void {
  const known = new Map<string, string>();
  for (const name of names) {
    const parts = name.toLowerCase().split('/');
    for (let length = 1; length <= parts.length; length++) {
      const place = parts.slice(0, length).join('/');
      const isFile = length === parts.length;
      const other = known.get(place);
      const own = isFile ? `file ${name}` : `folder ${name.split('/').slice(0, length).join('/')}`;
      if (other !== undefined && (isFile || other !== own))
        throw new NexusError(
          'invalid_request',
          `the files of the manifest have ${other} and ${own}, which are one on some machines; rename one`,
        );
      known.set(place, own);
    }
  }
}
