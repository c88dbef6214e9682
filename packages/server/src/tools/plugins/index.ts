/** The door of plugins: what one is, whose it is, and what tools it gives. */

export { fromInstalled, type InstalledPlugin, toInstalled } from './installed.ts';
export { manifestName, parseManifest, signatureName } from './manifest.ts';
export { checkPackage, openPackage, type PluginPackage, sha256OfBytes } from './package.ts';
export { createPluginTools, type PluginToolParts } from './plugin-tools.ts';
export { createSigningKey, signManifest } from './signature.ts';
export { type PackedFiles, packTarball } from './tarball.ts';
export { tryOutPlugin } from './try-out.ts';
