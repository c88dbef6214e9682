import { cutText } from '#core';

/** `text` with at most `maxChars` characters; what was cut is said at the end, so that the reader knows and can ask for less. */
export function boundText(text: string, maxChars: number): string {
  if (text.length <= maxChars) return text;
  const note = (shown: number) =>
    `\n[output cut: the first ${shown} of ${text.length} characters are shown; ask for a smaller part to see the rest]`;
  const room = Math.max(0, maxChars - note(maxChars).length);
  const kept = cutText(text, room);
  return kept + note(kept.length);
}
