/** The door of plugins: what one is, whose it is, and what tools it gives. */

export {
  bytesOfRow,
  digestOfRow,
  fromInstalled,
  type InstalledPlugin,
  maxTenantPluginBytes,
  toInstalled,
  versionOfRow,
} from './installed.ts';
export { manifestName, type PluginManifest, type PluginServer, parseManifest, signatureName } from './manifest.ts';
export { checkPackage, maxPackageBytes, openPackage, type PluginPackage, sha256OfBytes } from './package.ts';
export { createPluginTools, type PluginToolParts } from './plugin-tools.ts';
export { createSigningKey, signManifest } from './signature.ts';
export { type PackedFiles, packTarball, unpackTarball } from './tarball.ts';
export {
  createPluginKeys,
  fingerprintOfKey,
  keyOfRowName,
  type PluginKeys,
  type PluginTrust,
  pluginKeyKind,
  refusalOfPlugin,
  rowNameOfKey,
} from './trust.ts';
export { tryOutPlugin } from './try-out.ts';
