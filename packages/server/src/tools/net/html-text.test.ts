import { expect, it } from 'vitest';
import { htmlToText } from './html-text.ts';

it('finds tags wherever they are, also behind letters that get longer in lower case', () => {
  expect(htmlToText(`<p>${'İ'.repeat(10)}</p><SCRIPT>alert(1)</SCRIPT><P>after</P>`)).toBe(`${'İ'.repeat(10)}\nafter`);
});

it.each(['<', '<script', '<!--', '<p ', '</', '<title', '&#1', '< p', '<a href="', 'x\n '])(
  'takes no more than linear time for many %j',
  (piece) => {
    const startedAt = performance.now();
    htmlToText(piece.repeat(200_000));
    expect(performance.now() - startedAt).toBeLessThan(2_000);
  },
);
