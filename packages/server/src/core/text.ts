// Servers in Python and Rust take more for white space than `trim` does, some control characters among it. What only shapes
// text, such as a space without width, is seen by nobody either.
const visible = /[^\s\p{Cc}\p{Cf}]/u;

/** True for text in which nobody sees anything. Servers refuse it as a message of its own. */
export function isBlank(text: string): boolean {
  return !visible.test(text);
}

/** The first `maxChars` UTF-16 units of a text, without half a surrogate pair at the end. */
export function cutText(text: string, maxChars: number): string {
  if (text.length <= maxChars) return text;
  const last = text.charCodeAt(maxChars - 1);
  return text.slice(0, last >= 0xd800 && last <= 0xdbff ? maxChars - 1 : maxChars);
}
