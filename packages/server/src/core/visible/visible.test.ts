import fc from 'fast-check';
import { expect, it } from 'vitest';
import { createVisible, visible, visibleLine } from './visible.ts';

it.each([
  ['an escape of a terminal', 'a\u001b[2Jb', 'a\\u001b[2Jb'],
  [
    'a link that shows another address',
    '\u001b]8;;http://evil\u0007ok\u001b]8;;\u0007',
    '\\u001b]8;;http://evil\\u0007ok\\u001b]8;;\\u0007',
  ],
  ['what fills the clipboard', '\u001b]52;c;cm0=\u001b\\', '\\u001b]52;c;cm0=\\u001b\\'],
  ['a control of eight bits', 'a\u009b31mb', 'a\\u009b31mb'],
  ['a return over its line', 'deny\rallow', 'deny\\u000dallow'],
  ['steps back', 'no\b\byes\u007f', 'no\\u0008\\u0008yes\\u007f'],
  ['a nul', 'a\0b', 'a\\u0000b'],
  ['text that runs backwards', 'a\u202egpj.exe\u2066\u2069', 'a\\u202egpj.exe\\u2066\\u2069'],
  ['marks of direction', 'a\u200e\u200f\u061cb', 'a\\u200e\\u200f\\u061cb'],
  ['marks of notes between lines', 'a\ufff9b\ufffac\ufffb', 'a\\ufff9b\\ufffac\\ufffb'],
  ['nothing between letters', 'pass\u200bword\ufeff\u2060\u00ad', 'pass\\u200bword\\ufeff\\u2060\\u00ad'],
  ['joiners between Latin letters', 'a\u200db\u200cc', 'a\\u200db\\u200cc'],
  ['words in tags', 'a\u{e0068}\u{e0069}', 'a\\udb40\\udc68\\udb40\\udc69'],
  ['bytes in variation selectors', 'a\ufe00\u{e0100}', 'a\\ufe00\\udb40\\udd00'],
  ['other ends of lines', 'a\u2028b\u2029c\u0085d', 'a\\u2028b\\u2029c\\u0085d'],
  ['letters without a shape', '\u3164\u115f\uffa0\u2800', '\\u3164\\u115f\\uffa0\\u2800'],
  ['half a character', 'a\ud800b', 'a\\ud800b'],
  ['what is no character', 'a\uffff\ufdd0', 'a\\uffff\\ufdd0'],
])('shows %s', (_what, text, shown) => {
  expect(visible(text)).toBe(shown);
});

it.each([
  'plain words,\n\tin lines',
  'Zoë, naïve, Ελληνικά, Русский, 日本語, עברית, العربية',
  'می‌خواهم',
  'क्‍ष श्री',
  '👩‍💻 👨‍👩‍👧 ❤️ 🏳️‍🌈 1️⃣ 👍🏽',
  'Tiếng Việt, ภาษาไทย ที่นี่, e\u0301',
  'a\u00a0b\u3000c',
])('leaves what people write: %s', (text) => {
  expect(visible(text)).toBe(text);
});

it('takes the ends of lines of Windows for ends of lines', () => {
  expect(visible('a\r\nb\r\n')).toBe('a\nb\n');
});

it('keeps on one line what is to stay there', () => {
  expect(visibleLine('a\nb\tc')).toBe('a\\nb\\tc');
});

it('leaves as many marks on a letter as scripts have, also over pieces', () => {
  const flood = `a${'\u0301'.repeat(100)}b`;
  expect(visible(flood)).toBe(`a${'\u0301'.repeat(8)}${'\\u0301'.repeat(92)}b`);
  const show = createVisible();
  const shown = [...flood].map((piece) => show(piece)).join('');
  expect(shown.match(/\u0301/g)).toHaveLength(8);
  expect(show('e\u0301')).toBe('e\u0301');
});

it('leaves JSON the same JSON', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      const shown = visible(JSON.stringify({ text }));
      expect(JSON.parse(shown)).toEqual({ text });
      expect(shown).not.toMatch(/[\p{Cc}\p{Cs}\u202a-\u202e\u2066-\u2069]/u);
    }),
  );
});

/** The least of some tries: others use the machine, too. */
function leastMs(text: string): number {
  const tries = Array.from({ length: 5 }, () => {
    const startedAt = performance.now();
    visible(text);
    return performance.now() - startedAt;
  });
  return Math.min(...tries);
}

it('takes time proportional to the length of a text', () => {
  for (const part of ['\u0301', '\u001b[', '\u200d', '👩‍💻', 'می‌خ', 'a']) {
    expect(leastMs(part.repeat(300_000 / part.length)), JSON.stringify(part)).toBeLessThan(1_500);
  }
});
