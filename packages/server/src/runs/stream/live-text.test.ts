import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { appendChunk, chunksAfter, chunksOf, type LiveChunk, type LiveText, lengthOf, type TextKind } from './live-text.ts';

const parts = fc.array(
  fc.record({ type: fc.constantFrom<TextKind>('text', 'reasoning'), text: fc.string({ unit: 'grapheme', maxLength: 12 }) }),
  { maxLength: 8 },
);
const empty = (): LiveText => ({ seq: 1, step: 1, callId: 'call_1', chunks: [], length: 0 });

/** Every unit with its kind: two lists of chunks say the same when this is the same. */
function units(chunks: readonly LiveChunk[]): string[] {
  return chunks.flatMap((chunk) =>
    Array.from({ length: chunk.text.length }, (_, index) => `${chunk.kind} ${chunk.text.charCodeAt(index)}`),
  );
}

describe('the text of an answer in pieces', () => {
  it('numbers its units without a gap and leaves tool calls out', () => {
    fc.assert(
      fc.property(parts, (content) => {
        const chunks = chunksOf([...content, { type: 'tool_call', providerCallId: 'p', name: 't', input: {} }]);
        let at = 0;
        for (const chunk of chunks) {
          expect(chunk.offset).toBe(at);
          at += chunk.text.length;
        }
        expect(lengthOf(chunks)).toBe(at);
      }),
    );
  });

  it('cut at any place and joined again is the whole', () => {
    fc.assert(
      fc.property(parts, fc.nat(), (content, at) => {
        const chunks = chunksOf(content);
        const place = at % (lengthOf(chunks) + 1);
        const after = chunksAfter(chunks, place);
        expect(units(after)).toEqual(units(chunks).slice(place));
        expect(after[0]?.offset ?? place).toBe(place);
        expect(chunksAfter(chunks, lengthOf(chunks))).toEqual([]);
      }),
    );
  });

  it('grows to the same through overlapping and repeated pieces, and refuses one that leaves a hole', () => {
    fc.assert(
      fc.property(parts, fc.array(fc.tuple(fc.nat(), fc.nat()), { maxLength: 30 }), (content, cuts) => {
        const chunks = chunksOf(content);
        const whole = empty();
        for (const chunk of chunks) appendChunk(whole, chunk);
        const live = empty();
        for (const [from, to] of [...cuts, [0, Number.MAX_SAFE_INTEGER] as const]) {
          for (const chunk of chunksAfter(chunks, from % (lengthOf(chunks) + 1))) {
            const piece = { ...chunk, text: chunk.text.slice(0, to) };
            const hole = piece.offset > live.length;
            expect(appendChunk(live, piece)).toBe(!hole);
            if (hole || piece.text.length < chunk.text.length) break;
          }
        }
        expect(units(live.chunks)).toEqual(units(chunks));
        expect(live.length).toBe(whole.length);
      }),
    );
  });
});
