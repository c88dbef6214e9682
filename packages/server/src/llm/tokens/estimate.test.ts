import { expect, it } from 'vitest';
import { estimateInputTokens, estimateTextTokens } from './estimate.ts';

it('estimates about twice the tokens of prose, which has some four bytes per token', () => {
  const prose = 'The quick brown fox jumps over the lazy dog, and nobody minds it much. '.repeat(50);
  expect(estimateTextTokens(prose)).toBeGreaterThan(prose.length / 4);
  expect(estimateTextTokens(prose)).toBeLessThan(prose.length * 0.6);
});

it.each([
  ['prose', 'Nobody expects the Spanish Inquisition', 7],
  ['code', 'const x = (a[i] ?? 0) + b.c("d");', 18],
  ['Chinese', '今天天气很好', 6],
  ['emoji', '😀😀😀', 6],
  ['numbers', '3.14159265358979', 16],
  ['digits', '1234567890'.repeat(10), 100],
  ['hex', '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08', 50],
  ['base64', 'aGVsbG8gd29ybGQsIHRoaXMgaXMgYSB0ZXN0IG9mIHRva2Vucw==', 36],
])('estimates this %s at no less than a tokenizer counts', (_what, text, counted) => {
  expect(estimateTextTokens(text)).toBeGreaterThanOrEqual(counted);
});

it('counts every part of a request', () => {
  const base = { system: '', messages: [], tools: [] };
  const none = estimateInputTokens(base);
  const image = { type: 'image' as const, mediaType: 'image/png' as const, data: { base64: 'AAAA' } };
  expect(estimateInputTokens({ ...base, system: 'word '.repeat(100) })).toBeGreaterThan(none + 100);
  expect(estimateInputTokens({ ...base, messages: [{ role: 'user', content: [image] }] })).toBeGreaterThanOrEqual(none + 5_000);
  expect(estimateInputTokens({ ...base, tools: [{ name: 'a', description: 'b', inputSchema: {} }] })).toBeGreaterThan(none + 700);
  expect(estimateInputTokens({ ...base, outputSchema: { type: 'object' } })).toBeGreaterThan(none);
});
