/**
 * Bytes that a UTF-16 unit takes at most in a message that is JSON twice over, as a bus may put our JSON into an envelope
 * of its own.
 */
function bytesOf(code: number): number {
  if (code === 0x22 || code === 0x5c) return 4; // quote and backslash: \\\" and \\\\
  if (code < 0x20) return 7; // \\u0000
  if (code < 0x80) return 1;
  if (code < 0x800) return 2;
  return code >= 0xd800 && code <= 0xdfff ? 7 : 3; // half a pair stands as \\ud800; a whole one takes 4 in all
}

/** Cuts a text into pieces that take at most `maxBytes` each as JSON in JSON, whatever their characters, and never within a pair. */
export function piecesOf(text: string, maxBytes: number): readonly string[] {
  if (text.length * 7 <= maxBytes) return [text];
  const pieces: string[] = [];
  let start = 0;
  let bytes = 0;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    const isPair = code >= 0xd800 && code <= 0xdbff && index + 1 < text.length && (text.charCodeAt(index + 1) & 0xfc00) === 0xdc00;
    const cost = isPair ? 4 : bytesOf(code);
    if (bytes + cost > maxBytes && index > start) {
      pieces.push(text.slice(start, index));
      start = index;
      bytes = 0;
    }
    bytes += cost;
    if (isPair) index += 1;
  }
  pieces.push(text.slice(start));
  return pieces;
}
