import { matchesWildcard, NexusError } from '#core';

/** Alternatives in braces are written out: more of them would be a pattern that nobody writes. */
const maxAlternatives = 64;

/**
 * Whether paths fit a pattern: `*` and `?` stand for characters of one name, `**` for any number of folders, and `{a,b}` for either. A
 * pattern with a `/` speaks of the whole path, one without of the last name. Takes time proportional to the product of the lengths at
 * worst, so a pattern from a model is safe. Throws `tool_input_invalid` for too many alternatives.
 */
export function globMatcher(pattern: string): (path: string) => boolean {
  const alternatives = expandBraces(pattern).map((text) => ({ whole: text.includes('/'), names: text.replace(/^\.?\//, '').split('/') }));
  return (path) => {
    const names = path.split('/');
    return alternatives.some((wanted) => fitsNames(wanted.names, wanted.whole ? names : names.slice(-1)));
  };
}

/** As {@link matchesWildcard}, of names instead of characters. */
function fitsNames(wanted: readonly string[], names: readonly string[]): boolean {
  let w = 0;
  let n = 0;
  let lastStars = -1;
  let resumeAt = 0;
  while (n < names.length) {
    const part = wanted[w];
    if (part === '**') {
      lastStars = w++;
      resumeAt = n;
    } else if (part !== undefined && matchesWildcard(part, names[n] ?? '')) {
      w++;
      n++;
    } else if (lastStars >= 0) {
      w = lastStars + 1;
      n = ++resumeAt;
    } else {
      return false;
    }
  }
  while (wanted[w] === '**') w++;
  return w === wanted.length;
}

function expandBraces(pattern: string): string[] {
  const done: string[] = [];
  const open = [pattern];
  for (let text = open.pop(); text !== undefined; text = open.pop()) {
    // The innermost braces first, which hold no others.
    const end = text.indexOf('}');
    const start = end < 0 ? -1 : text.lastIndexOf('{', end);
    if (start < 0) done.push(text);
    else for (const choice of text.slice(start + 1, end).split(',')) open.push(text.slice(0, start) + choice + text.slice(end + 1));
    if (done.length + open.length > maxAlternatives)
      throw new NexusError('tool_input_invalid', `the pattern has more than ${maxAlternatives} alternatives in braces; give a simpler one`);
  }
  return done;
}
