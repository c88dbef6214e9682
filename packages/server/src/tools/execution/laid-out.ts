import { cutText, parseExactJson } from '#core';

/** A result as a text that can be read by its lines. */
export interface LaidOut {
  /** JSON with a line for each value. */
  readonly text: string;
  /** The long texts in it, each as it is. */
  readonly sections: readonly LongText[];
}

export interface LongText {
  /** Where it was in the value: `stdout`, `pages.0.body`. */
  readonly name: string;
  readonly text: string;
}

/** What is longer stays as it came: others wait while it is laid out. */
const maxChars = 8_000_000;
/** A shorter text is read where it stands. */
const minSectionChars = 1_000;
const maxSections = 20;
const maxValues = 20_000;
const maxNameChars = 40;

interface Found extends LongText {
  readonly holder: object;
  readonly key: string;
}

/** Within a JSON text line ends are two characters, and all of it is one line: long texts are taken out of it, and it gets lines of its own. */
export function laidOut(json: string): LaidOut {
  if (json.length > maxChars) return { text: json, sections: [] };
  const value = parseExactJson(json);
  const found = longTexts(value);
  const least = found.map(({ text }) => text.length).sort((a, b) => b - a)[maxSections - 1] ?? 0;
  const sections = found.filter(({ text }) => text.length >= least).slice(0, maxSections);
  for (const { holder, key, name } of sections)
    Object.defineProperty(holder, key, { value: `[below, as ${name}]`, enumerable: true, configurable: true, writable: true });
  return { text: JSON.stringify(value, null, 1), sections };
}

/** In the order in which they stand. */
function longTexts(root: unknown): Found[] {
  const found: Found[] = [];
  let left = maxValues;
  const look = (holder: object, path: string) => {
    for (const [key, value] of Object.entries(holder)) {
      left -= 1;
      if (left < 0) return;
      const name = path === '' ? key : `${path}.${key}`;
      if (typeof value === 'string') {
        if (value.length >= minSectionChars) found.push({ holder, key, name: plainName(name), text: value.toWellFormed() });
      } else if (typeof value === 'object' && value !== null) look(value, name.slice(-2 * maxNameChars));
    }
  };
  if (typeof root === 'object' && root !== null) look(root, '');
  return found;
}

function plainName(name: string): string {
  return cutText(name.replace(/\p{C}/gu, ' ').toWellFormed(), maxNameChars);
}
