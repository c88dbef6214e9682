import { describe, expect, it } from 'vitest';
import { createPluginKeys, createSigningKey, fingerprintOfKey, keyOfRowName, refusalOfPlugin, rowNameOfKey } from './index.ts';

const [operator, own, other] = [createSigningKey().publicKey, createSigningKey().publicKey, createSigningKey().publicKey] as const;
const row = (key: string, state: 'trusted' | 'revoked') => ({ kind: 'plugin-key', name: rowNameOfKey(fingerprintOfKey(key), state) });

describe('what a tenant knows of keys', () => {
  it('is what the operator says and what it says itself', () => {
    const keys = createPluginKeys([operator], [row(own, 'trusted'), { kind: 'plugin', name: fingerprintOfKey(other) }]);
    expect([operator, own, other, null].map((key) => keys.trustOf(key))).toEqual(['trusted', 'trusted', 'untrusted', 'unsigned']);
    expect(createPluginKeys([], []).trustOf(operator)).toBe('untrusted');
    expect(keyOfRowName(row(own, 'revoked').name)).toEqual({ fingerprint: fingerprintOfKey(own), state: 'revoked' });
    expect(keyOfRowName(row(own, 'trusted').name)).toEqual({ fingerprint: fingerprintOfKey(own), state: 'trusted' });
  });

  it('decides what may be called: for its signature as long as that counts, without one until it is revoked [verifies plugins.keys]', () => {
    const refusals = (keys: ReturnType<typeof createPluginKeys>) =>
      [true, false].map((isTrusted) => refusalOfPlugin({ signedBy: own, isTrusted }, keys) !== null);
    expect(refusals(createPluginKeys([], [row(own, 'trusted')]))).toEqual([false, false]);
    expect(refusals(createPluginKeys([], []))).toEqual([true, false]);
    expect(refusals(createPluginKeys([own], [row(own, 'revoked')]))).toEqual([true, true]);
    expect(refusalOfPlugin({ signedBy: null, isTrusted: false }, createPluginKeys([], []))).toBeNull();
  });
});

describe('what went wrong elsewhere', () => {
  // Of two copies of a key only the first was looked at, so that its revocation did not count.
  it('a key that is there twice, once revoked, is revoked in either order [verifies plugins.keys]', () => {
    const rows = [row(own, 'trusted'), row(own, 'revoked')];
    for (const heads of [rows, rows.toReversed()]) expect(createPluginKeys([own, own], heads).trustOf(own)).toBe('revoked');
  });

  // Where nobody had configured a key, nothing was verified.
  it('without a single key nothing is trusted [verifies plugins.trust]', () => {
    expect(createPluginKeys([], []).trustOf(own)).toBe('untrusted');
  });
});
