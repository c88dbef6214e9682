import { expect, it } from 'vitest';
import { systemTimers } from '#core';
import { htmlToText as inSlices, type TextLimits } from './html-text.ts';

const htmlToText = (html: string, limits: Partial<TextLimits> = {}) => inSlices(html, { timers: systemTimers, ...limits });

it('finds tags wherever they are, also behind letters that get longer in lower case', async () => {
  expect(await htmlToText(`<p>${'İ'.repeat(10)}</p><SCRIPT>alert(1)</SCRIPT><P>after</P>`)).toBe(`${'İ'.repeat(10)}\nafter`);
});

/** Counts the turns of others, and the processor time that is used between two of them. */
function countingTurns() {
  let turns = 0;
  let longest = 0;
  const began = process.threadCpuUsage();
  let last = began;
  const msSince = (before: NodeJS.CpuUsage) => {
    const used = process.threadCpuUsage(before);
    return (used.user + used.system) / 1_000;
  };
  const note = () => {
    longest = Math.max(longest, msSince(last));
    last = process.threadCpuUsage();
  };
  return {
    timers: {
      async soon() {
        turns += 1;
        note();
        await systemTimers.soon();
        last = process.threadCpuUsage();
      },
    },
    turns: () => turns,
    usedMs: () => msSince(began),
    longestMs() {
      note();
      return longest;
    },
  };
}

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
    const { timers, longestMs, usedMs } = countingTurns();
    await htmlToText(piece.repeat(200_000), { timers });
    expect(usedMs()).toBeLessThan(8_000);
    // A slice is some milliseconds; what looks once through the whole page takes some more.
    expect(longestMs()).toBeLessThan(200);
  },
);

it('gives others their turn after each thousand marks and each 16,000 characters', async () => {
  const marks = countingTurns();
  await htmlToText('<b>a'.repeat(10_000), { timers: marks.timers });
  expect(marks.turns()).toBeGreaterThanOrEqual(9);
  const text = countingTurns();
  await htmlToText('a '.repeat(80_000), { timers: text.timers });
  expect(text.turns()).toBeGreaterThanOrEqual(8);
});

it('reads no more of a page than it is to give', async () => {
  const { timers, turns } = countingTurns();
  await htmlToText('<p>word</p>'.repeat(100_000), { timers, maxChars: 50 });
  expect(turns()).toBeLessThanOrEqual(1);
});

it('gives no more text than is asked for, and stops when nobody waits for it', async () => {
  expect(await htmlToText('<p>word</p>'.repeat(100_000), { maxChars: 50 })).toBe(`${'word\n'.repeat(10)}`);
  await expect(htmlToText('<p>word</p>'.repeat(100_000), { signal: AbortSignal.abort() })).rejects.toThrow();
});

it('decodes what stands for a character, and no name of an object', async () => {
  expect(await htmlToText('<p>a &amp; b &#65;&#x42; &valueOf; &nope;</p><pre>x &lt; y</pre>')).toBe('a & b AB &valueOf; &nope;\nx < y');
});
