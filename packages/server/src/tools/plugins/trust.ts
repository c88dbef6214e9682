import { sha256OfBytes } from './package.ts';

/** What is known of who signed a plugin: `revoked` holds against every other word, `unsigned` says that there is nobody to know. */
export type PluginTrust = 'trusted' | 'untrusted' | 'unsigned' | 'revoked';

/** How keys that a tenant trusts, or trusts no more, are kept: a row for each, named by its fingerprint. */
export const pluginKeyKind = 'plugin-key' as const;
type PluginKeyState = 'trusted' | 'revoked';

const fingerprintChars = 32;

/** What people compare, and what a key is called in addresses. */
export function fingerprintOfKey(publicKey: string): string {
  return sha256OfBytes(Buffer.from(publicKey, 'base64')).slice(0, fingerprintChars);
}

const revokedSuffix = '.revoked';

/** Trust and revocation are rows of their own: whichever comes last, a key that was revoked is revoked. */
export function rowNameOfKey(fingerprint: string, state: PluginKeyState): string {
  return state === 'trusted' ? fingerprint : `${fingerprint}${revokedSuffix}`;
}

/** The same backwards. */
export function keyOfRowName(name: string): { readonly fingerprint: string; readonly state: PluginKeyState } {
  return name.endsWith(revokedSuffix)
    ? { fingerprint: name.slice(0, -revokedSuffix.length), state: 'revoked' }
    : { fingerprint: name, state: 'trusted' };
}

export interface PluginKeys {
  trustOf(signedBy: string | null): PluginTrust;
}

/** What a tenant knows of keys: the operator's hold for it too, until it revokes one for itself. */
export function createPluginKeys(
  ofOperator: readonly string[],
  heads: readonly { readonly kind: string; readonly name: string }[],
): PluginKeys {
  const own = new Set(heads.flatMap(({ kind, name }) => (kind === pluginKeyKind ? [name] : [])));
  return {
    trustOf(signedBy) {
      if (signedBy === null) return 'unsigned';
      const fingerprint = fingerprintOfKey(signedBy);
      if (own.has(rowNameOfKey(fingerprint, 'revoked'))) return 'revoked';
      return ofOperator.includes(signedBy) || own.has(rowNameOfKey(fingerprint, 'trusted')) ? 'trusted' : 'untrusted';
    },
  };
}

/**
 * Why a plugin that is installed may not be called any more; null when it may. One that was taken for its signature needs it still; one that
 * was taken without goes on without, unless its key was revoked.
 */
export function refusalOfPlugin(
  plugin: { readonly signedBy: string | null; readonly isTrusted: boolean },
  keys: PluginKeys,
): string | null {
  const trust = keys.trustOf(plugin.signedBy);
  if (trust === 'revoked') return `the key that signed it (${plugin.signedBy ?? ''}) was revoked`;
  if (trust === 'trusted' || !plugin.isTrusted) return null;
  return `it was installed for its signature, and ${plugin.signedBy ?? 'nobody'} is not trusted any more; trust the key, or install it again with --allow-unsigned`;
}
