import type { Message } from '@nexus-agent/protocol';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { makeRequest } from '#llm/testing';
import { createAnthropicMessages } from './anthropic-messages/upstream.ts';
import { createOmissions, type RequestFeature } from './features.ts';
import { message } from './messages.testkit.ts';
import { createOpenAiChat } from './openai-chat/upstream.ts';

const wires = [
  ['OpenAI', (omissions) => createOpenAiChat({ provider: 'p', maxTokensField: 'max_tokens', omissions, extraBody: { messages: 'none' } })],
  ['Anthropic', (omissions) => createAnthropicMessages({ provider: 'p', promptCaching: true, thinking: { type: 'adaptive' }, omissions })],
] as const satisfies [string, (omissions: ReturnType<typeof createOmissions>) => ReturnType<typeof createOpenAiChat>][];
const call = { model: 'm', maxOutputTokens: 2_000 };
const features: RequestFeature[] = [
  ...(['userAfterTool', 'parallelCalls', 'reasoning', 'systemMessage', 'nullContent'] as const),
  ...(['earlierImages', 'promptCaching', 'callsWithoutSignature'] as const),
];

describe.each(wires)('what a request to %s begins with', (_name, dialectWith) => {
  it('is what it would be if nothing were remembered of those before it', () => {
    /** How many messages more the next request has, or fewer, and what it changes beside. */
    const next = fc.record({
      grows: fc.integer({ min: -20, max: 40 }),
      other: fc.boolean(),
      system: fc.constantFrom('be brief', 'be brief', 'be long'),
      withTools: fc.boolean(),
      learns: fc.option(fc.constantFrom(...features), { nil: undefined, freq: 6 }),
    });
    fc.assert(
      fc.property(
        fc.array(message, { minLength: 100, maxLength: 140 }),
        fc.array(message, { minLength: 20, maxLength: 20 }),
        fc.array(next, { maxLength: 12 }),
        (all, others, requests) => {
          const learned: RequestFeature[] = [];
          const dialect = dialectWith(createOmissions(() => learned));
          let length = 20;
          for (const { grows, other, system, withTools, learns } of requests) {
            length = Math.min(all.length, Math.max(1, length + grows));
            if (learns !== undefined) learned.push(learns);
            // Another one may go on from the same beginning: a fork of its run does.
            const messages: Message[] = other ? [...all.slice(0, Math.ceil(length / 2)), ...others] : all.slice(0, length);
            const tools = withTools ? [{ name: 'f', description: 'does', inputSchema: { type: 'object', properties: { 'a b': {} } } }] : [];
            const request = makeRequest('', { messages, system, tools });
            const fresh = dialectWith(createOmissions(() => learned));
            expect(JSON.parse(dialect.encode(request, call))).toEqual(JSON.parse(fresh.encode(request, call)));
          }
        },
      ),
      { numRuns: 150 },
    );
  }, 60_000);

  it('is not what it was when the answer that ended it is another message', () => {
    const dialect = dialectWith(createOmissions());
    const said = (role: 'user' | 'assistant', text: string): Message => ({ role, content: [{ type: 'text', text }] });
    const tools = [{ name: 'f', description: 'does', inputSchema: {} }];
    // Nothing but blanks before the answer: that it begins the conversation is said because of it.
    const blanks = Array.from({ length: 40 }, () => said('user', ' '));
    for (const goesOn of ['assistant', 'user'] as const) {
      const request = makeRequest('', { messages: [...blanks, said(goesOn, 'more'), said('user', 'and?')], tools });
      expect(JSON.parse(dialect.encode(request, call))).toEqual(JSON.parse(dialectWith(createOmissions()).encode(request, call)));
    }
  });

  it('is not written again with each step of a long run', () => {
    const dialect = dialectWith(createOmissions());
    let read = 0;
    /** An answer with a call, and its result; reading the result is counted. */
    const step = (index: number): Message[] => [
      { role: 'assistant', content: [{ type: 'tool_call', providerCallId: `${index}`, name: 'f', input: {} }] },
      {
        role: 'tool',
        content: [
          {
            ...{ type: 'tool_result', providerCallId: `${index}`, name: 'f', isError: false },
            get output() {
              read += 1;
              return 'fine';
            },
          },
        ],
      },
    ];
    const messages: Message[] = [{ role: 'user', content: [{ type: 'text', text: 'go' }] }];
    const reads: number[] = [];
    for (let index = 0; index < 200; index++) {
      messages.push(...step(index));
      read = 0;
      dialect.encode(makeRequest('', { messages: [...messages], tools: [{ name: 'f', description: 'does', inputSchema: {} }] }), call);
      reads.push(read);
    }
    expect(reads[199]).toBe(reads[99]);
    expect(reads[199]).toBeLessThan(10);
  });
});
