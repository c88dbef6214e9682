import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { chat, type RogueModel, startRogueModel } from './support/rogue.ts';
import { all, one, startTestServer, type TestServer } from './support/server.ts';
import { createProbe } from './support/tools.ts';

const probe = createProbe();
let rogue: RogueModel;
let server: TestServer;
beforeAll(async () => {
  rogue = await startRogueModel();
  server = await startTestServer({ tools: probe.tools, modelUrl: () => rogue.url });
});
beforeEach(async () => {
  rogue.requests.length = 0;
  probe.calls.length = 0;
  // Few tools: their descriptions are a part of each request, whose size is held against bounds below.
  await server.agent('victim', { tools: ['probe', 'broken', 'costly', 'send', 'fs_read', 'fs_write'] });
});
afterEach(() => server.verifyRuns());
afterAll(async () => {
  await server.close();
  await rogue.close();
});

const usage = { prompt_tokens: 10, completion_tokens: 5 };
const done = chat({ text: 'done', usage });

async function answer(...answers: RogueModel['answers']) {
  rogue.answers = answers;
  return server.finish({ agent: 'victim', input: 'go' });
}

describe('calls of a model', () => {
  it.each([300, 50_000])('nested %i levels deep come back to it as an error', async (levels) => {
    const text = `{"label":${'['.repeat(levels)}${']'.repeat(levels)}}`;
    const { run, events } = await answer(chat({ calls: [{ name: 'probe', arguments: text }], usage }), done);
    expect(run).toMatchObject({ status: 'completed', output: 'done' });
    expect(one(events, 'tool.completed').data).toMatchObject({ status: 'error', error: { code: 'tool_input_invalid' } });
    expect(probe.calls).toEqual([]);
  });

  it.each(['pro\u0000be', 'pro\ud800be', '__proto__', 'constructor', '', 'ProBe', 'probe ', 'tool:probe', 'x'.repeat(250)])(
    'under the name %j find no tool',
    async (name) => {
      const { run, events } = await answer(chat({ calls: [{ name, arguments: '{}' }], usage }), done);
      expect(run.status).toBe('completed');
      expect(one(events, 'tool.completed').data.error?.code).toBe('tool_not_found');
      expect(probe.calls).toEqual([]);
    },
  );

  it('with members that prototypes have are judged by what they say', async () => {
    const text = '{"__proto__":{"label":"x"},"constructor":{"prototype":{"label":"y"}}}';
    const { events } = await answer(chat({ calls: [{ name: 'probe', arguments: text }], usage }), done);
    expect(one(events, 'tool.completed').data.error?.code).toBe('tool_input_invalid');
    expect(({} as { label?: unknown }).label).toBeUndefined();
  });

  it('under one id are two calls', async () => {
    const calls = ['a', 'b'].map((label) => ({ id: 'same', name: 'probe', arguments: JSON.stringify({ label }) }));
    const { run, events } = await answer(chat({ calls, usage }), done);
    expect(run.status).toBe('completed');
    expect(new Set(all(events, 'tool.completed').map(({ data }) => data.callId)).size).toBe(2);
    expect(probe.calls).toHaveLength(2);
  });

  it('may be 400 in one turn: each runs once, never more than the bound at a time', async () => {
    probe.mostRunning = 0;
    const calls = Array.from({ length: 400 }, (_, index) => ({ name: 'probe', arguments: `{"label":"${index}"}` }));
    const { run, events } = await answer(chat({ calls, usage }), done);
    expect(run.status).toBe('completed');
    expect(all(events, 'tool.started').map(({ data }) => data.attempt)).toEqual(calls.map(() => 1));
    expect(probe.mostRunning).toBeLessThanOrEqual(8);
  });
});

describe('an account of use', () => {
  it.each([
    { prompt_tokens: 1e300, completion_tokens: 5 },
    { prompt_tokens: 9e15, completion_tokens: 9e15 },
    { prompt_tokens: -5, completion_tokens: 5 },
    { prompt_tokens: '10', completion_tokens: 5 },
  ])('that cannot be true is replaced by the most that it can have been: %j', async (claimed) => {
    const { run, events } = await answer(chat({ text: 'hi', usage: claimed }));
    expect(run.status).toBe('completed');
    expect(rogue.requests).toHaveLength(1);
    const { usage: booked } = one(events, 'model.completed').data;
    expect(booked.inputTokens).toBeGreaterThan(50);
    expect(booked.inputTokens).toBeLessThan(10_000);
    expect(one(events, 'budget.settled').data.amounts.tokens).toBe(booked.inputTokens + booked.outputTokens);
  });
});

it('a turn that ends without an answer is no answer', async () => {
  const { run, events } = await answer(chat({ text: '', usage }));
  expect(run).toMatchObject({ status: 'failed', resumable: true, error: { code: 'provider_malformed' } });
  expect(all(events, 'message.completed')).toEqual([]);
});

it('a text that no database could keep as such is kept and given back', async () => {
  for (const text of ['a\u0000b', 'a\ud800b', 'a\u2028\u2029\ufeff', '\ud83d']) {
    const { run } = await answer(chat({ text, usage }));
    expect(run).toMatchObject({ status: 'completed', output: text.toWellFormed() }); // half a character is no text
  }
});

describe('a provider', () => {
  it('that never stops talking is stopped where its grant ends, with bounded memory, and what it sent is billed', async () => {
    let written = 0;
    const { run, events } = await answer((response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      const chunk = `data: ${JSON.stringify({ id: 'r', choices: [{ index: 0, delta: { content: 'word '.repeat(1_000) } }] })}\n\n`;
      const pour = () => {
        while (!response.destroyed && written < 500_000_000) {
          written += chunk.length;
          if (!response.write(chunk)) return void response.once('drain', pour);
        }
      };
      pour();
    });
    const { maxTokens } = one(events, 'model.started').data;
    expect(run.status).toBe('completed');
    expect(one(events, 'model.completed').data).toMatchObject({ finishReason: 'length', overran: true });
    // The kernels on both sides hold some of it.
    expect(written).toBeLessThan(20_000_000);
    expect(one(events, 'budget.settled').data.amounts.tokens).toBeGreaterThan(maxTokens);
  });

  it('whose answer was cut before the arguments of a call does not have it run without them', async () => {
    const { run, events } = await answer(chat({ calls: [{ name: 'probe', arguments: '' }], usage, finish: 'length' }), done);
    expect(run).toMatchObject({ status: 'completed', output: 'done' });
    // The model learns that it was cut: it would write the same again.
    expect(one(events, 'tool.completed').data.error).toMatchObject({
      code: 'tool_input_invalid',
      message: expect.stringMatching(/cut.*\d+ tokens.*less/),
    });
    expect(probe.calls).toEqual([]);
  });

  it.each([
    ['an error with status 200', 200, 'application/json', '{"error":{"message":"overloaded"}}'],
    ['a page with status 200', 200, 'text/html', '<html>login</html>'],
    ['an empty stream', 200, 'text/event-stream', ''],
    ['only the end mark', 200, 'text/event-stream', 'data: [DONE]\n\n'],
    ['packed bytes', 200, 'text/event-stream', '\u001f\u008b\b\u0000\u0000'],
    ['a redirect', 302, 'text/plain', 'elsewhere'],
    ['events of another format', 200, 'text/event-stream', 'event: message_stop\ndata: {"type":"message_stop"}\n\n'],
    ['no choices', 200, 'text/event-stream', 'data: {"choices":[]}\n\ndata: [DONE]\n\n'],
    ['a scalar', 200, 'text/event-stream', 'data: 5\n\ndata: [DONE]\n\n'],
  ])('that sends %s fails the run by a typed error', async (_what, status, type, text) => {
    const { run } = await answer((response) => {
      response.writeHead(status, { 'content-type': type, location: 'http://127.0.0.1:1/' });
      response.end(text);
    });
    expect(run.status).toBe('failed');
    expect(run.error?.code).toMatch(/^provider_/);
  });
});
