import { afterEach, describe, expect, it, vi } from 'vitest';
import { howMany } from './how-many.ts';

describe('how many of what is drawn', () => {
  afterEach(() => vi.unstubAllEnvs());
  const ask = (asked: string | undefined) => {
    vi.stubEnv('NEXUS_TEST_OF_HOW_MANY', asked);
    return howMany('NEXUS_TEST_OF_HOW_MANY', 24);
  };

  it('is what the environment asks for, else the standard', () => {
    expect([ask('7'), ask(undefined)]).toEqual([7, 24]);
  });

  it.each(['abc', '', '0', '-3', '1.5', '1e3'])('is never nothing: %j is refused', (asked) => {
    expect(() => ask(asked)).toThrow('NEXUS_TEST_OF_HOW_MANY: expected a whole number from 1');
  });
});
