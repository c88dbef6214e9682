import { expect, it } from 'vitest';
import { systemTimers } from '#core';
import { htmlToText as inSlices, type TextLimits } from './html-text.ts';

const htmlToText = (html: string, limits: Partial<TextLimits> = {}) => inSlices(html, { timers: systemTimers, ...limits });

it('finds tags wherever they are, also behind letters that get longer in lower case', async () => {
  expect(await htmlToText(`<p>${'İ'.repeat(10)}</p><SCRIPT>alert(1)</SCRIPT><P>after</P>`)).toBe(`${'İ'.repeat(10)}\nafter`);
});

const hostile = [
  '<',
  '<script',
  '<script>',
  '<style></x>',
  '<!--',
  '<p ',
  '</',
  '<title',
  '&#1',
  '&amp;',
  '< p',
  '<a href="',
  'x\n ',
  '\n',
  ' ',
  '<b>a',
];

it.each(hostile)(
  'takes no more than linear time for many %j, and gives others their turn [verifies hostile.provider.pages]',
  async (piece) => {
    let turns = 0;
    const turn = () => {
      turns += 1;
      again = setImmediate(turn);
    };
    let again = setImmediate(turn);
    const startedAt = performance.now();
    const page = piece.repeat(200_000);
    await htmlToText(page);
    clearImmediate(again);
    const tookMs = performance.now() - startedAt;
    expect(tookMs).toBeLessThan(8_000);
    // What takes long is cut into slices of some milliseconds.
    if (tookMs > 400) expect(turns).toBeGreaterThan(tookMs / 400);
  },
);

it('gives no more text than is asked for, and stops when nobody waits for it', async () => {
  expect(await htmlToText('<p>word</p>'.repeat(100_000), { maxChars: 50 })).toBe(`${'word\n'.repeat(10)}`);
  await expect(htmlToText('<p>word</p>'.repeat(100_000), { signal: AbortSignal.abort() })).rejects.toThrow();
});

it('decodes what stands for a character, and no name of an object', async () => {
  expect(await htmlToText('<p>a &amp; b &#65;&#x42; &valueOf; &nope;</p><pre>x &lt; y</pre>')).toBe('a & b AB &valueOf; &nope;\nx < y');
});
