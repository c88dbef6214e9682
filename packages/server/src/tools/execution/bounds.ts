import type { ErrorInfo } from '@nexus-agent/protocol';
import { cutText } from '#core';

/** `text` with at most `maxChars` characters; what was cut is said at the end, so that the reader knows and can ask for less. */
export function boundText(text: string, maxChars: number): string {
  if (text.length <= maxChars) return text;
  const note = (shown: number) =>
    `\n[output cut: the first ${shown} of ${text.length} characters are shown; ask for a smaller part to see the rest]`;
  const room = Math.max(0, maxChars - note(maxChars).length);
  const kept = cutText(text, room);
  return cutText(kept + note(kept.length), maxChars);
}

/** An error whose message and details have at most `maxChars` characters together. Details that do not fit are left out. */
export function boundError({ details, ...error }: ErrorInfo, maxChars: number): ErrorInfo {
  const bounded = { ...error, message: boundText(error.message, maxChars) };
  if (details === undefined) return bounded;
  try {
    return JSON.stringify(details).length <= maxChars - bounded.message.length ? { ...bounded, details } : bounded;
  } catch {
    return bounded; // what cannot be sent as JSON cannot be passed on
  }
}
