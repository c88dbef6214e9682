import { readFileSync } from 'node:fs';
import * as o200k from 'gpt-tokenizer/encoding/o200k_base';
import { afterEach, describe, expect, it } from 'vitest';
import { startServer, strictAnthropic, strictOpenAi } from '../../packages/server/src/llm/testing/index.ts';
import { all, startTestServer, type TestServer, type TestServerOptions } from './support/server.ts';

type Wire = 'openai' | 'anthropic';
interface Asked {
  readonly path: string;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: bodies of both wires
  readonly body: any;
}
type Reply = { readonly status: number; readonly body: string };

const caseFile = (name: string) => readFileSync(new URL(`../cases/${name}`, import.meta.url), 'utf8');
const refusals: Record<Wire, Reply> = { openai: refusal('openai'), anthropic: refusal('anthropic') };
const agents: Record<Wire, string> = { openai: 'sim/m', anthropic: 'sim-anthropic/m' };

function refusal(wire: Wire): Reply {
  const { status, body } = JSON.parse(caseFile(`16-overflow-refused.${wire}.json`));
  return { status, body: JSON.stringify(body) };
}

let server: TestServer | undefined;
let models: Awaited<ReturnType<typeof startServer>> | undefined;
afterEach(async () => {
  try {
    await server?.verifyRuns();
  } finally {
    await server?.close();
    await models?.close();
    server = undefined;
    models = undefined;
  }
});

const sse = (text: string): Reply => ({ status: 200, body: text });

/** An answer of text in the format of the path. */
function said(path: string, text: string, usage?: { readonly input: number; readonly output: number }): Reply {
  if (path === '/v1/messages')
    return sse(caseFile('09-blank-answer.anthropic.sse').replace('"text":"\\n\\n"', `"text":${JSON.stringify(text)}`));
  const chunk = { choices: [{ index: 0, delta: { content: text }, finish_reason: 'stop' }] };
  const counted = usage === undefined ? {} : { usage: { prompt_tokens: usage.input, completion_tokens: usage.output } };
  return sse(`data: ${JSON.stringify(chunk)}\n\ndata: ${JSON.stringify({ choices: [], ...counted })}\n\ndata: [DONE]\n\n`);
}

const isSummary = ({ text }: Asked) => text.includes('You compress conversations');

/** A server that is as strict as the real ones; what it answers is the test's. */
async function open(reply: (asked: Asked) => Reply, options: TestServerOptions = {}) {
  const requests: Asked[] = [];
  const faults: string[] = [];
  models = await startServer((request, response) => {
    if (request.method !== 'POST') return void response.end('{"data":[]}');
    const path = request.url ?? '';
    const asked = { path, text: request.body, body: JSON.parse(request.body) };
    faults.push(...(path === '/v1/messages' ? strictAnthropic(request.body) : strictOpenAi(request.body)));
    requests.push(asked);
    const { status, body } = reply(asked);
    response.writeHead(status, { 'content-type': status === 200 ? 'text/event-stream' : 'application/json' }).end(body);
  });
  const url = models.url;
  server = await startTestServer({ modelUrl: () => url, ...options });
  return { server, requests, faults };
}

describe.each(['openai', 'anthropic'] as const)('a model that takes less than was thought (%s)', (wire) => {
  it('is told less when its server says so: ten turns all complete [verifies provider.context.learned]', async () => {
    const { server, requests, faults } = await open((asked) => {
      const chars = JSON.stringify(asked.body.messages).length;
      if (chars > 12_000) return refusals[wire];
      return said(asked.path, isSummary(asked) ? 'They told facts one after another.' : 'Noted, and here is what I think of it.');
    });
    await server.agent('talker', { models: [agents[wire]], tools: [] });
    const sessionId = await server.session({ agent: 'talker' });
    let overflows = 0;
    let learned = 0;
    for (let turn = 1; turn <= 10; turn++) {
      const { run, events } = await server.finish({
        sessionId,
        input: `Fact ${turn}. ${'It matters that this is remembered well. '.repeat(48)}`,
      });
      expect(run, `turn ${turn}`).toMatchObject({ status: 'completed', output: 'Noted, and here is what I think of it.' });
      const failed = all(events, 'model.failed');
      overflows += failed.length;
      expect(failed.every(({ data }) => data.error.code === 'context_overflow')).toBe(true);
      learned += all(events, 'context.learned').length;
      // Each try had its own reservation, and what was refused cost nothing.
      expect(all(events, 'budget.reserved')).toHaveLength(all(events, 'model.started').length);
      for (const { data } of failed) expect(data.usage).toMatchObject({ inputTokens: 0, outputTokens: 0 });
    }
    expect([overflows, learned]).toEqual([1, 1]);
    expect(requests.some(isSummary)).toBe(true);
    expect(faults).toEqual([]);
  });
});

/** Refuses as vLLM does: input and answer together, by a real tokenizer. */
function vllm(contextTokens: number, answer: (asked: Asked) => string) {
  return (asked: Asked): Reply => {
    const { messages, tools = [], max_completion_tokens: most } = asked.body;
    const input = o200k.encode(JSON.stringify([messages, tools])).length;
    if (input + most > contextTokens) {
      const message = `This model's maximum context length is ${contextTokens} tokens. However, you requested ${input + most} tokens (${input} in the messages, ${most} in the completion). Please reduce the length of the messages or completion.`;
      return { status: 400, body: JSON.stringify({ object: 'error', message, type: 'BadRequestError', param: null, code: 400 }) };
    }
    return said(asked.path, answer(asked), { input, output: 200 });
  };
}

describe('a model of 4,096 tokens', () => {
  it.each([
    ['of which nothing is configured', undefined],
    ['as it is configured', 4_096],
  ])(
    '%s, holds a conversation of 50 turns',
    async (_how, contextTokens) => {
      let asks = 0;
      const reply = vllm(4_096, (asked) =>
        isSummary(asked)
          ? 'The person tells of their day, turn by turn, and wants to be listened to. '.repeat(4)
          : `I hear you (${++asks}). ${'That sounds like a full day. '.repeat(12)}`,
      );
      const { server, requests, faults } = await open(reply, contextTokens === undefined ? {} : { models: { 'sim/*': { contextTokens } } });
      await server.agent('talker', { models: ['sim/m'], tools: [] });
      const sessionId = await server.session({ agent: 'talker' });
      let refused = 0;
      for (let turn = 1; turn <= 50; turn++) {
        const { run, events } = await server.finish({
          sessionId,
          input: `Turn ${turn}. ${'Then I walked on and met somebody. '.repeat(8)}`,
        });
        expect(run.status, `turn ${turn}: ${JSON.stringify(run.error)}`).toBe('completed');
        refused += all(events, 'model.failed').length;
      }
      expect(refused).toBe(contextTokens === undefined ? 1 : 0);
      expect(requests.filter(isSummary).length).toBeLessThan(25);
      expect(faults).toEqual([]);
      // The newest words are always told as they were said.
      expect(JSON.stringify(requests.at(-1)?.body.messages)).toContain('Turn 50.');
    },
    60_000,
  );

  it('serves the agent that is there by itself, with all of its tools', async () => {
    const list = { id: 'c1', function: { name: 'fs_list', arguments: '{}' } };
    const call = sse(
      `data: ${JSON.stringify({ choices: [{ delta: { tool_calls: [{ index: 0, ...list }] }, finish_reason: 'tool_calls' }] })}\n\ndata: [DONE]\n\n`,
    );
    const answers = vllm(4_096, (asked) => (isSummary(asked) ? 'Small talk so far.' : 'It is as you say. '.repeat(20)));
    const { server, faults } = await open(
      (asked) => (asked.body.messages.at(-1).role === 'user' && !isSummary(asked) && answers(asked).status === 200 ? call : answers(asked)),
      { defaultModels: ['sim/m'] },
    );
    const sessionId = await server.session({});
    for (let turn = 1; turn <= 15; turn++) {
      const { run } = await server.finish({ sessionId, input: `Turn ${turn}. ${'Then I walked on and met somebody. '.repeat(8)}` });
      expect(run.status, `turn ${turn}: ${JSON.stringify(run.error)}`).toBe('completed');
    }
    expect(faults).toEqual([]);
  });

  it('is told what eight large results have in common room for, each saying what is missing', async () => {
    const answers = vllm(4_096, () => 'read');
    const call = sse(caseFile('17-eight-results.openai.sse'));
    const { server, requests } = await open((asked) => (asked.text.includes('"role":"tool"') ? answers(asked) : call), {
      models: { 'sim/*': { contextTokens: 4_096 } },
    });
    await server.agent('reader', { models: ['sim/m'], tools: ['code_js'] });
    const { run } = await server.finish({ agent: 'reader', input: 'read them' });
    expect(run).toMatchObject({ status: 'completed', output: 'read' });
    const results = requests.at(-1)?.body.messages.filter(({ role }: { role: string }) => role === 'tool');
    expect(results).toHaveLength(8);
    for (const { content } of results) expect(content).toMatch(/of 48919 characters of this result|48919 characters cut/);
  });
});

it('shortens the results of one step to what fits a large model, and goes on', async () => {
  const { server, requests } = await open((asked) =>
    asked.text.includes('"role":"tool"') ? said(asked.path, 'read') : sse(caseFile('17-eight-results.openai.sse')),
  );
  await server.agent('reader', { models: ['sim/m'], tools: ['code_js'] });
  const { run, events } = await server.finish({ agent: 'reader', input: 'compute' });
  expect(run).toMatchObject({ status: 'completed', output: 'read' });
  // The journal has all of it; the model is shown what fits.
  expect(all(events, 'tool.completed').map(({ data }) => data.output.length)).toEqual(Array.from({ length: 8 }, () => 48_919));
  const results: { content: string }[] = requests.at(-1)?.body.messages.filter(({ role }: { role: string }) => role === 'tool');
  expect(results).toHaveLength(8);
  for (const { content } of results) {
    expect(content.length).toBeGreaterThan(5_000);
    expect(content).toMatch(/\[… \d+ of 48919 characters of this result are cut here: .* call code_js again for a part of it/);
  }
});

describe('a message that cannot fit', () => {
  it('is refused before anything is paid, with what would fit', async () => {
    const { server, requests } = await open(
      vllm(4_096, () => 'ok'),
      { models: { 'sim/*': { contextTokens: 4_096 } } },
    );
    await server.agent('talker', { models: ['sim/m'], tools: [] });
    const paste = 'Some line of a long log, as people paste them. '.repeat(400);
    const answer = await server.call('POST', '/v1/runs', { agent: 'talker', input: paste });
    expect(answer).toMatchObject({ status: 422, body: { code: 'context_overflow', details: { contextTokens: 4_096 } } });
    const { fitsCharacters } = answer.body.details;
    expect(answer.body.detail).toContain(`about ${fitsCharacters} of its ${paste.length} characters would fit`);
    expect(requests).toEqual([]);
    const { run } = await server.finish({ agent: 'talker', input: paste.slice(0, fitsCharacters) });
    expect(run).toMatchObject({ status: 'completed', output: 'ok' });
  });

  it('ends its run when the size is learned from it, at no cost, and the next one is refused at once', async () => {
    const { server, requests } = await open(vllm(4_096, () => 'ok'));
    await server.agent('talker', { models: ['sim/m'], tools: [] });
    const paste = 'Some line of a long log, as people paste them. '.repeat(400);
    const { run, events } = await server.finish({ agent: 'talker', input: paste });
    expect(run).toMatchObject({
      status: 'failed',
      error: { code: 'context_overflow', details: { contextTokens: 4_096 } },
      totals: { costMicroUsd: 0 },
    });
    expect(all(events, 'context.learned')).toMatchObject([
      { data: { provider: 'sim', model: 'm', contextTokens: 4_096, reason: 'refused' } },
    ]);
    expect((await server.call('POST', '/v1/runs', { agent: 'talker', input: paste })).status).toBe(422);
    expect(requests).toHaveLength(1);
  });

  it('is given up after a bounded number of tries by a server that refuses whatever it is sent', async () => {
    const { server, requests } = await open(() => refusals.openai);
    await server.agent('talker', { models: ['sim/m'], tools: [] });
    const { run } = await server.finish({ agent: 'talker', input: 'hello' });
    expect(run).toMatchObject({ status: 'failed', error: { code: 'context_overflow' }, totals: { costMicroUsd: 0 } });
    expect(requests.length).toBeLessThan(12);
  });
});

const price = {
  inputMicroUsdPerMillion: 1,
  outputMicroUsdPerMillion: 1,
  cacheReadMicroUsdPerMillion: 1,
  cacheWriteMicroUsdPerMillion: 1,
};

it('tells of a server that reads less than it is sent, and summarises from then on', async () => {
  const { server, requests } = await open(
    (asked) => {
      const input = Math.min(2_048, o200k.encode(JSON.stringify(asked.body.messages)).length);
      return said(asked.path, isSummary(asked) ? 'facts' : 'ok', { input, output: 1 });
    },
    { models: { 'unpriced/m': { price } } },
  );
  await server.agent('talker', { models: ['unpriced/m'], tools: [] });
  const sessionId = await server.session({ agent: 'talker' });
  const seen: string[] = [];
  for (let turn = 1; turn <= 8; turn++) {
    const { events } = await server.finish({ sessionId, input: `Fact ${turn}. ${'It matters that this is remembered well. '.repeat(48)}` });
    seen.push(...all(events, 'context.learned').map(({ data }) => `${turn} ${data.contextTokens} ${data.reason}`));
  }
  expect(seen).toEqual([expect.stringMatching(/^\d 2048 cut$/)]);
  expect(requests.some(isSummary)).toBe(true);
});
