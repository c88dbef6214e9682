import type { Message } from '@nexus-agent/protocol';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { estimateInputTokens } from '#llm';
import { conversation, initialState, type Summary } from '#runs/journal';
import { planCompaction } from './compaction.ts';

const limitTokens = 6_000;
const settings = { summaryTokens: 1_500, keepShare: 0.4 };

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
const messages = fc.array(turn, { minLength: 1, maxLength: 25 }).map((turns) => turns.flat());
const size = (list: readonly Message[]) => estimateInputTokens({ system: '', messages: list, tools: [] });

/** Summarises until the conversation fits, as the engine does over several calls. */
function compact(all: readonly Message[]): { summary: Summary | null; outcome: 'none' | 'impossible'; calls: number } {
  let summary: Summary | null = null;
  for (let calls = 0; ; calls++) {
    const plan = planCompaction(all, summary, limitTokens, 500, settings);
    if (plan.type !== 'summarise') return { summary, outcome: plan.type, calls };
    // A summary only ever stands for more, reads no more than the model takes, and never parts a result from its call.
    expect(plan.replaces).toBeGreaterThan(summary?.replaces ?? 0);
    expect(plan.replaces).toBeLessThan(all.length);
    expect(all[plan.replaces]?.role).not.toBe('tool');
    expect(estimateInputTokens(plan.request)).toBeLessThanOrEqual(limitTokens);
    expect(calls).toBeLessThan(all.length);
    summary = { text: 'the gist '.repeat(300), replaces: plan.replaces };
  }
}

/** The summary is said with what the person says next, or by itself where the assistant goes on. */
function withoutNote([first, ...rest]: readonly Message[]): readonly Message[] {
  if (first?.role !== 'user') throw new Error('a summary is told by the person');
  expect(first.content[0]).toMatchObject({ type: 'text', text: expect.stringContaining('the gist') });
  return first.content.length > 1 ? [{ role: 'user', content: first.content.slice(1) }, ...rest] : rest;
}

describe('planning to summarise', () => {
  it('fits every conversation or says that it cannot, in calls that fit themselves [verifies durability.compaction]', () => {
    let summarised = 0;
    fc.assert(
      fc.property(messages, (all) => {
        const { summary, outcome, calls } = compact(all);
        const seen = conversation({ messages: all, summary: null }, { ...initialState, messages: [], summary });
        // Nothing is lost: what the summary does not stand for is there, as it was.
        const kept = all.slice(summary?.replaces ?? 0);
        if (outcome === 'none') expect(500 + size(kept)).toBeLessThanOrEqual(limitTokens + 16);
        expect(summary === null ? seen.messages : withoutNote(seen.messages)).toEqual(kept);
        if (calls > 0) summarised += 1;
      }),
      { numRuns: 150 },
    );
    expect(summarised).toBeGreaterThan(30);
  });

  it('leaves what fits alone, and names a turn that can be neither kept nor read', () => {
    const short: Message[] = [{ role: 'user', content: [{ type: 'text', text: 'hello' }] }];
    expect(planCompaction(short, null, limitTokens, 500, settings)).toEqual({ type: 'none' });
    const huge: Message[] = [{ role: 'user', content: [{ type: 'text', text: 'word '.repeat(20_000) }] }];
    expect(planCompaction(huge, null, limitTokens, 500, settings)).toEqual({ type: 'impossible' });
  });
});
