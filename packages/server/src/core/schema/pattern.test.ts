import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createPattern } from './pattern.ts';

const plenty = () => ({ left: 10_000_000 });
const test = (source: string, text: string) => createPattern(source).test(text, plenty());

/** By ECMAScript a search goes from character to character. V8 by itself also begins within one of two code units, where nothing is told to be. */
function isFound(sticky: RegExp, text: string): boolean {
  for (const at of [0, ...Array.from(text, (char) => char.length).map((_, index, lengths) => sum(lengths.slice(0, index + 1)))]) {
    sticky.lastIndex = at;
    if (sticky.test(text)) return true;
  }
  return false;
}

const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0);

describe('a pattern [verifies hostile.stall.patterns]', () => {
  const char = fc.constantFrom('a', 'b', '-', '1', ' ', 'ü', '𝒳', '\n', '_');
  const atom = fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom('a', 'b', 'ü', '𝒳') },
    fc.constantFrom(
      '.',
      '\\d',
      '\\w',
      '\\s',
      '\\W',
      '[ab]',
      '[^a]',
      '[a-z\\-]',
      '\\p{L}',
      '\\u{1d4b3}',
      '\\ud835\\udcb3',
      '\\x61',
      '\\u00fc',
      '[\\u{1d4b3}b]',
    ),
    fc.constantFrom('^', '$', '\\b', '\\B'),
  );
  const { pattern } = fc.letrec<{ pattern: string; term: string; part: string }>((tie) => ({
    pattern: fc.oneof(
      { depthSize: 'small', withCrossShrink: true },
      tie('term'),
      fc.array(tie('term'), { maxLength: 4 }).map((terms) => terms.join('')),
      fc.tuple(tie('pattern'), tie('pattern')).map(([a, b]) => `${a}|${b}`),
    ),
    term: fc.oneof(
      { depthSize: 'small', withCrossShrink: true },
      atom,
      fc
        .tuple(tie('pattern'), fc.constantFrom('(', '(?:', '(?<x>'))
        .map(([inner, open]) => `${open}${open === '(?<x>' ? inner.replaceAll('(?<x>', '(') : inner})`),
      fc.tuple(tie('pattern'), fc.constantFrom('(?=', '(?!', '(?<=', '(?<!')).map(([inner, open]) => `${open}${inner})`),
      fc
        .tuple(tie('part'), fc.constantFrom('*', '+', '?', '{2}', '{1,3}', '{0,2}', '{1,}', '*?', '+?', '{0}'))
        .map(([inner, times]) => `${inner}${times}`),
    ),
    part: fc.oneof(
      { depthSize: 'small' },
      fc.constantFrom('a', 'b', '.', '[ab]', '\\w'),
      tie('pattern').map((inner) => `(?:${inner})`),
    ),
  }));

  it('says what the engine of JavaScript says', () => {
    fc.assert(
      fc.property(
        pattern,
        fc.array(char, { maxLength: 8 }).map((chars) => chars.join('')),
        (source, text) => {
          let known: RegExp;
          try {
            known = new RegExp(source, 'uy');
          } catch {
            return; // two groups of one name
          }
          expect(test(source, text)).toBe(isFound(known, text));
        },
      ),
      { numRuns: 3_000 },
    );
  });

  it.each([
    [
      'an address as zod writes it',
      "^(?!\\.)(?!.*\\.\\.)([A-Za-z0-9_'+\\-\\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\\-]*\\.)+[A-Za-z]{2,}$",
      'ada@example.com',
      'a..b@example.com',
    ],
    [
      'a duration',
      '^P(?:(\\d+W)|(?!.*W)(?=\\d|T\\d)(\\d+Y)?(\\d+M)?(\\d+D)?(T(?=\\d)(\\d+H)?(\\d+M)?(\\d+([.,]\\d+)?S)?)?)$',
      'P3DT4H',
      'PT',
    ],
    [
      'a UUID',
      '^([0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[1-8][0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12})$',
      '0190a5c4-7f9e-7bb0-8a55-0242ac120002',
      '0190a5c4',
    ],
    ['a password', '^(?=.*\\d)(?=.*[a-z]).{8,}$', 'abcdefg1', 'abcdefgh'],
  ])('takes %s, and decides as it means', (_, source, good, bad) => {
    expect([test(source, good), test(source, bad)]).toEqual([true, false]);
  });

  it.each([
    ['(a)\\1', /refers to what a group took/],
    ['(?<x>a)\\k<x>', /refers to what a group took/],
    ['(?i:a)', /flags/],
    ['[', /character class/],
    ['((((a{1000}){1000}){1000}){1000})', /repetitions in it make it too large/],
    [`${'('.repeat(500)}a${')'.repeat(500)}`, /nest deeper/],
    ['a'.repeat(5_000), /at most 4096 characters/],
  ])('that cannot be matched in linear time, %s, is refused with the reason', (source, message) => {
    expect(() => createPattern(source)).toThrow(message);
  });

  it('takes time in proportion to the text, however it is written', () => {
    const evil = [
      '^(a+)+$',
      '(a|a)*$',
      '(.*)*x',
      '^(([a-z])+.)+[A-Z]([a-z])+$',
      'a*a*a*a*a*b',
      '(x+x+)+y',
      '^(?=(a+)+$)',
      '(?<!(a*)*b)c',
      '(a?){50}a{50}b',
    ];
    for (const source of evil) {
      const left = (chars: number) => {
        const fuel = plenty();
        createPattern(source).test(`${'a'.repeat(chars)}!`, fuel);
        return 10_000_000 - fuel.left;
      };
      expect(left(4_000) / left(2_000)).toBeLessThan(2.1);
    }
  });

  it('gives up where the fuel ends', () => {
    expect(() => createPattern('(a|b)*c').test('ab'.repeat(10_000), { left: 1_000 })).toThrow('too many steps');
  });
});
