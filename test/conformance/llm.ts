import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { estimateInputTokens, type ModelPart, type ModelRequest, type ModelService } from '../../packages/server/src/llm/index.ts';

/**
 * What a service under test must have: a model that follows the simulator's directives, and the same one with a fault
 * of the simulator (such as `cut=2`) built in. It retries each target once more, and starts no wait longer than a second
 * while another target is left.
 */
export interface ModelServiceSubject {
  readonly service: ModelService;
  model(fault?: string): string;
  /** Requests that the server is answering at this moment. */
  activeRequests(): number;
  close(): Promise<void>;
}

/** What every {@link ModelService} must do, wherever it runs and whatever wire format its providers speak. */
export function describeModelService(name: string, create: () => Promise<ModelServiceSubject>): void {
  describe(`model service: ${name}`, () => {
    let subject: ModelServiceSubject;
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
      const target = await targetOf(options.fault);
      const parts: ModelPart[] = [];
      const message = { target, request, inputTokens: 50_000, maxOutputTokens: options.maxOutputTokens ?? 2_000, timeoutMs: 10_000 };
      // What crosses to another process is what JSON keeps.
      const sent = JSON.parse(JSON.stringify(message)) as typeof message;
      const { signal = new AbortController().signal } = options;
      for await (const part of subject.service.attempt(sent, { signal })) parts.push(part);
      return { parts, last: parts.at(-1), deltas: (type: ModelPart['type']) => join(parts, type), request };
    }
    async function targetOf(fault?: string) {
      const [target] = await subject.service.resolve([subject.model(fault)]);
      if (target === undefined) throw new Error('the model is not there');
      return target;
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

    it('counts input and output, and of this request no more input than was estimated', async () => {
      const { last, request } = await run('[[sim think="a b c" say="one two" tokens=50]]');
      if (last?.type !== 'completed') throw new Error('not completed');
      expect(last.usage.outputTokens).toBe(53);
      expect(last.usage.inputTokens).toBeGreaterThan(0);
      expect(last.usage.inputTokens).toBeLessThanOrEqual(estimateInputTokens(request));
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
      expect(last).toMatchObject({ type: 'failed', error: { code }, sent: true });
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

    it('gives parts, targets and advice that are plain data', async () => {
      const { parts } = await run('[[sim think="hm" say="one" tools=probe(q="a")]]');
      const failed = await run('hello', { fault: 'status=503' });
      const target = await targetOf();
      const { service } = subject;
      const error = { code: 'provider_unavailable', message: 'down', retryable: true } as const;
      const failures = [{ target, error, retryAfterMs: 7, refused: false }];
      const advice = await service.next({ targets: [target], failures, remainingMs: 60_000, sawText: false });
      for (const value of [...parts, ...failed.parts, target, advice, await service.list()]) {
        expect(JSON.parse(JSON.stringify(value))).toEqual(value);
      }
    });

    it('says that nothing was sent when the signal had fired before', async () => {
      const { parts } = await run('hello', { signal: AbortSignal.abort() });
      expect(parts).toMatchObject([
        { type: 'failed', error: { code: 'cancelled' }, sent: false, usage: { inputTokens: 0, outputTokens: 0 } },
      ]);
    });

    it('ends the upstream request when the reader leaves', async () => {
      const message = { target: await targetOf('stall=1'), inputTokens: 50_000, maxOutputTokens: 100, timeoutMs: 10_000 };
      const request: ModelRequest = {
        system: '',
        messages: [{ role: 'user', content: [{ type: 'text', text: '[[sim say="a" tokens=100]]' }] }],
        tools: [],
        maxOutputTokens: 100,
        idempotencyKey: `${name}-leaves`,
      };
      for await (const part of subject.service.attempt({ ...message, request }, { signal: new AbortController().signal })) {
        if (part.type === 'text.delta') break;
      }
      await expect.poll(() => subject.activeRequests(), { timeout: 1_000, interval: 5 }).toBe(0);
    });

    it('advises another try for what may pass, another target for what may not, and nothing once text was seen', async () => {
      const first = await targetOf();
      const other = await targetOf('status=400');
      const targets = [first, other];
      const failure = (retryable: boolean) => ({
        target: first,
        error: { code: retryable ? ('provider_unavailable' as const) : ('provider_rejected' as const), message: 'no', retryable },
        retryAfterMs: 20,
        refused: false,
      });
      const ask = (failures: readonly ReturnType<typeof failure>[], sawText = false) =>
        subject.service.next({ targets, failures, remainingMs: 60_000, sawText });
      const again = await ask([failure(true)]);
      expect(again).toMatchObject({ type: 'attempt', target: first });
      expect(again.type === 'attempt' && again.delayMs).toBeGreaterThanOrEqual(20);
      expect(await ask([failure(true), failure(true)])).toEqual({ type: 'attempt', target: other, delayMs: 0 });
      expect(await ask([failure(false)])).toEqual({ type: 'attempt', target: other, delayMs: 0 });
      expect(await ask([failure(false), { ...failure(false), target: other }])).toEqual({ type: 'none' });
      expect(await ask([failure(true)], true)).toEqual({ type: 'none' });
    });

    it('refuses to resolve what it does not serve', async () => {
      await expect(subject.service.resolve(['no-such-model'])).rejects.toMatchObject({ code: 'model_not_found' });
    });
  });
}
