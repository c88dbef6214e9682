import fc from 'fast-check';
import * as cl100k from 'gpt-tokenizer/encoding/cl100k_base';
import * as o200k from 'gpt-tokenizer/encoding/o200k_base';
import { describe, expect, it } from 'vitest';
import { ReceivedTokens } from './received.ts';

function leastOf(...pieces: readonly string[]): number {
  const tokens = new ReceivedTokens();
  for (const piece of pieces) tokens.add(piece);
  return tokens.least;
}

const tokenizers = [
  ['o200k_base', o200k, 199_998],
  ['cl100k_base', cl100k, 100_256],
] as const;

/** Text as people, programs and attackers write it, in bounded runs: tokenizers take long ones badly. */
const hostileText = fc
  .array(
    fc.oneof(
      fc.string({ unit: 'grapheme', maxLength: 12 }),
      fc.constantFrom(
        'Nobody expects ',
        "don't ",
        'const x = (a[i] ?? 0);\n',
        '{"a":1,"b":[true,null]}',
        '3.14159265',
        '今天天气很好',
        '\n\n\n',
        '   ',
      ),
      fc
        .constantFrom('=', 'a', '0', ' ', '/', '😀', 'é', 'ß')
        .chain((of) => fc.integer({ min: 1, max: 60 }).map((times) => of.repeat(times))),
      fc.base64String({ maxLength: 24 }),
      fc.uuid(),
      fc.webUrl({ size: 'small' }),
    ),
    { maxLength: 12 },
  )
  .map((parts) => parts.join('').toWellFormed());

describe.each(tokenizers)('the tokens that were received, beside %s', (_name, tokenizer, size) => {
  it('are at most one for all but one in a thousand of its tokens', () => {
    let more = 0;
    for (let token = 0; token < size; token++) if (leastOf(tokenizer.decode([token])) > 1) more += 1;
    expect(more).toBeLessThan(size / 1_000);
  });

  it('are never more than it makes of the text, in however many pieces it comes', () => {
    fc.assert(
      fc.property(hostileText, (text) => {
        const tokens = tokenizer.encode(text);
        const pieces = tokens.map((token) => tokenizer.decode([token]));
        // A token may be a part of a character: then what comes is not the pieces of this text.
        const streamed = pieces.join('') === text ? leastOf(...pieces) : 0;
        expect(Math.max(leastOf(text), streamed)).toBeLessThanOrEqual(tokens.length);
      }),
      { numRuns: 400 },
    );
  });

  it.each([
    ['prose', 'The quick brown fox jumps over the lazy dog, and nobody minds it much. '.repeat(20), 0.6, 0.95],
    ['numbers', Array.from({ length: 300 }, (_, index) => index * 37).join(' '), 0.3, 0.95],
    ['one letter for ever', 'a'.repeat(900), 0.15, 0.15],
    ['code', 'for (const part of parts) total += part.length;\n'.repeat(20), 0.5, 0.9],
  ])('are a good part of the tokens of %s in one piece, and most when each comes alone', (_what, text, whole, apart) => {
    const tokens = tokenizer.encode(text);
    expect(leastOf(text)).toBeGreaterThan(tokens.length * whole);
    expect(leastOf(...tokens.map((token) => tokenizer.decode([token])))).toBeGreaterThan(tokens.length * apart);
  });
});

it('counts a word of a proxy that smooths the stream once, however its letters come', () => {
  expect(leastOf(...'Nobody expects the Spanish Inquisition')).toBeLessThanOrEqual(9);
});

it('counts what a server that counts words counts', () => {
  const words = Array.from({ length: 20 }, (_, index) => `w${index} `);
  expect(leastOf(...words)).toBe(20);
  expect(leastOf(words.join(''))).toBe(20);
});
