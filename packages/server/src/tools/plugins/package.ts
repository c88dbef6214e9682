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
  /** Its modules. */
  readonly files: PackedFiles;
}

const maxPackageBytes = 16 * 1024 * 1024;

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
  for (const { name, module } of manifest.tools) {
    if (!files.has(module))
      throw new NexusError(
        'invalid_request',
        `the module ${module} of ${name} is not among the files of the manifest; run nexus plugin build`,
      );
  }
  const signature = all.get(signatureName);
  const signedBy = signature === undefined ? null : verifySignature(manifest, new TextDecoder().decode(signature));
  return { manifest, digest: digestOf(manifest), signedBy, files };
}
