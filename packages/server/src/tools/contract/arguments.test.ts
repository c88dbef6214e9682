import { expect, it } from 'vitest';
import { createSchemaValidator } from '#core';
import { checkArguments, selectTools } from '#tools';

const schemas = createSchemaValidator();

it('selects by patterns, each tool once, in the order of the list', () => {
  const tools = ['fs_read', 'http_fetch', 'fs_list'].map((name) => ({ name }));
  const select = (...patterns: string[]) => selectTools(tools, patterns).map(({ name }) => name);
  expect(select('fs_list', 'fs_*')).toEqual(['fs_read', 'fs_list']);
  expect(select('*')).toEqual(['fs_read', 'http_fetch', 'fs_list']);
  expect(select('fs')).toEqual([]);
  expect(select('fs.*', '(', '')).toEqual([]);
});

it('names the path, what was there and what is expected of arguments that do not fit', () => {
  const inputSchema = {
    type: 'object',
    properties: { path: { type: 'string' }, lines: { type: 'array', items: { type: 'integer' } }, mode: { enum: ['a', 'b'] } },
    required: ['path'],
    additionalProperties: false,
  };
  const check = (input: unknown) => {
    const checked = checkArguments(schemas, { name: 'probe', inputSchema }, input);
    return checked.type === 'ok' ? 'ok' : `${checked.error.code}: ${checked.error.message}`;
  };
  expect(check({ path: 'a', lines: [1] })).toBe('ok');
  expect(check({})).toMatch(/tool_input_invalid: the arguments of probe .*"path".*required.*nothing/);
  expect(check({ path: 7 })).toMatch(/"path" expected string, found number 7/);
  expect(check({ path: 'a', lines: [1, 'two'] })).toMatch(/"lines\[1\]" expected integer, found string "two"/);
  expect(check({ path: 'a', mode: 'c' })).toMatch(/"mode" expected one of \["a","b"\], found string "c"/);
  expect(check({ path: 'a', file: 1 })).toMatch(/"file" expected no such property; known are path, lines, mode/);
  expect(check('text')).toMatch(/expected object, found string "text"/);
  expect(check([])).toMatch(/expected object, found array/);
  expect(check(null)).toMatch(/expected object/);
  expect(check({ path: 7, lines: 'x'.repeat(100_000) }).length).toBeLessThan(1_000);
  expect(check({ path: 'a', lines: Array.from({ length: 1_000 }, () => 'x'.repeat(1_000)) }).length).toBeLessThan(2_000);
});

it('answers with an error when the schema itself is broken', () => {
  const checked = checkArguments(schemas, { name: 'probe', inputSchema: { type: 'nonsense' } }, {});
  expect(checked).toMatchObject({ type: 'error', error: { code: 'config_invalid' } });
});
