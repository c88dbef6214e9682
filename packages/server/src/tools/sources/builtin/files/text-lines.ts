import { cutText, throwIfAborted } from '#core';
import type { OpenFile } from '#tools/workspace';

const chunkBytes = 64 * 1024;

export type TextChunk =
  /** Lines without their ends. A line longer than `maxLineChars` is cut and counted in `cutLines`. */
  | { readonly type: 'lines'; readonly lines: readonly string[]; readonly cutLines: number }
  /** The file is no UTF-8 text. Comes first or in the middle; nothing follows. */
  | { readonly type: 'binary' };

/** The lines of a file in pieces, with bounded memory however long the file or a line is. Reads at most the size at opening. */
export async function* readLines(
  file: OpenFile,
  options: { readonly maxLineChars: number; readonly signal: AbortSignal },
): AsyncGenerator<TextChunk> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  const buffer = Buffer.allocUnsafe(chunkBytes);
  let rest = '';
  for (let position = 0; ; ) {
    throwIfAborted(options.signal);
    const wanted = Math.min(chunkBytes, file.sizeBytes - position);
    const { bytesRead } = wanted > 0 ? await file.handle.read(buffer, 0, wanted, position) : { bytesRead: 0 };
    const bytes = buffer.subarray(0, bytesRead);
    position += bytesRead;
    const last = bytesRead === 0;
    if (bytes.includes(0)) return yield { type: 'binary' };
    let text: string;
    try {
      text = decoder.decode(bytes, { stream: !last });
    } catch {
      return yield { type: 'binary' };
    }
    const pieces = text.split('\n');
    pieces[0] = rest + (pieces[0] ?? '');
    rest = last ? '' : (pieces.pop() ?? '');
    if (last && pieces.at(-1) === '') pieces.pop();
    let cutLines = 0;
    const lines = pieces.map((line) => {
      const whole = line.endsWith('\r') ? line.slice(0, -1) : line;
      if (whole.length <= options.maxLineChars) return whole;
      cutLines += 1;
      return `${cutText(whole, options.maxLineChars)}…`;
    });
    // One character over the limit is enough to know that the line is too long.
    rest = rest.slice(0, options.maxLineChars + 1);
    if (lines.length > 0) yield { type: 'lines', lines, cutLines };
    if (last) return;
  }
}
