import { errorTable, Problem } from '@nexus-agent/protocol';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { errorOf } from './errors.ts';

/** Bodies that are problems, nearly problems, and anything else. */
const body = fc.oneof(
  fc.jsonValue(),
  fc.record(
    {
      type: fc.oneof(fc.string(), fc.integer()),
      title: fc.oneof(fc.string(), fc.constant(null)),
      status: fc.oneof(fc.integer({ min: 400, max: 599 }), fc.constantFrom(400.5, '400', 1e300)),
      detail: fc.oneof(fc.string(), fc.boolean()),
      code: fc.oneof(fc.constantFrom(...Object.keys(errorTable)), fc.constantFrom('nonsense', 'toString', '__proto__', 7)),
      retryable: fc.oneof(fc.boolean(), fc.constant('yes')),
      instance: fc.oneof(fc.string(), fc.integer()),
      details: fc.oneof(fc.dictionary(fc.string(), fc.jsonValue()), fc.constantFrom([], 'x', null)),
      more: fc.string(),
    },
    { requiredKeys: [] },
  ),
  fc.record(
    {
      type: fc.string(),
      title: fc.string(),
      status: fc.integer({ min: 400, max: 599 }),
      detail: fc.string(),
      code: fc.oneof({ weight: 4, arbitrary: fc.constantFrom(...Object.keys(errorTable)) }, fc.constantFrom('nonsense', 'toString')),
      retryable: fc.boolean(),
      instance: fc.string(),
      details: fc.dictionary(fc.oneof(fc.string(), fc.constant('__proto__')), fc.jsonValue()),
      more: fc.string(),
    },
    { requiredKeys: ['type', 'title', 'status', 'detail', 'code', 'retryable'] },
  ),
);

it('takes no prototype from the details of a problem', async () => {
  const text =
    '{"type":"t","title":"t","status":400,"detail":"d","code":"conflict","retryable":false,"details":{"__proto__":{"x":1},"y":2}}';
  const { details } = (await errorOf(new Response(text, { status: 400 }))).problem;
  expect(JSON.stringify(details)).toBe('{"y":2}');
  expect(Object.assign({}, details)).not.toHaveProperty('x');
  expect(Problem.parse(JSON.parse(text)).details).toEqual(details);
});

it('reads a problem exactly as the schema of the protocol does, and everything else by its status', async () => {
  await fc.assert(
    fc.asyncProperty(body, async (value) => {
      const text = JSON.stringify(value);
      const expected = Problem.safeParse(JSON.parse(text));
      const error = await errorOf(new Response(text, { status: 418 }));
      if (expected.success) expect(error.problem).toEqual(expected.data);
      else expect(error.problem).toMatchObject({ status: 418, code: 'invalid_request', detail: expect.stringContaining('418') });
    }),
    { numRuns: 500 },
  );
});
