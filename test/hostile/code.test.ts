import { describe, expect, it } from 'vitest';
import { attemptCode, attemptModule, codeAttacks, moduleAttacks } from './support/code-attacks.ts';

const named = <T extends { readonly name: string }>(attacks: readonly T[]) =>
  attacks.map((attack) => ({ ...attack, toString: () => attack.name }));

describe('code that attacks its engine', () => {
  it.each(named(codeAttacks))('$name, and does not succeed [verifies sandbox.contained]', async (attack) => {
    expect(await attemptCode(attack, false)).toBe(false);
  });
});

describe('modules that attack their host', () => {
  it.each(named(moduleAttacks))('$name, and do not succeed [verifies sandbox.contained]', async (attack) => {
    expect(await attemptModule(attack, false)).toBe(false);
  });
});
