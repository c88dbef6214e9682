/**
 * Text of others, as a person may be shown it on a terminal or in a log: what cannot be seen and what a terminal would obey is written out
 * as an escape of JSON, `\u001b`. So JSON stays the same JSON.
 */

/** Scripts whose letters are joined and parted by characters without width, in ordinary words. */
const joining =
  '\\p{scx=Arabic}\\p{scx=Syriac}\\p{scx=Nko}\\p{scx=Mongolian}\\p{scx=Devanagari}\\p{scx=Bengali}\\p{scx=Gurmukhi}\\p{scx=Gujarati}\\p{scx=Oriya}\\p{scx=Tamil}\\p{scx=Telugu}\\p{scx=Kannada}\\p{scx=Malayalam}\\p{scx=Sinhala}\\p{scx=Khmer}\\p{scx=Myanmar}';

/** More marks on one letter than any script has cover the lines around it. */
const mostMarks = 8;

const hidden = new RegExp(
  [
    // Ordinary: emoji made of several, and words of the scripts above.
    '(?<=\\p{Extended_Pictographic}[\\ufe0f\\u{1f3fb}-\\u{1f3ff}]?)\\u200d',
    '(?<=[\\p{Extended_Pictographic}#*0-9])[\\ufe0e\\ufe0f]',
    `(?<=[${joining}])[\\u200c\\u200d](?=[${joining}])`,
  ]
    .map((ordinary) => `(?:${ordinary})`)
    .join('|')
    .concat(
      '|(',
      [
        // Controls, what shapes text unseen, other ends of lines, halves of characters, what is no character.
        '(?![\\n\\t])\\p{Cc}|\\p{Cf}|\\p{Zl}|\\p{Zp}|\\p{Cs}|\\p{Noncharacter_Code_Point}|\\p{Default_Ignorable_Code_Point}',
        // Blank, and none of the blanks that people write.
        '[\\u2800\\u3164\\uffa0]',
      ].join('|'),
      ')',
    ),
  'gu',
);

const flood = new RegExp(`(\\p{M}{${mostMarks}})(\\p{M}+)`, 'gu');

/** Most text has nothing to look at: printable ASCII, and letters beyond it that are neither marks nor hidden are passed over by one search. */
const suspicious = /[^\n\t\x20-\x7e]/;

function escapeOf(text: string): string {
  let escaped = '';
  for (let at = 0; at < text.length; at += 1) escaped += `\\u${text.charCodeAt(at).toString(16).padStart(4, '0')}`;
  return escaped;
}

/** Text of several lines. Ends of lines and tabs stay. */
export function visible(text: string): string {
  if (!suspicious.test(text)) return text;
  return text
    .replaceAll('\r\n', '\n')
    .replace(hidden, (found, unseen: string | undefined) => (unseen === undefined ? found : escapeOf(found)))
    .replace(flood, (_, marks: string, more: string) => marks + escapeOf(more));
}

/** Text that is to stay on its line. */
export function visibleLine(text: string): string {
  return visible(text).replaceAll('\n', '\\n').replaceAll('\t', '\\t');
}

/** For text that comes in pieces to the same place: marks are counted over the seam. */
export function createVisible(): (piece: string) => string {
  let marks = 0;
  return (piece) => {
    const leading = /^\p{M}*/u.exec(piece)?.[0] ?? '';
    const before = marks + [...leading].length;
    marks = leading.length === piece.length ? before : [...(/\p{M}*$/u.exec(piece.slice(-64))?.[0] ?? '')].length;
    return before > mostMarks ? escapeOf(leading) + visible(piece.slice(leading.length)) : visible(piece);
  };
}
