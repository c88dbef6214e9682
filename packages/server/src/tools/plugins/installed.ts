import { z } from 'zod';
import type { WasmModule } from '#tools/sandbox';
import { type PluginManifest, readManifest } from './manifest.ts';
import { type PluginPackage, sha256OfBytes } from './package.ts';

/** A plugin as it is kept: all of it, so that no node and no clean-up can lose a part. */
const Installed = z.object({
  manifest: z.unknown(),
  signedBy: z.string().nullable(),
  isTrusted: z.boolean(),
  /** Base64 by name. */
  files: z.record(z.string(), z.string()),
});

export interface InstalledPlugin {
  readonly manifest: PluginManifest;
  readonly signedBy: string | null;
  readonly isTrusted: boolean;
  /** All of its files; of tier T1 its modules. */
  readonly modules: ReadonlyMap<string, WasmModule>;
  readonly bytes: number;
}

/** What the plugins of a tenant have together: each process that serves it holds all of them. */
export const maxTenantPluginBytes = 128 * 1024 * 1024;

/**
 * The version of its row: another one too when the same plugin was taken for another reason, or for the signature of another. With its
 * size, so that those of a tenant are known without reading them.
 */
export function versionOfRow(
  digest: string,
  { isTrusted, signedBy, bytes }: { readonly isTrusted: boolean; readonly signedBy: string | null; readonly bytes: number },
): string {
  return `${digest}:${isTrusted ? 'trusted' : 'accepted'}:${bytes}:${signedBy ?? ''}`;
}

/** 0 for a row of before that does not say it. */
export function bytesOfRow(version: string): number {
  return Number(/^[^:]*:[^:]*:(\d+):/.exec(version)?.[1] ?? 0);
}

export function digestOfRow(version: string): string {
  return version.split(':', 1)[0] ?? '';
}

export function toInstalled({ manifest, signedBy, files }: PluginPackage, isTrusted: boolean): z.infer<typeof Installed> {
  const encoded = [...files].map(([name, content]) => [name, Buffer.from(content).toString('base64')] as const);
  return { manifest, signedBy, isTrusted, files: Object.fromEntries(encoded) };
}

/** Null for what cannot be read, or is not what its manifest says any more. */
export function fromInstalled(content: unknown): InstalledPlugin | null {
  const parsed = Installed.safeParse(content);
  const manifest = parsed.success ? readManifest(parsed.data.manifest) : null;
  if (!parsed.success || manifest === null) return null;
  const { signedBy, isTrusted, files } = parsed.data;
  const modules = new Map<string, WasmModule>();
  let bytes = 0;
  for (const [name, encoded] of Object.entries(files)) {
    const content = Buffer.from(encoded, 'base64');
    const sha256 = sha256OfBytes(content);
    if (!Object.hasOwn(manifest.files, name) || manifest.files[name] !== sha256) return null;
    modules.set(name, { sha256, bytes: content });
    bytes += content.length;
  }
  return { manifest, signedBy, isTrusted, modules, bytes };
}
