/** Blanks that push what follows out of sight. */
const longBlank = /(?:[^\S\n]|\\[ntr]){24,}/gu;

/**
 * The exact arguments of a call for the person who decides over it, as JSON; where many blanks in a row would hide what comes after them,
 * their number stands in their place.
 */
export function showArguments(value: unknown): string {
  // The indent of JSON is no blank of theirs.
  return JSON.stringify(value, null, 2).replace(/^( *)(.*)$/gm, (_, indent: string, line: string) => indent + withoutLongBlanks(line));
}

function withoutLongBlanks(line: string): string {
  return line.replace(longBlank, (blanks) => ` [${blanks.replace(/\\./g, ' ').length} blanks] `);
}

/** All that a person is asked, such that nothing of it is out of sight. */
export function showQuestion(text: string): string {
  return withoutLongBlanks(text.replace(/\n(?:[^\S\n]*\n){2,}/g, '\n\n'));
}
