import type { Message, ToolResultPart } from '@nexus-agent/protocol';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { estimateTextTokens } from '#llm';
import { shortenMessages, shortenText } from './shorten.ts';

const limits = { resultTokens: 4_000, argumentTokens: 1_000 };
const result = (output: string, index = 0): ToolResultPart => ({
  type: 'tool_result',
  providerCallId: `c${index}`,
  name: 'look',
  output,
  isError: false,
});
const step = (...outputs: string[]): Message => ({ role: 'tool', content: outputs.map(result) });

function outputs(messages: readonly Message[]): string[] {
  return messages.flatMap(({ content }) => content.flatMap((part) => (part.type === 'tool_result' ? [part.output] : [])));
}

describe('shortening a text', () => {
  it('keeps it within the tokens, whole characters only, and says exactly how much is missing', () => {
    const text = fc.array(fc.oneof(fc.string({ unit: 'grapheme', maxLength: 40 }), fc.constantFrom('😀', '今天', 'word ', '12345 ')), {
      minLength: 1,
      maxLength: 400,
    });
    fc.assert(
      fc.property(
        text.map((parts) => parts.join('').repeat(3)),
        fc.integer({ min: 30, max: 2_000 }),
        (whole, maxTokens) => {
          let missing = -1;
          const short = shortenText(whole, maxTokens, (cut) => {
            missing = cut;
            return `[${cut} cut]`;
          });
          expect(estimateTextTokens(short)).toBeLessThanOrEqual(Math.max(maxTokens, 30));
          expect(short.isWellFormed()).toBe(whole.isWellFormed());
          if (short === whole || !short.includes('\n[')) return;
          const [head = '', tail = ''] = short.split(`\n[${missing} cut]\n`);
          expect(whole.startsWith(head) && whole.endsWith(tail)).toBe(true);
          expect(head.length + missing + tail.length).toBe(whole.length);
        },
      ),
      { numRuns: 200 },
    );
  });
});

describe('what a step brings in', () => {
  it('stays as it is while it fits', () => {
    const messages = [step('short', 'also short')];
    expect(shortenMessages(messages, limits)[0]).toBe(messages[0]);
  });

  it('is cut to what all of it may have together: small results stay whole, large ones share the rest [verifies durability.compaction]', () => {
    const large = Array.from({ length: 7 }, (_, index) => `${index}:${'row,'.repeat(12_000)}`);
    const shown = outputs(shortenMessages([step('small', ...large)], limits));
    expect(shown[0]).toBe('small');
    expect(shown.reduce((sum, output) => sum + estimateTextTokens(output), 0)).toBeLessThanOrEqual(limits.resultTokens);
    shown.slice(1).forEach((output, index) => {
      expect(output.startsWith(`${index}:row,`)).toBe(true);
      expect(output).toMatch(/\[… \d+ of 48002 characters of this result are cut here.* call look again for a part of it/);
      expect(estimateTextTokens(output)).toBeGreaterThan(400);
    });
  });

  it('is cut to the room that results leave which stay whole', () => {
    const whole = 'row,'.repeat(200);
    const shown = outputs(shortenMessages([step(whole, whole, whole, 'row,'.repeat(12_000), 'row,'.repeat(12_000))], limits));
    expect(shown.slice(0, 3)).toEqual([whole, whole, whole]);
    const sizes = shown.map(estimateTextTokens);
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThanOrEqual(limits.resultTokens);
    expect(sizes[3]).toBeGreaterThan(estimateTextTokens(whole));
  });

  it('is cut in the same way each time, into the same object', () => {
    const messages = [step('row,'.repeat(30_000))];
    expect(shortenMessages(messages, limits)[0]).toBe(shortenMessages(messages, limits)[0]);
    expect(shortenMessages(messages, { ...limits, resultTokens: 500 })).not.toEqual(shortenMessages(messages, limits));
  });

  it('counts what a call was given, too: long texts are shown in part', () => {
    const call = {
      type: 'tool_call' as const,
      providerCallId: 'c1',
      name: 'fs_write',
      input: { path: 'a.md', content: 'long '.repeat(4_000) },
    };
    const [message] = shortenMessages([{ role: 'assistant', content: [{ type: 'text', text: 'I write' }, call] }], limits);
    const [said, written] = message?.content ?? [];
    expect(said).toEqual({ type: 'text', text: 'I write' });
    expect(written).toMatchObject({ type: 'tool_call', name: 'fs_write', input: { path: 'a.md' } });
    expect(estimateTextTokens(JSON.stringify(written))).toBeLessThan(limits.argumentTokens);
    expect(JSON.stringify(written)).toContain('more characters, which the tool was given');
  });
});
