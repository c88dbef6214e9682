import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '#core';
import { createModelService, type ModelService } from '#llm';
import { createAnthropicProvider, createOpenAiCompatibleProvider } from '#llm/providers';
import { call, grant, makeRequest, recordGate, startServer } from '#llm/testing';

const cases = join(import.meta.dirname, '../../../../test/cases');
const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const item of open.splice(0).reverse()) await item.close();
});

type Piece = 'text' | 'reasoning' | 'arguments';

/** How each wire begins an answer, and sends one more piece of it. */
const wires = {
  openai: {
    provider: (url: string) => createOpenAiCompatibleProvider({ name: 'p', baseUrl: url, clock: systemClock, price: 'free' }),
    begin: (piece: Piece) =>
      piece === 'arguments'
        ? [{ choices: [{ delta: { tool_calls: [{ index: 0, id: 'c', function: { name: 'f', arguments: '{"text":"' } }] } }] }]
        : [{ choices: [{ delta: { role: 'assistant' } }] }],
    more: (piece: Piece, text: string) => {
      const delta = {
        text: { content: text },
        reasoning: { reasoning_content: text },
        arguments: { tool_calls: [{ index: 0, function: { arguments: text } }] },
      }[piece];
      return { choices: [{ delta }] };
    },
    end: (outputTokens: number) => [
      { choices: [{ delta: {}, finish_reason: 'length' }], usage: { prompt_tokens: 9, completion_tokens: outputTokens } },
      '[DONE]',
    ],
  },
  anthropic: {
    provider: (url: string) => createAnthropicProvider({ name: 'p', apiKey: 'k', baseUrl: url, clock: systemClock }),
    begin: (piece: Piece) => [
      { type: 'message_start', message: { usage: { input_tokens: 9, output_tokens: 1 } } },
      {
        type: 'content_block_start',
        index: 0,
        content_block: {
          text: { type: 'text', text: '' },
          reasoning: { type: 'thinking', thinking: '' },
          arguments: { type: 'tool_use', id: 'c', name: 'f', input: {} },
        }[piece],
      },
    ],
    more: (piece: Piece, text: string) => ({
      type: 'content_block_delta',
      index: 0,
      delta: {
        text: { type: 'text_delta', text },
        reasoning: { type: 'thinking_delta', thinking: text },
        arguments: { type: 'input_json_delta', partial_json: text },
      }[piece],
    }),
    end: (outputTokens: number) => [
      { type: 'content_block_stop', index: 0 },
      { type: 'message_delta', delta: { stop_reason: 'max_tokens' }, usage: { output_tokens: outputTokens } },
      { type: 'message_stop' },
    ],
  },
};

const sse = (...events: readonly unknown[]) =>
  events.map((event) => `data: ${typeof event === 'string' ? event : JSON.stringify(event)}\n\n`).join('');

function serve(wire: keyof typeof wires, url: string): ModelService {
  const llm = createModelService({ providers: [wires[wire].provider(url)], clock: systemClock, random: () => 0 });
  open.push(llm);
  return llm;
}

/** A server that never ends its answer. Gives how many pieces it has written when its reader is gone. */
async function serveEndlessly(wire: keyof typeof wires, piece: Piece) {
  const { begin, more } = wires[wire];
  let written = 0;
  const gone = Promise.withResolvers<void>();
  const server = await startServer((_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(sse(...begin(piece)));
    const timer = setInterval(() => {
      response.write(sse(more(piece, ` w${written}`)));
      written += 1;
    }, 1);
    response.once('close', () => {
      clearInterval(timer);
      gone.resolve();
    });
  });
  open.push(server);
  return {
    llm: serve(wire, server.url),
    async written() {
      await gone.promise;
      return written;
    },
  };
}

const granting = (maxOutputTokens: number) => recordGate(() => grant(10_000, maxOutputTokens));

describe.each(['openai', 'anthropic'] as const)('a server that speaks %s and ignores its limit', (wire) => {
  it.each(['text', 'reasoning', 'arguments'] as const)(
    'is stopped when its %s has used up what was granted [verifies budget.grant.read]',
    async (piece) => {
      const { llm, written } = await serveEndlessly(wire, piece);
      const { last } = await call(llm, makeRequest('x'), { models: ['p/m'], gate: granting(50) });
      expect(last).toMatchObject({ type: 'completed', finishReason: 'length', overran: true });
      expect(last.usage.outputTokens).toBeGreaterThanOrEqual(50);
      expect(last.usage.outputTokens).toBeLessThan(200);
      expect(last.usage.inputTokens).toBeGreaterThan(0);
      expect(await written()).toBeLessThan(150);
      // The name of a call is of the model, too.
      if (last.type === 'completed') expect(JSON.stringify(last.content)).toContain(piece === 'arguments' ? 'w47' : 'w49');
    },
  );

  it('is read no further, however much arrives at once', async () => {
    const { begin, more, end } = wires[wire];
    const body = sse(...begin('text'), ...Array.from({ length: 5_000 }, (_, index) => more('text', ` w${index}`)), ...end(5_000));
    const server = await startServer((_request, response) => {
      response.on('error', () => undefined);
      response.writeHead(200, { 'content-type': 'text/event-stream' }).end(body);
    });
    open.push(server);
    const { last, text } = await call(serve(wire, server.url), makeRequest('x'), { models: ['p/m'], gate: granting(20) });
    expect(last).toMatchObject({ type: 'completed', finishReason: 'length', overran: true, content: [{ type: 'text', text }] });
    expect(text).toMatch(/^ w0 .* w20$/);
  });

  it('is known by its model from then on, and no other model of it is', async () => {
    const { llm } = await serveEndlessly(wire, 'text');
    expect(await llm.resolve(['p/m'])).not.toMatchObject([{ ignoresLimits: true }]);
    await call(llm, makeRequest('x'), { models: ['p/m'], gate: granting(5) });
    expect(await llm.resolve(['p/m'])).toMatchObject([{ ignoresLimits: true }]);
    expect(await llm.resolve(['p/other'])).not.toMatchObject([{ ignoresLimits: true }]);
  });

  it('is believed when it says that it used more than was granted', async () => {
    const { begin, more, end } = wires[wire];
    const server = await startServer((_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' }).end(sse(...begin('text'), more('text', 'short'), ...end(900)));
    });
    open.push(server);
    const { last } = await call(serve(wire, server.url), makeRequest('x'), { models: ['p/m'], gate: granting(20) });
    expect(last).toMatchObject({ type: 'completed', overran: true, usage: { outputTokens: 900 } });
  });

  it('is not meant by an answer that ends at its limit', async () => {
    const { begin, more, end } = wires[wire];
    const server = await startServer((_request, response) => {
      const pieces = Array.from({ length: 20 }, (_, index) => more('text', ` w${index}`));
      response.writeHead(200, { 'content-type': 'text/event-stream' }).end(sse(...begin('text'), ...pieces, ...end(20)));
    });
    open.push(server);
    const { last } = await call(serve(wire, server.url), makeRequest('x'), { models: ['p/m'], gate: granting(20) });
    expect(last).toMatchObject({ type: 'completed', finishReason: 'length', usage: { outputTokens: 20 } });
    expect(last).not.toHaveProperty('overran');
  });
});

it('stops a server that counts to the end although it was told to stop at twenty', async () => {
  const body = readFileSync(join(cases, '08-no-limit.openai.sse'));
  const server = await startServer((_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' }).end(body);
  });
  open.push(server);
  const { last, text } = await call(serve('openai', server.url), makeRequest('count'), { models: ['p/m'], gate: granting(20) });
  expect(last).toMatchObject({ type: 'completed', finishReason: 'length', overran: true });
  expect(text.trim().split(' ')).toHaveLength(21);
});
