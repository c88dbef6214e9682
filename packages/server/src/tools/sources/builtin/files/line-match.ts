/** A part of a list of lines, as far as it is found in another one. */
export interface LineMatch {
  /** Where the whole part begins, in order. */
  readonly starts: readonly number[];
  /** The most of its lines, from its first, that stand one below the other somewhere, and where they begin; 0 when not even the first does. */
  readonly best: { readonly lines: number; readonly at: number };
}

/** Finds lines within lines, in a time that follows from the number of both together (Knuth, Morris and Pratt on whole lines). */
export function matchLines(
  lines: readonly string[],
  wanted: readonly string[],
  keyOf: (line: string) => string = (line) => line,
): LineMatch {
  const keys = wanted.map(keyOf);
  const fallback = fallbackOf(keys);
  const starts: number[] = [];
  let best = { lines: 0, at: 0 };
  let matched = 0;
  for (let index = 0; index < lines.length; index++) {
    const key = keyOf(lines[index] ?? '');
    if (matched === keys.length) matched = fallback[matched - 1] ?? 0;
    while (matched > 0 && keys[matched] !== key) matched = fallback[matched - 1] ?? 0;
    if (keys[matched] === key) matched += 1;
    if (matched > best.lines) best = { lines: matched, at: index + 1 - matched };
    if (matched === keys.length && matched > 0) starts.push(index + 1 - matched);
  }
  return { starts, best };
}

function fallbackOf(keys: readonly string[]): Int32Array {
  const fallback = new Int32Array(keys.length);
  for (let at = 1, matched = 0; at < keys.length; at++) {
    while (matched > 0 && keys[at] !== keys[matched]) matched = fallback[matched - 1] ?? 0;
    if (keys[at] === keys[matched]) matched += 1;
    fallback[at] = matched;
  }
  return fallback;
}

const maxShownLineChars = 200;

/** Lines of a text with their numbers, for a person or a model who looks for what went wrong. */
export function numbered(lines: readonly string[], from: number, count: number): string {
  const start = Math.max(0, from);
  return lines
    .slice(start, from + count)
    .map(
      (line, index) =>
        `${start + index + 1}: ${line.length > maxShownLineChars ? `${line.slice(0, maxShownLineChars).toWellFormed()}…` : line}`,
    )
    .join('\n');
}
