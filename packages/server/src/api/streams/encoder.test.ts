import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { StreamFrame } from '#runs';
import { createEncoder, type Part } from './encoder.ts';

const textOf = (parts: readonly Part[]) =>
  parts.map((part) => (part.type === 'long' ? `${part.head}<rest>` : part.pieces.map((piece) => piece.toString()).join(''))).join('');

const delta = (id: string | null, data: string): StreamFrame => ({ id, event: 'model.delta', data });
const long: StreamFrame = { id: '7', event: 'tool.completed', data: '{"begin', rest: async function* () {} };

it('gives every reader the same text, whoever else reads', () => {
  const frame = fc.record({
    id: fc.option(fc.nat().map(String)),
    event: fc.constantFrom<StreamFrame['event']>('model.delta', 'tool.output'),
    data: fc.oneof(
      fc.string({ unit: 'grapheme' }),
      fc.nat(3).map((times) => '\u{1f600}a'.repeat(times * 11_000)),
    ),
  });
  fc.assert(
    fc.property(
      fc.array(fc.array(frame, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 3 }),
      fc.array(fc.nat()),
      (batches, picks) => {
        const encoder = createEncoder();
        for (const pick of [...picks, 0, 0, 0]) {
          const batch = batches[pick % batches.length] ?? [];
          const parts = encoder.encode(batch);
          const lines = batch.map(({ id, event, data }) => `${id === null ? '' : `id: ${id}\n`}event: ${event}\ndata: ${data}\n\n`);
          expect(textOf(parts)).toBe(Buffer.from(lines.join('')).toString());
          expect(parts.at(-1)?.lastId).toBe(batch.findLast(({ id }) => id !== null)?.id ?? null);
        }
      },
    ),
    { numRuns: 60 },
  );
});

it('encodes a batch once for all but the first of its readers', () => {
  const encoder = createEncoder();
  const batch = [delta('5.1', 'é'.repeat(50_000))];
  expect(encoder.encode(batch)[0]).toMatchObject({ type: 'frames', pieces: [expect.any(String), expect.any(String)] });
  const second = encoder.encode(batch);
  expect(second[0]).toMatchObject({ type: 'frames', pieces: [expect.any(Buffer), expect.any(Buffer)] });
  expect(encoder.encode(batch)).toBe(second);
});

it('keeps an event that is read while it is written apart, and says after which events a stream can be resumed', () => {
  const parts = createEncoder().encode([delta('6', 'a'), delta(null, 'b'), long, delta('8', 'c')]);
  expect(parts.map(({ type, lastId }) => [type, lastId])).toEqual([
    ['frames', '6'],
    ['long', '7'],
    ['frames', '8'],
  ]);
});
