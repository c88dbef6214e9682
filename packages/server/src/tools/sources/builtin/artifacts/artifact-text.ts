/** The text of an artifact as it comes: read once from its beginning, with bounded memory. */

/** The text of a content in pieces, with none of a character cut. */
export async function* decodedText(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  for await (const piece of pieces) yield decoder.decode(piece, { stream: true });
  yield decoder.decode();
}

export interface LinePart {
  /** Counted from 1. */
  readonly line: number;
  /** Of its first character in the text, counted from 0. */
  readonly offset: number;
  readonly text: string;
  /** False for the beginning and the middle of a line that is too long. */
  readonly isLast: boolean;
}

/** Lines without their ends, those of one piece at once. A line longer than `maxChars` comes in parts, never between the halves of a pair. */
export async function* linesOf(texts: AsyncIterable<string>, maxChars: number): AsyncGenerator<readonly LinePart[]> {
  let [line, offset, rest] = [1, 0, ''];
  for await (const text of texts) {
    const parts: LinePart[] = [];
    const all = rest + text;
    let from = 0;
    for (;;) {
      const end = all.indexOf('\n', from);
      const upTo = end < 0 ? all.length : end;
      while (upTo - from > maxChars) {
        const cut = from + maxChars - (isHighHalf(all.charCodeAt(from + maxChars - 1)) ? 1 : 0);
        parts.push({ line, offset: offset + from, text: all.slice(from, cut), isLast: false });
        from = cut;
      }
      if (end < 0) break;
      parts.push({ line, offset: offset + from, text: withoutReturn(all.slice(from, end)), isLast: true });
      line += 1;
      from = end + 1;
    }
    rest = all.slice(from);
    offset += from;
    if (parts.length > 0) yield parts;
  }
  if (rest !== '') yield [{ line, offset, text: withoutReturn(rest), isLast: true }];
}

function withoutReturn(line: string): string {
  return line.endsWith('\r') ? line.slice(0, -1) : line;
}

/** Up to `limit` characters from `offset`, whole ones: where they begin, and the text. */
export async function charactersOf(
  texts: AsyncIterable<string>,
  offset: number,
  limit: number,
): Promise<{ readonly from: number; readonly text: string }> {
  let [seen, found] = [0, ''];
  for await (const text of texts) {
    const start = Math.max(0, offset - seen);
    // One more on each side says whether a pair is cut.
    if (start < text.length) found += text.slice(start, start + limit + 1 - found.length);
    seen += text.length;
    if (found.length > limit) break;
  }
  const from = isLowHalf(found.charCodeAt(0)) ? 1 : 0;
  let to = Math.min(found.length, limit);
  if (to - from > 1 && isHighHalf(found.charCodeAt(to - 1))) to -= 1;
  else if (to - from === 1 && isHighHalf(found.charCodeAt(from))) to = Math.min(found.length, from + 2);
  return { from: offset + from, text: found.slice(from, to) };
}

function isHighHalf(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdbff;
}

function isLowHalf(unit: number): boolean {
  return unit >= 0xdc00 && unit <= 0xdfff;
}
