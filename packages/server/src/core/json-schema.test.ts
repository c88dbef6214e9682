import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, it } from 'vitest';
import { createSchemaValidator } from '#core';

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

it('a long list whose items are to differ does not hold up the server', () => {
  const schema = { type: 'array', uniqueItems: true };
  const items: unknown[] = Array.from({ length: 20_000 }, (_, at) => ({ at, next: { at } }));
  const startedAt = performance.now();
  expect(validator.check(schema, items)).toEqual([]);
  expect(validator.check(schema, [...items, { next: { at: 7 }, at: 7 }])).toMatchObject([{ expected: 'not have the same item twice' }]);
  expect(validator.check(schema, [1, '1', null, 'null', [], {}, 0, false])).toEqual([]);
  expect(validator.check({ uniqueItems: false }, [1, 1])).toEqual([]);
  expect(performance.now() - startedAt).toBeLessThan(3_000); // seconds of comparing each with each, on any machine
});

it('other patterns decide as ever, for short and for long texts', () => {
  expect(fits('^[a-z]+-[0-9]{2,4}$', 'abc-123')).toBe(true);
  expect(fits('^[a-z]+-[0-9]{2,4}$', `${'a'.repeat(10_000)}-123`)).toBe(true);
  expect(fits('^[a-z]+-[0-9]{2,4}$', `${'a'.repeat(10_000)}-1`)).toBe(false);
  expect(fits('^\\p{L}+$', 'Grüße'.repeat(10))).toBe(true);
});

it('takes schemas of other drafts and of the same $id', () => {
  const schema = { $schema: 'http://json-schema.org/draft-07/schema#', $id: 'same', type: 'object', required: ['a'] };
  expect([schema, { ...schema, required: ['b'] }].map((each) => validator.check(each, { a: 1 }).length)).toEqual([0, 1]);
});

it('says when the schema itself is broken', () => {
  expect(() => validator.check({ type: 'nonsense' }, {})).toThrow(expect.objectContaining({ code: 'config_invalid' }));
});

it('keeps a bounded amount of schemas, however many come', () => {
  setFlagsFromString('--expose-gc');
  const collect: () => void = runInNewContext('gc');
  const heapMb = () => {
    collect();
    return process.memoryUsage().heapUsed / 1e6;
  };
  const check = (index: number) => validator.check({ type: 'string', description: `${index}${'x'.repeat(90_000)}` }, 'text');
  check(-1);
  const before = heapMb();
  for (let index = 0; index < 600; index++) check(index);
  expect(heapMb() - before).toBeLessThan(30);
});
