import { expect, it } from 'vitest';
import { createSchemaValidator } from '#tools';

const validator = createSchemaValidator();
const fits = (pattern: string, text: string) => validator.check({ type: 'string', pattern }, text).length === 0;

it('a pattern that backtracks without end does not hold up the server: the text does not fit', () => {
  const startedAt = performance.now();
  expect(fits('^(a+)+$', `${'a'.repeat(40)}b`)).toBe(false);
  expect(fits('(x+x+)+y', 'x'.repeat(200))).toBe(false);
  expect(fits('a*c', 'a'.repeat(200_000))).toBe(false);
  expect(validator.check({ patternProperties: { '^(a+)+$': { type: 'number' } } }, { [`${'a'.repeat(40)}b`]: 1 })).toEqual([]);
  expect(performance.now() - startedAt).toBeLessThan(1_000);
});

it('other patterns decide as ever, for short and for long texts', () => {
  expect(fits('^[a-z]+-[0-9]{2,4}$', 'abc-123')).toBe(true);
  expect(fits('^[a-z]+-[0-9]{2,4}$', `${'a'.repeat(10_000)}-123`)).toBe(true);
  expect(fits('^[a-z]+-[0-9]{2,4}$', `${'a'.repeat(10_000)}-1`)).toBe(false);
  expect(fits('^\\p{L}+$', 'Grüße'.repeat(10))).toBe(true);
});
