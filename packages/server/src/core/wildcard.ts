/**
 * Whether `text` fits `pattern`, where `*` stands for any run of characters (also none) and `?` for exactly one (of UTF-16).
 * Takes time proportional to the product of the lengths at worst, so a pattern from a model is safe.
 */
export function matchesWildcard(pattern: string, text: string): boolean {
  let p = 0;
  let t = 0;
  let lastStar = -1;
  let resumeAt = 0;
  while (t < text.length) {
    if (pattern[p] === '*') {
      lastStar = p++;
      resumeAt = t;
    } else if (p < pattern.length && (pattern[p] === '?' || pattern[p] === text[t])) {
      p++;
      t++;
    } else if (lastStar >= 0) {
      p = lastStar + 1;
      t = ++resumeAt;
    } else {
      return false;
    }
  }
  while (pattern[p] === '*') p++;
  return p === pattern.length;
}
