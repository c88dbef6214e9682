import { expect, it } from 'vitest';
import { systemTimers } from '#core';
import { htmlToMarkdown as inSlices, type TextLimits } from './html-text.ts';

const htmlToMarkdown = (html: string, limits: Partial<TextLimits> = {}) => inSlices(html, { timers: systemTimers, ...limits });

it('finds tags wherever they are, also behind letters that get longer in lower case', async () => {
  expect(await htmlToMarkdown(`<p>${'İ'.repeat(10)}</p><SCRIPT>alert(1)</SCRIPT><P>after</P>`)).toBe(`${'İ'.repeat(10)}\n\nafter`);
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
  '<li>',
  '<ul><li>x',
  '<table><tr><td>x',
  '<a href=x>y',
  '<blockquote>x',
  '<pre>x\n',
  '<tr><td>x<p>',
];

it.each(hostile)(
  'takes no more than linear time for many %j, and gives others their turn [verifies hostile.provider.pages]',
  async (piece) => {
    const { timers, longestMs, usedMs } = countingTurns();
    await htmlToMarkdown(piece.repeat(200_000), { timers, base: 'https://site.example/' });
    expect(usedMs()).toBeLessThan(8_000);
    // A slice is some milliseconds; what looks once through the whole page takes some more.
    expect(longestMs()).toBeLessThan(200);
  },
);

it('gives others their turn after each thousand marks and each 16,000 characters', async () => {
  const marks = countingTurns();
  await htmlToMarkdown('<b>a'.repeat(10_000), { timers: marks.timers });
  expect(marks.turns()).toBeGreaterThanOrEqual(9);
  const text = countingTurns();
  await htmlToMarkdown('a '.repeat(80_000), { timers: text.timers });
  expect(text.turns()).toBeGreaterThanOrEqual(8);
});

it('reads no more of a page than it is to give', async () => {
  const { timers, turns } = countingTurns();
  await htmlToMarkdown('<p>word</p>'.repeat(100_000), { timers, maxChars: 50 });
  expect(turns()).toBeLessThanOrEqual(1);
});

it('gives no more text than is asked for, and stops when nobody waits for it', async () => {
  expect(await htmlToMarkdown('<p>word</p>'.repeat(100_000), { maxChars: 50 })).toBe(`${'word\n\n'.repeat(8)}wo`);
  await expect(htmlToMarkdown('<p>word</p>'.repeat(100_000), { signal: AbortSignal.abort() })).rejects.toThrow();
});

it('decodes what stands for a character, and no name of an object', async () => {
  expect(await htmlToMarkdown('<p>a &amp; b &#65;&#x42; &valueOf; &nope;</p><pre>x &lt; y</pre>')).toBe(
    'a & b AB &valueOf; &nope;\n\n```\nx < y\n```',
  );
});

it('keeps headings, lists, links, tables, quotations and code [verifies tools.http.markdown]', async () => {
  const page = `<html><head><title>Guide</title></head><body><nav><a href="#top">Top</a> <a href="/docs?a=1&amp;b=2">Docs</a></nav>
<h1>One <em>big</em> thing</h1><p>First
  paragraph with <a href="https://example.com/x">a <b>link</b></a>, <a href="javascript:alert(1)">none</a> and <code>x &lt; y</code>.</p><p>Second.</p>
<ul><li>a<li>b<ol><li>b1</li><li>b2</li></ol></li><li><p>c</p></li></ul>
<table><tr><th>Name<th>Total</tr><tr><td>Jan</td><td><p>10</p></td></tr></table>
<blockquote><p>said</p></blockquote>
<pre><code>if (a) {
  b();   // two
}
</code></pre><img src=x alt="A chart"><hr>end</body></html>`;
  expect(await htmlToMarkdown(page, { base: 'https://site.example/guide/' })).toBe(`Guide

Top [Docs](https://site.example/docs?a=1&b=2)

# One big thing

First paragraph with [a link](https://example.com/x), none and \`x < y\`.

Second.

- a
- b
  1. b1
  2. b2
- c

| Name | Total |
| --- | --- |
| Jan | 10 |

> said

\`\`\`
if (a) {
  b();   // two
}
\`\`\`

![A chart]

---

end`);
});
