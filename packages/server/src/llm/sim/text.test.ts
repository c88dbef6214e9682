import fc from 'fast-check';
import { expect, it } from 'vitest';
import { estimateTextTokens, ReceivedTokens } from '#llm/tokens';
import { countTokens, tokenPieces } from './text.ts';

it('counts no more tokens than the service estimates', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', maxLength: 200 }), (text) => {
      expect(countTokens(text)).toBeLessThanOrEqual(estimateTextTokens(text));
    }),
    { numRuns: 1_000 },
  );
  fc.assert(
    fc.property(fc.stringMatching(/^[a-cX0-9 \n,.]{0,60}$/), (text) => {
      expect(countTokens(text)).toBeLessThanOrEqual(estimateTextTokens(text));
    }),
    { numRuns: 1_000 },
  );
});

it('counts no fewer tokens than the service does when they come back', () => {
  const text = fc.oneof(fc.string({ unit: 'grapheme', maxLength: 100 }), fc.stringMatching(/^[a-c0-9 \n,.(){}"]{0,80}$/));
  fc.assert(
    fc.property(text, (said) => {
      const tokens = new ReceivedTokens();
      for (const piece of tokenPieces(said)) tokens.add(piece);
      expect(tokens.least).toBeLessThanOrEqual(countTokens(said));
    }),
    { numRuns: 1_000 },
  );
});
