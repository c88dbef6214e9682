import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { databases, type Reply, startVictim, type Victim } from './support/victim.ts';

const maxAnswerBytes = 16 * 1024;
const json = (value: unknown) => JSON.stringify(value);
const many = (count: number, item: (index: number) => string) => Array.from({ length: count }, (_, index) => item(index)).join(',');

function expectProblem({ status, text, headers }: Reply, wanted: number | readonly number[]): void {
  expect([wanted].flat(), text.slice(0, 300)).toContain(status);
  expect(headers.get('content-type')).toBe('application/problem+json');
  expect(Buffer.byteLength(text)).toBeLessThanOrEqual(maxAnswerBytes);
}

for (const database of await databases()) {
  describe(`on ${database}`, () => {
    let victim: Victim;
    let sessionId: string;

    beforeAll(async () => {
      victim = await startVictim({ database });
      await victim.agent('any');
      sessionId = (await victim.call('POST', '/v1/sessions', { agent: 'any' })).body.id;
    }, 120_000);
    afterAll(() => victim.close());

    /** Method, path, body, statuses. */
    const bodies: [string, string, string, () => string, number | readonly number[]][] = [
      ['2.3 MB of unknown fields', 'POST', '/v1/sessions', () => `{${many(150_000, (at) => `"field${at}":1`)}}`, 413],
      ['28 MB of unknown fields', 'POST', '/v1/runs', () => `{${many(1_900_000, (at) => `"field${at}":1`)}}`, 413],
      [
        'as many unknown fields as are taken, with long names',
        'POST',
        '/v1/sessions',
        () => `{${many(4_900, (at) => `"${'x'.repeat(40)}${at}":1`)}}`,
        400,
      ],
      ['one name of 250 KB', 'POST', '/v1/sessions', () => `{"${'\u0001'.repeat(100)}${'n'.repeat(250_000)}":1}`, 400],
      ['a record of wrong values', 'POST', '/v1/sessions', () => `{"metadata":{${many(4_900, (at) => `"m${at}":${at}`)}}}`, 400],
      ['policies that are none', 'POST', '/v1/sessions', () => `{"policy":{"deny":[${many(4_900, () => '7')}]}}`, 400],
      ['wrong items of an agent', 'POST', '/v1/agents', () => `{"name":"x","tools":[${many(9_900, () => '{}')}]}`, 400],
      ['wrong parts of a union', 'POST', '/v1/runs', () => `{"input":[${many(4_900, () => '1')}]}`, 400],
      ['lists in lists', 'POST', '/v1/runs', () => `{"input":${'['.repeat(200)}${many(4_000, () => '1')}${']'.repeat(200)}}`, 400],
      ['15 MB of empty lists', 'POST', '/v1/runs', () => `{"input":[${many(5_000_000, () => '[]')}]}`, 413],
      ['more nesting than a stack has', 'POST', '/v1/runs', () => `{"input":${'['.repeat(5_000_000)}`, [400, 413]],
      ['15 MB of text that is too long, all of it escaped', 'POST', '/v1/runs', () => `{"input":"${'\\u00e9'.repeat(2_500_000)}"}`, 413],
      ['15 MB of quotes', 'POST', '/v1/runs', () => `{"input":"${'\\"'.repeat(7_500_000)}"}`, 413],
      ['15 MB of text in parts', 'POST', '/v1/runs', () => json({ input: [{ type: 'text', text: 'a'.repeat(15_000_000) }] }), 400],
      [
        'an address of 15 MB',
        'POST',
        '/v1/runs',
        () => json({ input: [{ type: 'image', mediaType: 'image/png', data: { url: `https://a/${'é'.repeat(7_000_000)}` } }] }),
        400,
      ],
      ['scopes without number', 'POST', '/v1/keys', () => `{"name":"k","scopes":[${many(4_900, () => '"admin"')}]}`, 400],
      [
        'values without number for a tool',
        'POST',
        '/v1/tools/code_js/execute',
        () => `{"input":{"a":[${many(1_000_000, () => '{}')}]}}`,
        413,
      ],
      ['`__proto__` as a name', 'POST', '/v1/sessions', () => '{"__proto__":{"agent":"any"}}', 400],
      ['a number of 4 MB', 'POST', '/v1/tools/code_js/execute', () => `{"sessionId":${'9'.repeat(4_000_000)}}`, 400],
      ['a number of 16 MB', 'POST', '/v1/runs', () => `{"input":${'9'.repeat(15_900_000)}}`, 400],
    ];

    it.each(bodies)(
      '%s holds nobody up and is told within 16 KB [verifies hostile.stall.bodies]',
      async (_, method, path, body, status) => {
        const sent = body();
        expectProblem(await victim.unmoved(() => victim.call(method, path, sent)), status);
      },
    );

    it('arguments of a tool that are large, or wrong in large numbers, hold nobody up [verifies hostile.stall.arguments]', async () => {
      const names = Object.fromEntries(Array.from({ length: 30_000 }, (_, at) => [`${'n'.repeat(80)}${at}`, at]));
      const inputs = [
        names,
        { [`${'p'.repeat(3_000_000)}`]: 1, code: 1 },
        { code: 'x'.repeat(3_500_000) },
        { code: '1', files: Array(90_000).fill(7) },
      ];
      for (const input of inputs) {
        const answer = await victim.unmoved(() => victim.call('POST', '/v1/tools/code_js/execute', { sessionId, input }));
        expectProblem(answer, 400);
        expect(answer.body.code).toBe('tool_input_invalid');
      }
      const big = { sessionId, input: { code: 'return input.length', input: Array.from({ length: 80_000 }, (_, at) => at) } };
      expect((await victim.unmoved(() => victim.call('POST', '/v1/tools/code_js/execute', big))).status).toBe(200);
    });

    it('headers, paths and queries as long as they may be hold nobody up, and are told briefly [verifies hostile.stall.bodies]', async () => {
      const query = Array.from({ length: 3_000 }, (_, at) => `q${at}`).join('&');
      for (const path of [`/v1/sessions?${query}`, `/v1/sessions?${'c'.repeat(12_000)}=1`, `/v1/sessions?limit=${'9'.repeat(12_000)}`]) {
        expectProblem(await victim.unmoved(() => victim.call('GET', path)), 400);
      }
      expectProblem(await victim.call('GET', `/v1/${'a'.repeat(10_000)}`), [400, 404]);
      expectProblem(await victim.call('POST', '/v1/sessions', {}, { 'idempotency-key': 'k'.repeat(8_000) }), 400);
    });

    const schema = (outputSchema: unknown) => ({ name: 'broken', outputSchema });
    it.each<[string, unknown, string]>([
      ['a type that there is not', { properties: { a: { type: 'strnig' } } }, 'outputSchema.properties.a.type'],
      ['a reference to nothing', { properties: { a: { $ref: '#/$defs/gone' } } }, 'outputSchema.properties.a.$ref'],
      ['a reference elsewhere', { $ref: 'https://example.com/schema.json' }, 'outputSchema.$ref'],
      ['a pattern that is none', { properties: { a: { pattern: '[' } } }, 'outputSchema.properties.a.pattern'],
      [
        'a pattern that no engine matches in linear time',
        { properties: { a: { pattern: '(a+)\\1' } } },
        'outputSchema.properties.a.pattern',
      ],
      ['names that are no list', { required: 'a' }, 'outputSchema.required'],
      ['a length below nothing', { items: { maxLength: -1 } }, 'outputSchema.items.maxLength'],
      ['alternatives that are no list', { anyOf: {} }, 'outputSchema.anyOf'],
      ['a keyword of an engine', { $async: true }, 'outputSchema.$async'],
      ['data that is a reference', { properties: { a: { maximum: { $data: '1/b' } } } }, 'outputSchema.properties.a.maximum'],
      ['a circle', { $defs: { a: { $ref: '#/$defs/b' }, b: { anyOf: [{ $ref: '#/$defs/a' }] } }, $ref: '#/$defs/a' }, 'outputSchema'],
      ['a dynamic reference', { $dynamicRef: '#x' }, 'outputSchema.$dynamicRef'],
      ['no factor', { multipleOf: 0 }, 'outputSchema.multipleOf'],
      ['too many names', { required: Array.from({ length: 10_000 }, (_, at) => `r${at}`) }, 'outputSchema.required'],
      ['more depth than is taken', Array.from({ length: 100 }).reduce((inner: unknown) => ({ items: inner }), {}), 'outputSchema'],
    ])('a schema with %s is refused when it is put, with the place [verifies hostile.stall.schemas]', async (_, outputSchema, path) => {
      const answer = await victim.unmoved(() => victim.call('POST', '/v1/agents', schema(outputSchema)));
      expectProblem(answer, 400);
      expect(answer.body.code).toBe('invalid_request');
      expect(answer.body.details.issues[0].path).toMatch(new RegExp(`^${path.replaceAll(/[.$]/g, '\\$&')}`));
      expect((await victim.call('GET', '/v1/agents/broken')).status).toBe(404);
    });

    it('schemas that are as dear as they may be hold nobody up, when put and when an answer is held against them [verifies hostile.stall.schemas]', async () => {
      const text = { type: 'string' };
      const dear: [string, Record<string, unknown>][] = [
        [
          'alternatives',
          {
            $defs: { a: { anyOf: Array.from({ length: 200 }, () => ({ type: 'array', items: { $ref: '#/$defs/a' } })) } },
            $ref: '#/$defs/a',
          },
        ],
        [
          'patterns',
          {
            type: 'object',
            properties: { a: { ...text, pattern: '^(([a-z]+)*)*!$' } },
            patternProperties: { '^(a|a)*$': text, '(x+x+)+y': text },
          },
        ],
        ['many', { type: 'object', properties: Object.fromEntries(Array.from({ length: 1_400 }, (_, at) => [`p${at}`, text])) }],
        ['large', { enum: Array.from({ length: 2_000 }, (_, at) => `${'x'.repeat(35)}${at}`) }],
        ['unlike', { allOf: Array.from({ length: 250 }, () => ({ type: 'array', uniqueItems: true, contains: { const: 1 } })) }],
      ];
      for (const [name, outputSchema] of dear) {
        await victim.unmoved(async () => {
          await victim.agent(`dear-${name}`, { outputSchema, maxSteps: 2 });
          const run = await victim.end(await victim.start({ agent: `dear-${name}`, input: 'go' }));
          expect(['completed', 'failed']).toContain(run.status);
          if (run.status === 'failed') expect(run.error.code).not.toBe('internal');
        });
      }
      expect(victim.exited()).toBeNull();
    });
  });
}
