import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { LanguageModels, ModelPart, ModelRequest, ModelTarget } from '../../packages/server/src/llm/index.ts';

/**
 * What a provider under test must have: a model that follows the simulator's directives, and the same one with a fault
 * of the simulator (such as `cut=2`) built in.
 */
export interface LanguageModelSubject {
  readonly llm: LanguageModels;
  model(fault?: string): string;
  /** Requests that the server is answering at this moment. */
  activeRequests(): number;
  close(): Promise<void>;
}

/** What every provider must do behind {@link LanguageModels}, whatever wire format it speaks. */
export function describeLanguageModel(name: string, create: () => Promise<LanguageModelSubject>): void {
  describe(`language model: ${name}`, () => {
    let subject: LanguageModelSubject;
    beforeAll(async () => {
      subject = await create();
    });
    afterAll(() => subject.close());

    let calls = 0;
    async function run(
      text: string,
      options: { fault?: string; maxOutputTokens?: number; signal?: AbortSignal; request?: Partial<ModelRequest> } = {},
    ) {
      calls += 1;
      const request: ModelRequest = {
        system: 'You help.',
        messages: [{ role: 'user', content: [{ type: 'text', text }] }],
        tools: [{ name: 'probe', description: 'A probe', inputSchema: { type: 'object', properties: { q: { type: 'string' } } } }],
        maxOutputTokens: 2_000,
        idempotencyKey: `${name}-${calls}`,
        ...options.request,
      };
      const targets = await subject.llm.resolve([subject.model(options.fault)]);
      const parts: ModelPart[] = [];
      const stream = subject.llm.stream(request, {
        targets,
        signal: options.signal ?? new AbortController().signal,
        gate: {
          begin: async () => ({ type: 'granted', maxOutputTokens: options.maxOutputTokens ?? 2_000, timeoutMs: 10_000 }),
          failed: async () => undefined,
        },
      });
      for await (const part of stream) parts.push(part);
      const estimate = subject.llm.estimateInputTokens(request);
      return { parts, last: parts.at(-1), deltas: (type: ModelPart['type']) => join(parts, type), target: targets[0], estimate };
    }
    const join = (parts: readonly ModelPart[], type: ModelPart['type']) =>
      parts.map((part) => (part.type === type && 'text' in part ? part.text : '')).join('');

    it('streams text whose pieces make up the content', async () => {
      const { last, deltas } = await run('[[sim say="one two three" tokens=100]]');
      expect(last).toMatchObject({ type: 'completed', finishReason: 'stop', content: [{ type: 'text', text: deltas('text.delta') }] });
      expect(deltas('text.delta')).toMatch(/^one two three one/);
    });

    it('streams reasoning apart from text', async () => {
      const { last, deltas } = await run('[[sim think="let me see" say="seen"]]');
      expect(deltas('reasoning.delta')).toBe('let me see');
      expect(deltas('text.delta')).toBe('seen');
      expect(last).toMatchObject({
        content: [
          { type: 'reasoning', text: 'let me see' },
          { type: 'text', text: 'seen' },
        ],
      });
    });

    it('gives parallel tool calls in order, with parsed input and ids that differ', async () => {
      const { last } = await run('[[sim tools=probe(q="ä\\"b"),probe(q="c")]]');
      if (last?.type !== 'completed') throw new Error('not completed');
      expect(last.finishReason).toBe('tool_calls');
      expect(last.content).toMatchObject([
        { type: 'tool_call', name: 'probe', input: { q: 'ä"b' } },
        { type: 'tool_call', name: 'probe', input: { q: 'c' } },
      ]);
      expect(new Set(last.content.map((part) => part.type === 'tool_call' && part.providerCallId)).size).toBe(2);
    });

    it('keeps arguments that are not JSON for the caller to answer', async () => {
      const { last } = await run('[[sim tools=probe!("{oops")]]');
      expect(last).toMatchObject({ type: 'completed', content: [{ type: 'tool_call', invalidInput: '{oops' }] });
    });

    it('takes its own answer and the tool results back', async () => {
      const directives = '[[sim think="hm" tools=probe(q="a"),probe!("{oops")]] [[sim say="got {{result}}"]]';
      const { last } = await run(directives);
      if (last?.type !== 'completed') throw new Error('not completed');
      const results = last.content.flatMap((part) =>
        part.type === 'tool_call'
          ? [{ type: 'tool_result' as const, providerCallId: part.providerCallId, name: part.name, output: 'seven', isError: false }]
          : [],
      );
      const second = await run('', {
        request: {
          messages: [
            { role: 'user', content: [{ type: 'text', text: directives }] },
            { role: 'assistant', content: [...last.content] },
            { role: 'tool', content: results },
          ],
        },
      });
      expect(second.deltas('text.delta')).toBe('got seven');
    });

    it('counts input and output, never more input than was estimated', async () => {
      const { last, estimate } = await run('[[sim think="a b c" say="one two" tokens=50]]');
      if (last?.type !== 'completed') throw new Error('not completed');
      expect(last.usage.outputTokens).toBe(53);
      expect(last.usage.inputTokens).toBeGreaterThan(0);
      expect(last.usage.inputTokens).toBeLessThanOrEqual(estimate);
    });

    it('stops at the granted output limit and says so', async () => {
      const { last } = await run('[[sim say="a" tokens=100]]', { maxOutputTokens: 7 });
      expect(last).toMatchObject({ type: 'completed', finishReason: 'length', usage: { outputTokens: 7 } });
    });

    it('answers in JSON when a schema is given', async () => {
      const outputSchema = { type: 'object', properties: { word: { type: 'string' } }, required: ['word'], additionalProperties: false };
      const { deltas } = await run('say a word', { request: { outputSchema, tools: [] } });
      expect(JSON.parse(deltas('text.delta'))).toMatchObject({ word: expect.any(String) });
    });

    it('takes images', async () => {
      const image = { type: 'image' as const, mediaType: 'image/png' as const, data: { base64: 'iVBORw0KGgo=' } };
      const { deltas } = await run('', {
        request: { messages: [{ role: 'user', content: [{ type: 'text', text: 'what is it?' }, image] }] },
      });
      expect(deltas('text.delta')).toContain('an image');
    });

    it.each([
      ['cut=2', 'provider_stream_cut'],
      ['die=2', 'provider_stream_cut'],
      ['malformed=2', 'provider_malformed'],
      ['inband=2', 'provider_unavailable'],
    ])('ends %s in one failed part, %s, with usage and what was seen', async (fault, code) => {
      const { parts, last, deltas } = await run('[[sim say="one two three four"]]', { fault });
      expect(last).toMatchObject({ type: 'failed', error: { code } });
      expect(deltas('text.delta')).toBe('one two');
      expect(last?.type === 'failed' && last.usage.outputTokens).toBeGreaterThanOrEqual(2);
      expect(parts.filter((part) => part.type === 'completed' || part.type === 'failed')).toHaveLength(1);
    });

    it('ends the upstream request when it is cancelled', async () => {
      const abort = new AbortController();
      setTimeout(() => abort.abort(), 30);
      const { last } = await run('[[sim say="a" tokens=100]]', { fault: 'stall=1', signal: abort.signal });
      expect(last).toMatchObject({ type: 'failed', error: { code: 'cancelled' } });
      await expect.poll(() => subject.activeRequests(), { timeout: 1_000, interval: 5 }).toBe(0);
    });

    it('reports withheld answers as an error', async () => {
      expect((await run('[[sim say="half" finish=content_filter]]')).last).toMatchObject({
        type: 'failed',
        error: { code: 'content_filtered' },
      });
    });

    it('names its targets and the attempt', async () => {
      const { parts, target } = await run('[[sim say="x"]]');
      const expected: ModelTarget | undefined = target;
      expect(parts[0]).toEqual({ type: 'attempt.started', target: expected, attempt: 1 });
      expect(parts.at(-1)).toMatchObject({ target: expected, attempt: 1 });
    });
  });
}
