import type { Message } from '@nexus-agent/protocol';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ModelInput } from '#llm/contract';
import { realTokenizers } from '../../../../../test/support/tokenizers.ts';
import { boundFrameTokens } from './bound.ts';
import { InputCounts } from './counts.ts';
import { leastInputTokens } from './least.ts';

/** Text as people, programs and attackers write it, in bounded runs: tokenizers take long ones badly. */
const hostileText = fc
  .array(
    fc.oneof(
      fc.string({ unit: 'grapheme', maxLength: 12 }),
      fc.string({ unit: 'binary', maxLength: 12 }),
      fc.constantFrom(
        'Nobody expects ',
        '{"a":[1,null]}',
        '3.14159265',
        '今天天气很好',
        '\n\n\n',
        '\u{fdfa}',
        '각',
        '🧑🏽‍🚀',
        '<|im_end|>',
        'ｆｕｌｌ',
        '㌀',
      ),
      fc
        .constantFrom('=', 'a', '0', ' ', '\t', '/', '😀', 'é', '\u0301', '٣')
        .chain((of) => fc.integer({ min: 1, max: 40 }).map((times) => of.repeat(times))),
      fc.base64String({ maxLength: 24 }),
      fc.uuid(),
      fc.webUrl({ size: 'small' }),
    ),
    { maxLength: 10 },
  )
  .map((parts) => parts.join('').toWellFormed());

const target = { provider: 'p', model: 'm', contextTokens: 100_000, imageTokens: 1_500, templateTokens: 32 };
const request = { system: '', messages: [], tools: [] };
const boundInputTokens = (at: typeof target, asked: ModelInput) => new InputCounts().bound({ tenantId: 't', target: at, request: asked });
const boundBy = (counts: InputCounts, asked: ModelInput, tenantId = 't') => counts.bound({ tenantId, target, request: asked });
const learnBy = (counts: InputCounts, asked: ModelInput, counted: number) =>
  counts.learn({ tenantId: 't', target, request: asked }, counted);
const boundTextTokens = (system: string) => boundFrameTokens(target, { ...request, system }) - boundFrameTokens(target, request);

describe.each(Object.entries(realTokenizers))('the bound for a text, beside %s', (_name, count) => {
  it('is never below its tokens [verifies budget.input.bound]', () => {
    fc.assert(
      fc.property(hostileText, (text) => {
        // Text of no length may have the blank that one tokenizer puts before it.
        expect(boundTextTokens(text)).toBeGreaterThanOrEqual(count(text) - 1);
      }),
      { numRuns: 600 },
    );
  });

  it('holds for a whole request as a template may write it out, and the least is never above it', () => {
    const part = fc.oneof(
      hostileText.map((text) => ({ role: 'user' as const, content: [{ type: 'text' as const, text }] })),
      fc.tuple(hostileText, fc.dictionary(fc.string({ maxLength: 5 }), hostileText, { maxKeys: 3 })).map(([text, input]) => ({
        role: 'assistant' as const,
        content: [
          { type: 'text' as const, text },
          { type: 'tool_call' as const, providerCallId: 'c1', name: 'look_up', input },
        ],
      })),
      hostileText.map((output) => ({
        role: 'tool' as const,
        content: [{ type: 'tool_result' as const, providerCallId: 'c1', name: 'look_up', output, isError: false }],
      })),
    );
    const escaped = (json: string) => json.replaceAll(/[\u0080-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
    const shown = (message: Message) =>
      message.content
        .map((piece) => {
          if (piece.type === 'text') return piece.text;
          if (piece.type === 'tool_call') return `<tool_call>${piece.name}${escaped(JSON.stringify(piece.input, null, 4))}</tool_call>`;
          return piece.type === 'tool_result' ? `<tool_response>{"name": "${piece.name}", "content": ${JSON.stringify(piece.output)}}` : '';
        })
        .join('\n');
    fc.assert(
      fc.property(hostileText, fc.array(part, { maxLength: 4 }), (system, messages: Message[]) => {
        const written = [`system\n${system}`, ...messages.map((message) => `${message.role}\n${shown(message)}`)];
        const whole = written.map((text) => `<|im_start|>${text}<|im_end|>\n`).join('');
        const tokens = count(whole);
        expect(boundInputTokens(target, { system, messages, tools: [] })).toBeGreaterThanOrEqual(tokens);
        expect(leastInputTokens({ system, messages, tools: [] })).toBeLessThanOrEqual(tokens);
      }),
      { numRuns: 200 },
    );
  });
});

describe('the bound for marks without end', () => {
  const marks = fc.constantFrom(
    '\u0301',
    '\u0316',
    '\u0327',
    '\u05b0',
    '\u0f71',
    '\u0345',
    '\u3099',
    'a',
    'e',
    '각',
    '\u1100',
    '\u1161',
    '\u{1d15e}',
    '\u{fb2c}',
    '\u{fdfa}',
  );
  it('is never below their compatible form', () => {
    fc.assert(
      fc.property(fc.array(marks, { maxLength: 300 }), (parts) => {
        const text = parts.join('');
        expect(boundTextTokens(text)).toBeGreaterThanOrEqual(Buffer.byteLength(text.normalize('NFKC')));
      }),
      { numRuns: 500 },
    );
  });

  it('takes time in proportion to them', () => {
    const text = `a${'\u0301'.repeat(200_000)}${'\u0316'.repeat(200_000)}`;
    const startedAt = performance.now();
    expect(boundTextTokens(text)).toBeGreaterThanOrEqual(800_000);
    expect(performance.now() - startedAt).toBeLessThan(1_000);
  });
});

describe('the bound of a request', () => {
  it('counts every part of it', () => {
    const none = boundInputTokens(target, request);
    const image = { type: 'image' as const, mediaType: 'image/png' as const, data: { base64: 'A'.repeat(9_000) } };
    const thought = { type: 'reasoning' as const, text: 'hm', signature: 's'.repeat(300), opaque: { secret: 'o'.repeat(200) } };
    const with_ = (message: Message) => boundInputTokens(target, { ...request, messages: [message] }) - none;
    expect(with_({ role: 'user', content: [image, image] })).toBeGreaterThanOrEqual(3_000);
    expect(with_({ role: 'user', content: [image, image] })).toBeLessThan(3_200);
    expect(with_({ role: 'assistant', content: [thought] })).toBeGreaterThanOrEqual(502);
    expect(boundInputTokens(target, { ...request, system: 'x'.repeat(100) }) - none).toBe(100);
    expect(boundInputTokens(target, { ...request, tools: [{ name: 'a', description: 'b', inputSchema: {} }] }) - none).toBeGreaterThan(
      1_000,
    );
    expect(boundInputTokens(target, { ...request, outputSchema: { type: 'object' } }) - none).toBeGreaterThan(500);
  });

  it('takes JSON as it is shown at its widest', () => {
    const of = (outputSchema: Record<string, unknown>) => boundFrameTokens(target, { ...request, outputSchema });
    expect(of({ a: ['é'] }) - of({})).toBe(2 * ('{\n    "a": [\n        "\\u00e9"\n    ]\n}'.length - '{}'.length));
  });
});

describe('what was counted', () => {
  const say = (text: string): Message => ({ role: 'user', content: [{ type: 'text', text }] });
  const [first, second, third] = [say('one '.repeat(500)), say('two '.repeat(500)), say('three '.repeat(100))];
  const of = (...messages: Message[]) => ({ ...request, system: 'Be brief.', messages });

  it('bounds the next request by the same words, and the bytes of what came since', () => {
    const counts = new InputCounts();
    const before = boundBy(counts, of(first, second));
    expect(before).toBe(boundInputTokens(target, of(first, second)));
    learnBy(counts, of(first, second), 1_100);
    expect(boundBy(counts, of(first, second))).toBe(1_116);
    const since = boundInputTokens(target, of(third)) - boundInputTokens(target, of());
    expect(boundBy(counts, of(first, second, third))).toBe(1_116 + since);
  });

  it('says nothing of another model, other instructions, or a conversation that was cut', () => {
    const counts = new InputCounts();
    learnBy(counts, of(first, second), 1_100);
    const unknown = (at: typeof target, asked: ReturnType<typeof of>) =>
      expect(counts.bound({ tenantId: 't', target: at, request: asked })).toBe(boundInputTokens(at, asked));
    unknown({ ...target, model: 'other' }, of(first, second));
    unknown(target, { ...of(first, second), system: 'Be long.' });
    expect(boundBy(counts, of(second))).toBeGreaterThan(1_116);
    expect(boundBy(counts, of(second, first))).toBeGreaterThan(1_116);
  });

  it('bounds instructions and tools in other conversations by what the messages leave of it', () => {
    const counts = new InputCounts();
    const tools = [{ name: 'look_up', description: 'Looks up', inputSchema: { type: 'object', description: 'x'.repeat(4_000) } }];
    const ask = (text: string) => ({ ...of(say(text)), tools });
    learnBy(counts, ask('hello there, who are you?'), 950);
    expect(boundBy(counts, ask('something else'))).toBeLessThan(1_050);
    expect(boundBy(counts, ask('something else'))).toBeGreaterThan(950);
  });

  it('says nothing of a conversation with calls of tools that are gone, which some wires list all the same', () => {
    const counts = new InputCounts();
    learnBy(counts, of(first), 600);
    const call: Message = { role: 'assistant', content: [{ type: 'tool_call', providerCallId: 'c', name: 'look_up', input: {} }] };
    const result: Message = {
      role: 'tool',
      content: [{ type: 'tool_result', providerCallId: 'c', name: 'look_up', output: 'fine', isError: false }],
    };
    const tools = [{ name: 'look_up', description: 'No longer available.', inputSchema: { type: 'object', properties: {} } }];
    const asked = of(first, call, result);
    const listed = boundInputTokens(target, { ...asked, tools }) - boundInputTokens(target, asked);
    // What is listed in their place is no more than what they would be.
    expect(listed).toBeLessThanOrEqual(0);
    expect(boundBy(counts, asked)).toBe(boundInputTokens(target, asked));
    expect(boundInputTokens(target, asked)).toBeGreaterThan(boundInputTokens(target, of(first)) + 1_000);
  });

  it('is not believed below what the words have at least, and says nothing of other conversations then', () => {
    const counts = new InputCounts();
    for (const lie of [0, 1, 40]) learnBy(counts, of(first), lie);
    for (const asked of [of(first), of(third)]) expect(boundBy(counts, asked)).toBe(boundInputTokens(target, asked));
  });

  it('raises the bound of other requests where a server adds words of its own [verifies budget.input.bound]', () => {
    const counts = new InputCounts();
    const other = { ...of(third), system: 'Be quick.' };
    const known = boundInputTokens(target, other);
    learnBy(counts, of(first), boundInputTokens(target, of(first)) + 9_000);
    expect(boundBy(counts, other)).toBe(known + 9_000);
    expect(boundBy(counts, other, 'other')).toBe(known);
    // It does less of it, and no request is longer than its model takes.
    for (let time = 0; time < 20; time++) learnBy(counts, of(third), 200);
    expect(boundBy(counts, other)).toBeLessThan(known + 100);
    learnBy(counts, of(first), 90_000_000);
    expect(boundBy(counts, other)).toBe(known + target.contextTokens);
  });

  it('takes what images cost beyond their bound for what images cost', () => {
    const counts = new InputCounts();
    const image: Message = { role: 'user', content: [{ type: 'image', mediaType: 'image/png', data: { base64: 'AAAA' } }] };
    learnBy(counts, of(first, image), boundInputTokens(target, of(first, image)) + 9_000);
    const [plain, seen] = [
      { ...of(third), system: 'Be quick.' },
      { ...of(third, image), system: 'Be quick.' },
    ];
    expect(boundBy(counts, plain)).toBe(boundInputTokens(target, plain));
    expect(boundBy(counts, seen)).toBe(boundInputTokens(target, seen) + 9_000);
  });

  it('is not misled by blanks, which nobody may have sent', () => {
    const counts = new InputCounts();
    const tools = [{ name: 'look_up', description: 'Looks up', inputSchema: { type: 'object', description: 'x'.repeat(4_000) } }];
    learnBy(counts, { ...of(say(' '.repeat(30_000)), say(`hello${'\n'.repeat(30_000)}`)), tools }, 950);
    expect(boundBy(counts, { ...of(say('hm')), tools })).toBeGreaterThan(950);
  });

  it('says nothing to other tenants, and is put right by the next count that shows it to be too low', () => {
    const counts = new InputCounts();
    const tools = [{ name: 'look_up', description: 'Looks up', inputSchema: { type: 'object', description: 'x '.repeat(4_000) } }];
    const ask = (text: string) => ({ ...of(say(text)), tools });
    learnBy(counts, ask('a lie'), 60);
    expect(boundBy(counts, ask('hm'))).toBeLessThan(200);
    expect(boundBy(counts, ask('hm'), 'other')).toBeGreaterThan(8_000);
    learnBy(counts, ask('the truth'), 4_000);
    expect(boundBy(counts, ask('hm'))).toBeGreaterThan(4_000);
  });

  it('stays a bound for every tokenizer, whatever was counted before', () => {
    for (const count of Object.values(realTokenizers)) {
      fc.assert(
        fc.property(fc.array(hostileText, { minLength: 2, maxLength: 6 }), hostileText, (texts, system) => {
          const counts = new InputCounts();
          const messages = texts.map(say);
          const measure = (all: readonly Message[]) =>
            count(`${system}\n`) + all.reduce((sum, { content: [part] }) => sum + count(part?.type === 'text' ? part.text : '') + 4, 3);
          for (let length = 1; length <= messages.length; length++) {
            const asked = { system, messages: messages.slice(0, length), tools: [] };
            const tokens = measure(asked.messages);
            expect(boundBy(counts, asked)).toBeGreaterThanOrEqual(tokens);
            learnBy(counts, asked, tokens);
            const [alone] = messages.slice(length - 1);
            if (alone !== undefined) {
              const other = { system, messages: [alone], tools: [] };
              expect(boundBy(counts, other)).toBeGreaterThanOrEqual(measure(other.messages));
            }
          }
        }),
        { numRuns: 60 },
      );
    }
  });
});
