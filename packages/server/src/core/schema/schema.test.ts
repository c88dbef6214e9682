import { Ajv2020 } from 'ajv/dist/2020.js';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createSchemaValidator, findSchemaFaults, type JsonSchema } from '#core';

const ajv = new Ajv2020({ allErrors: true, strict: false, validateFormats: false, logger: false, ownProperties: true });
const validator = createSchemaValidator();
const fits = (schema: JsonSchema, value: unknown) => validator.check(schema, value).length === 0;

const names = fc.constantFrom('a', 'b', 'c', 'ab');
const small = fc.integer({ min: 0, max: 3 });
const scalars = fc.constantFrom<unknown>(null, true, false, 0, 1, 2.5, -1, '', 'a', 'ab', '𝒳', 'b1');

const { value } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    scalars,
    fc.array(tie('value'), { maxLength: 3 }),
    fc.dictionary(names, tie('value'), { maxKeys: 3, noNullPrototype: true }),
  ),
}));

/** Beside `prefixItems`, ajv forgets in an `if` or a `not` that `contains` did not fit. Both together are tested by themselves. */
function withoutConfusion(schema: JsonSchema): JsonSchema {
  if (schema.prefixItems === undefined) return schema;
  const { contains: _contains, minContains: _min, maxContains: _max, ...rest } = schema;
  return rest;
}

/** Schemas as people write them, and with everything that one part says of another. */
const { schema } = fc.letrec<{ schema: JsonSchema | boolean; some: JsonSchema }>((tie) => {
  const part = tie('schema');
  const list = fc.array(part, { minLength: 1, maxLength: 3 });
  const keyword = fc.oneof(
    fc.record({
      type: fc.constantFrom<unknown>(
        'null',
        'boolean',
        'integer',
        'number',
        'string',
        'array',
        'object',
        ['string', 'null'],
        ['array', 'object'],
      ),
    }),
    fc.record({ enum: fc.uniqueArray(value, { minLength: 1, maxLength: 3, selector: (item) => JSON.stringify(item) }) }),
    fc.record({ const: value }),
    fc.record({ maximum: small }),
    fc.record({ exclusiveMinimum: small }),
    fc.record({ multipleOf: fc.constantFrom(0.5, 1, 2) }),
    fc.record({ minLength: small, maxLength: small }),
    fc.record({ pattern: fc.constantFrom('^a', 'b$', '^[ab]*$', '\\d', '^.$', '^\\p{L}+$') }),
    fc.record({ minItems: small, maxItems: small }),
    fc.record({ uniqueItems: fc.boolean() }),
    fc.record({ prefixItems: list }),
    fc.record({ items: part }),
    fc.record({ contains: part, minContains: small }),
    fc.record({ contains: part, maxContains: small }),
    fc.record({ minProperties: small, maxProperties: small }),
    fc.record({ required: fc.uniqueArray(names, { maxLength: 2 }) }),
    fc.record({ properties: fc.dictionary(names, part, { maxKeys: 3, noNullPrototype: true }) }),
    fc.record({ patternProperties: fc.dictionary(fc.constantFrom('^a', 'b', 'c$'), part, { maxKeys: 2, noNullPrototype: true }) }),
    fc.record({ additionalProperties: part }),
    fc.record({ propertyNames: part }),
    fc.record({ dependentRequired: fc.dictionary(names, fc.uniqueArray(names, { maxLength: 2 }), { maxKeys: 2, noNullPrototype: true }) }),
    fc.record({ dependentSchemas: fc.dictionary(names, part, { maxKeys: 2, noNullPrototype: true }) }),
    fc.record({ anyOf: list }),
    fc.record({ oneOf: list }),
    fc.record({ allOf: list }),
    fc.record({ not: part }),
    fc.tuple(part, part, part).map(([a, b, c]) => Object.fromEntries(Object.entries({ if: a, else: c }).concat([['then', b]]))),
    fc.record({ title: fc.constant('x'), description: fc.constant('y'), format: fc.constant('email'), default: value }),
    fc.constant({ $ref: '#/$defs/one' }),
  );
  return {
    schema: fc.oneof({ depthSize: 'small', withCrossShrink: true }, fc.boolean(), tie('some'), tie('some')),
    some: fc.array(keyword, { minLength: 1, maxLength: 3 }).map((parts) => withoutConfusion(Object.assign({}, ...parts))),
  };
});
const whole = fc
  .tuple(schema, schema)
  .map(([root, one]): JsonSchema => ({ ...(typeof root === 'boolean' ? { allOf: [root] } : root), $defs: { one } }));

describe('a check against a schema [verifies hostile.stall.verdicts]', () => {
  it('says what ajv says', () => {
    let compared = 0;
    fc.assert(
      fc.property(whole, fc.array(value, { minLength: 4, maxLength: 4 }), (root, values) => {
        if (findSchemaFaults(root).length > 0) return; // it leads back to itself
        const known = ajv.compile(root);
        for (const item of values) {
          let verdict: boolean;
          try {
            verdict = known(item);
          } catch {
            continue; // what it makes of `patternProperties: { a: false }` beside alternatives fails by itself
          }
          compared += 1;
          expect([item, fits(root, item)]).toEqual([item, verdict]);
        }
      }),
      { numRuns: 400 },
    );
    expect(compared).toBeGreaterThan(1_000);
  });

  it('knows what was held against a schema before', () => {
    const open: JsonSchema = {
      allOf: [{ properties: { a: true } }],
      anyOf: [{ required: ['b'], properties: { b: true } }, true],
      unevaluatedProperties: false,
    };
    expect([{ a: 1 }, { a: 1, b: 1 }, { c: 1 }].map((item) => fits(open, item))).toEqual([true, true, false]);
    const list: JsonSchema = { prefixItems: [true], contains: { type: 'string' }, unevaluatedItems: false };
    expect([[1, 'a'], [1, 'a', 2], ['a']].map((item) => fits(list, item))).toEqual([true, false, true]);
  });

  it('needs one item at least where it may have none', () => {
    const none: JsonSchema = { contains: { type: 'string' }, maxContains: 0 };
    expect([[], ['a'], [1], 'a'].map((item) => fits(none, item))).toEqual([false, false, false, true]);
    expect([[], ['a'], [1]].map((item) => fits({ ...none, minContains: 0 }, item))).toEqual([true, false, true]);
    const within: JsonSchema = { not: { contains: { exclusiveMinimum: 0 }, maxContains: 3, prefixItems: [{ required: [] }] } };
    expect([[], [1], [-1]].map((item) => fits(within, item))).toEqual([true, false, true]);
  });

  it('takes names that objects of JavaScript have', () => {
    const closed: JsonSchema = { properties: { a: true }, patternProperties: { '^x': true }, unevaluatedProperties: false };
    expect(['constructor', 'toString', 'hasOwnProperty'].map((name) => fits(closed, { [name]: 1 }))).toEqual([false, false, false]);
    expect(fits({ required: ['toString'] }, {})).toBe(false);
    expect(fits({ dependentRequired: { constructor: ['a'] } }, {})).toBe(true);
  });

  const words = (count: number) => Array.from({ length: count }, (_, at) => ({ at, of: { at } }));
  const nested = (depth: number) => Array.from({ length: depth }).reduce((inner: unknown) => [inner], 'x');
  const same = (count: number, part: unknown) => Array.from({ length: count }, () => part);
  const evil: [string, JsonSchema, unknown][] = [
    [
      'alternatives within alternatives',
      { $defs: { a: { anyOf: same(3, { type: 'array', items: { $ref: '#/$defs/a' } }) } }, $ref: '#/$defs/a' },
      nested(200),
    ],
    [
      'one of many within one of many',
      { $defs: { a: { oneOf: same(3, { items: { $ref: '#/$defs/a' }, minItems: 1 }) } }, $ref: '#/$defs/a' },
      nested(200),
    ],
    [
      'nothing but parts of parts',
      { $defs: { a: { allOf: same(250, { type: 'number' }) } }, items: { allOf: same(250, { $ref: '#/$defs/a' }) } },
      same(18, 1),
    ],
    ['a pattern that backtracks', { pattern: '^(a+)+$' }, `${'a'.repeat(5_000_000)}!`],
    ['a pattern of many states', { pattern: '(.?){3000}x' }, 'a'.repeat(5_000_000)],
    ['what looks ahead', { pattern: `^${'(?=.*b)'.repeat(200)}` }, 'a'.repeat(5_000_000)],
    [
      'patterns of names',
      { patternProperties: Object.fromEntries(words(300).map(({ at }) => [`(a|b)*${at}$`, true])) },
      Object.fromEntries(words(50_000).map(({ at }) => [`ab${at}`, 1])),
    ],
    ['items that differ', { uniqueItems: true }, words(300_000)],
    ['what is contained', { allOf: same(200, { contains: { const: 'z' } }) }, words(200_000)],
    ['constant objects', { items: { enum: words(2_000) } }, same(100, words(2_000)).flat()],
    [
      'names that others need',
      { items: { required: words(2_000).map(({ at }) => `r${at}`) } },
      same(200_000, Object.fromEntries(words(2_000).map(({ at }) => [`r${at}`, 1]))),
    ],
    [
      'what nobody has seen',
      { unevaluatedProperties: false, allOf: same(200, { additionalProperties: true }) },
      Object.fromEntries(words(100_000).map(({ at }) => [`n${at}`, 1])),
    ],
    [
      'names of members',
      { propertyNames: { allOf: same(200, { pattern: 'x$' }) } },
      Object.fromEntries(words(50_000).map(({ at }) => [`n${at}x`, 1])),
    ],
  ];

  it.each(evil)('ends within its steps, and then does not fit, for %s', (_, root, item) => {
    const before = process.cpuUsage();
    const issues = validator.check(root, item);
    const used = process.cpuUsage(before);
    expect(issues).toMatchObject([{ path: '', expected: expect.stringContaining('too many steps') }]);
    expect((used.user + used.system) / 1_000).toBeLessThan(2_000); // seconds and minutes without
  });

  it.each<[string, JsonSchema, RegExp]>([
    ['a circle', { $ref: '#' }, /leads back to itself/],
    [
      'a circle through alternatives',
      { $defs: { a: { anyOf: [{ $ref: '#/$defs/b' }] }, b: { not: { $ref: '#/$defs/a' } } } },
      /leads back to itself/,
    ],
    ['a reference to nothing', { properties: { a: { $ref: '#/$defs/b' } } }, /leads to no schema/],
    ['a reference to what is no schema', { $ref: '#/title', title: 'x' }, /leads to no schema/],
    ['a reference to a prototype', { $ref: '#/constructor' }, /leads to no schema/],
    ['too many parts', { anyOf: same(257, {}) }, /at most 256/],
    ['too much text', { description: 'x'.repeat(100_001) }, /at most 100000/],
  ])('is not begun for %s', (_, root, message) => {
    expect(findSchemaFaults(root)[0]?.message).toMatch(message);
    expect(() => validator.check(root, 1)).toThrow(expect.objectContaining({ code: 'config_invalid' }));
  });

  it('takes what zod, pydantic and servers of tools write', () => {
    const written: JsonSchema[] = [
      {
        $schema: 'http://json-schema.org/draft-07/schema#',
        type: 'object',
        properties: { p: { type: 'array', items: [{ type: 'string' }], minItems: 1 } },
        definitions: { N: { type: 'object' } },
        additionalProperties: false,
      },
      {
        title: 'Args',
        type: 'object',
        $defs: {
          Node: {
            title: 'Node',
            type: 'object',
            properties: { next: { anyOf: [{ $ref: '#/$defs/Node' }, { type: 'null' }], default: null } },
          },
        },
        properties: { n: { $ref: '#/$defs/Node' } },
      },
      {
        type: 'object',
        properties: {
          x: {
            type: 'string',
            format: 'date-time',
            examples: ['a'],
            'x-order': 1,
            nullable: true,
            discriminator: { propertyName: 'type' },
          },
        },
      },
      {
        $schema: 'https://json-schema.org/draft/2020-12/schema',
        $id: 'https://example.com/a',
        type: 'object',
        propertyNames: { type: 'string' },
        additionalProperties: {},
      },
    ];
    expect(written.map(findSchemaFaults)).toEqual([[], [], [], []]);
  });
});
