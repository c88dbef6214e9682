import { expect, it } from 'vitest';
import { parseConfigFile } from './file.ts';

const why = (text: string) =>
  parseConfigFile('a.yaml', text).then(
    ({ tree }) => JSON.stringify(tree),
    ({ code, message }) => `${code}: ${message}`,
  );

it('an alias of what it lies in is refused, as it has no end', async () => {
  expect(await why('a: &a { b: *a }\n')).toMatch(/^config_invalid: a\.yaml is not valid YAML: an alias \(\*\)/);
  expect(await why('a: &a { b: 1 }\nc: *a\n')).toBe('{"a":{"b":1},"c":{"b":1}}');
});

it('a key that stands twice is found wherever it is, and among as many as there may be', async () => {
  expect(await why('a: 1\nb: { c: 1, d: 2, "c": 3 }\n')).toBe(
    'config_invalid: a.yaml is not valid YAML: the same key twice at line 2, column 18',
  );
  expect(await why('- a: 1\n  a: 2\n')).toMatch(/the same key twice at line 2, column 3/);
  expect(await why('a: { c: 1 }\nb: { c: 1, "1": 2, 1: 3 }\n')).toBe('{"a":{"c":1},"b":{"1":3,"c":1}}');
  const started = process.threadCpuUsage();
  await why(Array.from({ length: 20_000 }, (_, index) => `k${index}: 1`).join('\n'));
  expect(process.threadCpuUsage(started).user / 1_000).toBeLessThan(4_000);
});
