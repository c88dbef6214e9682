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
    some: fc.array(keyword, { minLength: 1, maxLength: 3 }).map((parts) => Object.assign({}, ...parts) as JsonSchema),
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
});
