import fc from 'fast-check';
import { expect, it } from 'vitest';
import { estimateTextTokens } from '#llm/tokens';
import { countTokens } from './text.ts';

it('counts no more tokens than the service estimates', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', maxLength: 200 }), (text) => {
      expect(countTokens(text)).toBeLessThanOrEqual(estimateTextTokens(text));
    }),
    { numRuns: 1_000 },
  );
  fc.assert(
    fc.property(fc.stringMatching(/^[a-c \n,.]{0,60}$/), (text) => {
      expect(countTokens(text)).toBeLessThanOrEqual(estimateTextTokens(text));
    }),
    { numRuns: 1_000 },
  );
});
