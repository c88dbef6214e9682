import { expect, it } from 'vitest';
import type { OpenFile } from '#tools/workspace';
import { readLines } from './text-lines.ts';

/** A file of so many bytes, all of them `x`. */
function oneLine(sizeBytes: number): OpenFile {
  const read = async (buffer: Buffer, offset: number, length: number) => {
    buffer.fill('x', offset, offset + length);
    return { bytesRead: length, buffer };
  };
  return { handle: { read } as unknown as OpenFile['handle'], sizeBytes }; // readLines only reads
}

it('reads a line that is longer than any text can be', async () => {
  const found: string[] = [];
  for await (const chunk of readLines(oneLine(700e6), { maxLineChars: 10, signal: new AbortController().signal })) {
    if (chunk.type === 'lines') found.push(...chunk.lines);
  }
  expect(found).toEqual([`${'x'.repeat(10)}…`]);
});
