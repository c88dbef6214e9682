/**
 * The simulator's tokens, cut where real tokenizers cut: up to eight letters with a sign before them, up to three digits or
 * signs, each with the white space before it. There are no more of them than the service estimates for the same text, and no
 * fewer than it counts when they come back.
 */
export function tokenPieces(text: string): string[] {
  // Of white space that nothing follows, each place would be looked from to its end.
  const pieces: string[] = text.trimEnd().match(/\s*(?:[^\s\p{L}\p{N}]?\p{L}{1,8}|\p{N}{1,3}|[^\s\p{L}\p{N}]{1,3})/gu) ?? [];
  const covered = pieces.reduce((sum, piece) => sum + piece.length, 0);
  if (covered < text.length) pieces.push((pieces.pop() ?? '') + text.slice(covered));
  return pieces;
}

export function countTokens(text: string): number {
  return tokenPieces(text).length;
}

/** FNV-1a over UTF-16 code units: a small stable hash for ids and seeded choices. */
export function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  return hash >>> 0;
}
