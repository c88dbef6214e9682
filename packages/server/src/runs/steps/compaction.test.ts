import type { Message } from '@nexus-agent/protocol';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { estimateInputTokens } from '#llm';
import { conversation, type Summary } from '#runs/journal';
import { fitSizes, planCompaction, shortenSummary } from './compaction.ts';
import { shortenMessages } from './shorten.ts';

const settings = { compactAt: 0.85, keepShare: 0.4 };
const overheadTokens = 500;

/** Turns as a session has them: a question, then answers that may call tools, each call with its result. */
const turn = fc
  .record({
    words: fc.integer({ min: 1, max: 400 }),
    steps: fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 3 }),
    output: fc.integer({ min: 1, max: 500 }),
  })
  .map(({ words, steps, output }): Message[] => [
    { role: 'user', content: [{ type: 'text', text: 'please tell me '.repeat(words) }] },
    ...steps.flatMap((calls, step): Message[] => [
      {
        role: 'assistant',
        content: [
          { type: 'text', text: 'well' },
          ...Array.from({ length: calls }, (_, index) => ({
            type: 'tool_call' as const,
            providerCallId: `${step}-${index}`,
            name: 'look',
            input: { at: index },
          })),
        ],
      },
      ...(calls === 0
        ? []
        : [
            {
              role: 'tool' as const,
              content: Array.from({ length: calls }, (_, index) => ({
                type: 'tool_result' as const,
                providerCallId: `${step}-${index}`,
                name: 'look',
                output: 'data '.repeat(output),
                isError: false,
              })),
            },
          ]),
    ]),
  ]);
/** Ends with the person, as what is asked does. */
const messages = fc
  .tuple(fc.array(turn, { minLength: 1, maxLength: 25 }), fc.integer({ min: 1, max: 200 }))
  .map(([turns, words]): Message[] => [...turns.flat(), { role: 'user', content: [{ type: 'text', text: 'so then '.repeat(words) }] }]);
const size = (list: readonly Message[]) => estimateInputTokens({ system: '', messages: list, tools: [] });

/** Summarises until the conversation fits, as the engine does over several calls. */
function compact(raw: readonly Message[], contextTokens: number) {
  const sizes = fitSizes(contextTokens, 4_096, overheadTokens, settings);
  const all = shortenMessages(raw, {
    resultTokens: Math.floor(sizes.roomTokens * 0.45),
    argumentTokens: Math.floor(sizes.roomTokens * 0.2),
  });
  let summary: Summary | null = null;
  for (let calls = 0; ; calls++) {
    const plan = planCompaction(all, summary, sizes);
    if (plan.type !== 'summarise') return { all, sizes, summary, plan, calls };
    // A summary only ever stands for more, reads no more than the model takes, and never parts a result from its call.
    expect(plan.replaces).toBeGreaterThan(summary?.replaces ?? 0);
    expect(plan.replaces).toBeLessThan(all.length);
    expect(all[plan.replaces]?.role).not.toBe('tool');
    expect(estimateInputTokens(plan.request) + plan.request.maxOutputTokens).toBeLessThanOrEqual(contextTokens);
    expect(calls).toBeLessThan(all.length);
    summary = { text: 'the gist of it '.repeat(sizes.summaryTokens / 4), replaces: plan.replaces };
  }
}

/** The summary is said with what the person says next, or by itself where the assistant goes on. */
function withoutNote([first, ...rest]: readonly Message[]): readonly Message[] {
  if (first?.role !== 'user') throw new Error('a summary is told by the person');
  expect(first.content[0]).toMatchObject({ type: 'text', text: expect.stringContaining('the gist') });
  return first.content.length > 1 ? [{ role: 'user', content: first.content.slice(1) }, ...rest] : rest;
}

describe('planning to summarise', () => {
  it.each([4_096, 8_192, 32_000])('fits every conversation into a model of %i tokens, in calls that fit themselves', (contextTokens) => {
    let summarised = 0;
    fc.assert(
      fc.property(messages, (raw) => {
        const { all, sizes, summary, plan, calls } = compact(raw, contextTokens);
        if (plan.type !== 'none') throw new Error(`${plan.type}: ${JSON.stringify(plan)}`);
        const shown = summary === null ? null : { ...summary, text: shortenSummary(summary.text, plan.summaryTokens) };
        const seen = conversation({ messages: all, summary: shown }, { messages: [], summary: null });
        expect(overheadTokens + size(seen.messages)).toBeLessThanOrEqual(sizes.limitTokens);
        // What the summary does not stand for is there, as it was.
        const kept = all.slice(summary?.replaces ?? 0);
        expect(summary === null ? seen.messages : withoutNote(seen.messages)).toEqual(kept);
        if (calls > 0) summarised += 1;
      }),
      { numRuns: 80 },
    );
    expect(summarised).toBeGreaterThan(contextTokens > 20_000 ? 0 : 20);
  });

  it('leaves what fits alone, and names a message that can be neither kept nor read', () => {
    const sizes = fitSizes(8_000, 4_096, overheadTokens, settings);
    const say = (text: string): Message => ({ role: 'user', content: [{ type: 'text', text }] });
    expect(planCompaction([say('hello')], null, sizes)).toMatchObject({ type: 'none' });
    const huge = say('word '.repeat(20_000));
    expect(planCompaction([huge], null, sizes)).toEqual({ type: 'impossible', neededTokens: size([huge]), leftTokens: sizes.newestTokens });
  });

  it('reads an old message that is too long for one request with its middle left out, and says so', () => {
    const sizes = fitSizes(4_096, 4_096, 300, settings);
    const long: Message = { role: 'user', content: [{ type: 'text', text: `BEGIN ${'word '.repeat(3_000)}END` }] };
    const answer: Message = { role: 'assistant', content: [{ type: 'text', text: 'read' }] };
    const next: Message = { role: 'user', content: [{ type: 'text', text: 'and now?' }] };
    const plan = planCompaction([long, answer, next], null, sizes);
    if (plan.type !== 'summarise') throw new Error(plan.type);
    const told = JSON.stringify(plan.request.messages);
    expect(told).toMatch(/BEGIN.*\[… \d+ of \d+ characters, which do not fit, are left out here …\].*END/);
    expect(estimateInputTokens(plan.request)).toBeLessThan(4_096 - plan.request.maxOutputTokens);
  });

  it('shortens a summary rather than to fail, when the newest message needs its place', () => {
    const sizes = fitSizes(4_096, 4_096, 300, settings);
    const newest: Message = { role: 'user', content: [{ type: 'text', text: 'w '.repeat(sizes.newestTokens - sizes.leastSummary - 150) }] };
    const summary = { text: 'the gist '.repeat(2_000), replaces: 0 };
    const plan = planCompaction([newest], summary, sizes);
    expect(plan).toMatchObject({ type: 'none' });
    if (plan.type !== 'none') throw new Error(plan.type);
    expect(plan.summaryTokens).toBeLessThan(sizes.mostSummary);
    const shown = conversation(
      { messages: [newest], summary: { ...summary, text: shortenSummary(summary.text, plan.summaryTokens) } },
      { messages: [], summary: null },
    );
    expect(300 + size(shown.messages)).toBeLessThanOrEqual(4_096 - 512);
  });
});

describe('the sizes', () => {
  it('scale with the model', () => {
    const sizes = [2_048, 4_096, 128_000, 1_000_000].map((contextTokens) => fitSizes(contextTokens, 4_096, 300, settings));
    expect(sizes.map(({ summaryTokens }) => summaryTokens)).toEqual([154, 359, 2_617, 8_000]);
    for (const { summaryTokens, mostSummary, leastSummary, roomTokens } of sizes) {
      expect(summaryTokens * 2).toBeLessThanOrEqual(mostSummary);
      expect(leastSummary + mostSummary).toBeLessThan(roomTokens / 2);
    }
  });

  it('keep to what the configuration says of a summary, within what the model has room for', () => {
    const of = (contextTokens: number) => fitSizes(contextTokens, 4_096, 300, { ...settings, summaryTokens: 500 }).summaryTokens;
    expect([of(4_096), of(128_000)]).toEqual([359, 500]);
  });
});

describe('what is said of a summary', () => {
  const said = (role: 'user' | 'assistant', text: string): Message => ({ role, content: [{ type: 'text', text }] });

  it.each(['user', 'assistant'] as const)(
    'before a message of the %s is one object as long as both stay, so that it is measured once',
    (role) => {
      const all = [said('user', 'first'), said(role, 'second'), said('assistant', 'third')];
      const begins = (text: string, list = all) =>
        conversation({ messages: list, summary: { text, replaces: 1 } }, { messages: [], summary: null }).messages[0];
      const before = begins('of the first');
      expect(begins('of the first', [...all, said('user', 'more')])).toBe(before);
      expect(JSON.stringify(before)).toContain('of the first');
      expect(JSON.stringify(before).includes('second')).toBe(role === 'user');
      expect(JSON.stringify(begins('of another'))).toContain('of another');
      expect(JSON.stringify(begins('of the first', [...all.slice(0, 1), said(role, 'changed')])).includes('changed')).toBe(role === 'user');
    },
  );
});
