/**
 * Texts of this length the engine of JavaScript finds in a time that follows from where it looks alone. Of a longer one it knows only the
 * end: what agrees with that, and not with what stands before it, costs the length of the text at each place.
 */
const plainChars = 200;

/** Where a text begins within others, -1 for nowhere: in a time that follows from the length of the two together. */
export function literalSearch(wanted: string): (text: string) => number {
  if (wanted.length <= plainChars) return (text) => text.indexOf(wanted);
  const fallback = fallbackOf(wanted);
  return (text) => {
    let matched = 0;
    for (let at = 0; at < text.length; at++) {
      const code = text.charCodeAt(at);
      while (matched > 0 && code !== wanted.charCodeAt(matched)) matched = fallback[matched - 1] ?? 0;
      if (code === wanted.charCodeAt(matched)) matched += 1;
      if (matched === wanted.length) return at + 1 - matched;
    }
    return -1;
  };
}

/** How much of the beginning still stands when what follows so much of it is not there (Knuth, Morris and Pratt). */
function fallbackOf(wanted: string): Int32Array {
  const fallback = new Int32Array(wanted.length);
  for (let at = 1, matched = 0; at < wanted.length; at++) {
    const code = wanted.charCodeAt(at);
    while (matched > 0 && code !== wanted.charCodeAt(matched)) matched = fallback[matched - 1] ?? 0;
    if (code === wanted.charCodeAt(matched)) matched += 1;
    fallback[at] = matched;
  }
  return fallback;
}
