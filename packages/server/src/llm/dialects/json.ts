import { isDeepStrictEqual } from 'node:util';
import { isTooDeep } from '#core';

/** An object of the wire that nobody has checked: the members have the names of its type, and any value or none. */
export type Unread<Wire> = { readonly [Name in Wire extends unknown ? keyof Wire : never]?: unknown };

/** The value when it is an object and no list. */
export function asRecord<Wire = Record<string, unknown>>(value: unknown): Unread<Wire> | null {
  // Checked to be an object; its members are unknown, and may be missing.
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Unread<Wire>) : null;
}

export function asString(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

/** Whether a value of the wire says anything: not null, not empty, not false. */
export function carriesSomething(value: unknown): boolean {
  if (value === undefined || value === null || value === '' || value === false) return false;
  return typeof value !== 'object' || Object.keys(value).length > 0;
}

/** Arguments of a call as the text that they are part of: a server may give the object itself, or something that stands for none. */
export function argumentText(value: unknown): string {
  if (typeof value === 'string') return value;
  return carriesSomething(value) ? JSON.stringify(value) : '';
}

/** Whether two texts are the same JSON, however it is written. */
export function isSameJson(a: string, b: string): boolean {
  if (a === b) return true;
  // Blanks and escapes make a text some times as long. More, and whoever repeats a little of much would have the much read again and again.
  if (a.length > b.length * 8 + 64 || b.length > a.length * 8 + 64) return false;
  if (isTooDeep(a) || isTooDeep(b)) return false;
  try {
    return isDeepStrictEqual(JSON.parse(a), JSON.parse(b));
  } catch {
    return false;
  }
}

/** A place in a list: a whole number, also where a server writes it as a text. */
export function asIndex(value: unknown): number | undefined {
  if (typeof value === 'string' && /^\d{1,9}$/.test(value)) return Number(value);
  return typeof value === 'number' && Number.isSafeInteger(value) ? value : undefined;
}

/** No call has so many tokens; what claims more is not a count, and its price would leave the range of exact sums. */
const maxTokenCount = 100_000_000;

/** A token count of a provider: a whole number of at least 0, or undefined when what was sent can be none. */
export function asCount(value: unknown): number | undefined {
  return typeof value === 'number' && value >= 0 && value <= maxTokenCount ? Math.ceil(value) : undefined;
}

/** Tells of a JSON text that comes in pieces whether an object or list is whole. Takes time in proportion to the text. */
export function createValueScanner(): { add(piece: string): void; reset(): void; isWhole(): boolean } {
  let depth = 0;
  let begun = false;
  let inText = false;
  let escaped = false;
  return {
    add(piece) {
      for (let at = 0; at < piece.length; at++) {
        const code = piece.charCodeAt(at);
        if (escaped) escaped = false;
        else if (inText) {
          if (code === 0x5c) escaped = true;
          else if (code === 0x22) inText = false;
        } else if (code === 0x22) inText = true;
        else if (code === 0x5b || code === 0x7b) {
          depth += 1;
          begun = true;
        } else if (code === 0x5d || code === 0x7d) depth -= 1;
      }
    },
    reset() {
      depth = 0;
      begun = false;
      inText = false;
      escaped = false;
    },
    isWhole: () => begun && depth === 0 && !inText,
  };
}
