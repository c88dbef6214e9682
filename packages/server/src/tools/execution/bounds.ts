import type { ErrorInfo } from '@nexus-agent/protocol';
import { cutText } from '#core';
import { cutNote } from '#tools/contract';

/** `text` with at most `maxChars` characters; what was cut is said at the end, so that the reader knows and can ask for less. */
export function boundText(text: string, maxChars: number): string {
  return text.length <= maxChars ? text : cutAt(text, text.length, maxChars);
}

/** The beginning of a text of so many characters, of which at least `maxChars` are given, and what was cut. */
export function cutAt(text: string, totalChars: number, maxChars: number): string {
  const room = Math.max(0, maxChars - cutNote(maxChars, totalChars).length);
  const kept = cutText(text, room);
  return cutText(kept + cutNote(kept.length, totalChars), maxChars);
}

/** An error whose message and details have at most `maxChars` characters together. Details that do not fit are left out, and half a character is no letter. */
export function boundError({ details, ...error }: ErrorInfo, maxChars: number): ErrorInfo {
  const bounded = { ...error, message: boundText(error.message.toWellFormed(), maxChars) };
  if (details === undefined) return bounded;
  try {
    return JSON.stringify(details).length <= maxChars - bounded.message.length ? { ...bounded, details } : bounded;
  } catch {
    return bounded; // what cannot be sent as JSON cannot be passed on
  }
}
