import { expect, it } from 'vitest';
import { isSameJson } from './json.ts';

it.each([
  ['{"a":1}', '{ "a" : 1 }', true],
  ['{"a":1,"b":2}', '{"b":2,"a":1}', true],
  ['{"a":"\\u00e9"}', '{"a":"é"}', true],
  ['{"a":1}', '{"a":2}', false],
  ['{"a":1}', '{"a":1', false],
])('tells of %s and %s whether they say the same', (one, other, same) => {
  expect(isSameJson(one, other)).toBe(same);
  expect(isSameJson(other, one)).toBe(same);
});

it('does not read much because of little: a text of many times the length is another one [verifies hostile.provider.answers]', () => {
  const padded = (blanks: number) => `{"a":${' '.repeat(blanks)}1}`;
  expect(isSameJson('{"a":1}', padded(100))).toBe(true);
  expect(isSameJson('{"a":1}', padded(1_000))).toBe(false);
  expect(isSameJson(padded(1_000), '{"a":1}')).toBe(false);
});
