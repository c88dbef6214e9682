import { expect, it } from 'vitest';
import { readRetryAfterMs } from './retry-after.ts';

const nowMs = Date.parse('2026-11-26T12:00:00Z');

it.each<[string, Readonly<Record<string, string>>, number | undefined]>([
  ['seconds', { 'retry-after': '2' }, 2_000],
  ['seconds with blanks, a sign or their letter', { 'retry-after': ' +2s ' }, 2_000],
  ['parts of a second', { 'retry-after': '0.25' }, 250],
  ['nothing to wait for', { 'retry-after': '0' }, 0],
  ['ten years', { 'retry-after': '315360000' }, 315_360_000_000],
  ['the first of several, as proxies join them', { 'retry-after': '5, 10' }, 5_000],
  ['a date', { 'retry-after': 'Thu, 26 Nov 2026 12:00:03 GMT' }, 3_000],
  ['a date that is past', { 'retry-after': 'Thu, 26 Nov 2020 12:00:00 GMT' }, 0],
  ['milliseconds, before seconds', { 'retry-after-ms': '250.5', 'retry-after': '9' }, 251],
  ['milliseconds that are none', { 'retry-after-ms': '-1', 'retry-after': '9' }, 9_000],
  ['less than nothing', { 'retry-after': '-5' }, undefined],
  ['an empty value', { 'retry-after': '' }, undefined],
  ['a word', { 'retry-after': 'soon' }, undefined],
  ['another notation', { 'retry-after': '0x10' }, undefined],
  ['no end', { 'retry-after': 'Infinity' }, undefined],
  ['no header', {}, undefined],
])('reads %s', (_what, headers, expected) => {
  expect(readRetryAfterMs((name) => headers[name], nowMs)).toBe(expected);
});
