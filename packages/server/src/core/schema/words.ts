import { cutText } from '../text.ts';

const maxShownChars = 80;
/** Larger values are not written out to show their beginning. */
const maxWritten = 2_000;

/** A value as a message shows it: its kind and the beginning of it. */
export function shown(value: unknown, maxChars = maxShownChars): string {
  if (value === undefined) return 'nothing';
  const kind = value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value;
  const text = beginning(value, maxChars);
  if (Array.isArray(value) && maxChars > maxShownChars) return cutText(text, maxChars);
  const cut = text.length > maxChars ? `${cutText(text, maxChars)}…` : text;
  return kind === 'null' ? cut : `${kind} ${cut}`;
}

/** At least so many characters of a value as JSON, or all of it, in time that does not depend on how large it is. */
export function beginning(value: unknown, chars: number): string {
  if (typeof value === 'string') return JSON.stringify(cutText(value, chars + 1));
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? typeof value;
  let text = Array.isArray(value) ? '[' : '{';
  const close = Array.isArray(value) ? ']' : '}';
  let first = true;
  const keys = Array.isArray(value) ? value.keys() : namesOf(value);
  for (const key of keys) {
    if (text.length > Math.min(chars, maxWritten)) return text;
    const item = (value as Record<string | number, unknown>)[key]; // any object can be read by key
    if (item === undefined && !Array.isArray(value)) continue;
    const name = typeof key === 'string' ? `${JSON.stringify(cutText(key, chars))}:` : '';
    text += `${first ? '' : ','}${name}${item === undefined ? 'null' : beginning(item, chars - text.length)}`;
    first = false;
  }
  return text + close;
}

function* namesOf(value: object): Generator<string> {
  for (const name in value) if (Object.hasOwn(value, name)) yield name;
}
