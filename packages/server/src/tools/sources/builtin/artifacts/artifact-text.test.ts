import fc from 'fast-check';
import { expect, it } from 'vitest';
import { charactersOf, decodedText, linesOf } from './artifact-text.ts';

async function* piecesOf(text: string, size: number): AsyncGenerator<Uint8Array> {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}
const anyText = fc.array(fc.constantFrom('a', '€', '😀', '\n', '\r\n', 'word '), { maxLength: 80 }).map((parts) => parts.join(''));
const sizes = fc.integer({ min: 1, max: 20 });

it('gives each line once, with its number and its place, however it comes and however long it is [verifies tools.artifacts.read]', async () => {
  await fc.assert(
    fc.asyncProperty(anyText, sizes, fc.integer({ min: 2, max: 30 }), async (text, size, most) => {
      const lines: string[] = [];
      for await (const parts of linesOf(decodedText(piecesOf(text, size)), most)) {
        for (const part of parts) {
          expect(text.slice(part.offset, part.offset + part.text.length)).toBe(part.text);
          expect(part.text.length).toBeLessThanOrEqual(most);
          expect(part.text.isWellFormed()).toBe(true);
          lines[part.line - 1] = (lines[part.line - 1] ?? '') + part.text;
        }
      }
      const whole = text.split('\n').map((line) => line.replace(/\r$/, ''));
      if (whole.at(-1) === '') whole.pop();
      expect(lines.map((line) => line.replace(/\r$/, ''))).toEqual(whole);
    }),
  );
});

it('gives the characters of a range, and no half of one, so that ranges one after the other give all [verifies tools.artifacts.read]', async () => {
  await fc.assert(
    fc.asyncProperty(anyText, sizes, sizes, async (text, size, limit) => {
      let all = '';
      while (all.length < text.length) {
        const { from, text: found } = await charactersOf(decodedText(piecesOf(text, size)), all.length, limit);
        expect([from, found.isWellFormed()]).toEqual([all.length, true]);
        expect(found.length).toBeGreaterThan(0);
        all += found;
      }
      expect(all).toBe(text);
    }),
  );
  expect(await charactersOf(decodedText(piecesOf('a😀b', 1)), 2, 5)).toEqual({ from: 3, text: 'b' });
});
